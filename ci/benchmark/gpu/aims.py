"""What is to be reached on an H200-class card, and what a run has found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

from benchmark.card import ordinal
from benchmark.problem import SIZES, parse

Parts = Mapping[str, Mapping[str, Any]]
"""Part -> what it has found."""

CAPTURED, EAGER = "nnx-capture", "nnx"
PRECISIONS = ("float32", "tf32", "bfloat16")


class Aim(NamedTuple):
    """A figure to reach."""

    subject: str
    least: float | None
    """``None`` for an aim of at most ``most``."""

    most: float | None
    find: Callable[[Parts], float | None]
    """The figure, or ``None`` where it was not measured."""

    @property
    def wanted(self) -> str:
        """The aim in words."""
        if self.least is not None:
            return f"at least {self.least:g}"
        return f"at most {self.most:g}" if self.most else "none"

    def verdict(self, run: Mapping[str, Any]) -> tuple[str, str]:
        """The figure as text, and ``met``, ``missed``, ``not measured`` or ``dry run``, which shows nothing."""
        found = self.find({name: part["result"] for name, part in run["parts"].items()})
        if found is None:
            return "", "not measured"
        figure = f"{found:,}" if isinstance(found, int) else f"{found:.3g}"
        if run["quick"] or ordinal(run["device"]["flag"]) is None:
            return figure, "dry run"
        met = found >= self.least if self.least is not None else found <= (self.most or 0.0)
        return figure, "met" if met else "missed"


def speed(record: Mapping[str, Any], ours: str, theirs: str) -> float | None:
    """How many times as fast ``ours`` is: the median of the ratios of times of the same round."""
    pair = [record["seconds"].get(name, []) for name in (theirs, ours)]
    if not pair[0] or len(pair[0]) != len(pair[1]):
        return None
    return median(t / our for t, our in zip(*pair, strict=True))


def _speed(part: str, problem: str, ours: str, theirs: str) -> Callable[[Parts], float | None]:
    def find(parts: Parts) -> float | None:
        for record in parts.get(part, {}).get("results", ()):
            if problem in (record["problem"], record["precision"]):
                return speed(record, ours, theirs)
        return None

    return find


def _different(what: str) -> Callable[[Parts], float | None]:
    def find(parts: Parts) -> float | None:
        found = parts.get("parity", {})
        if what == "masks":
            return found["masks"]["different"] if "masks" in found else None
        networks = found.get("networks", {}).values()
        return sum(each["weights"]["different"] for each in networks) if networks else None

    return find


def _worst(key: str) -> Callable[[Parts], float | None]:
    def find(parts: Parts) -> float | None:
        networks = parts.get("parity", {}).get("networks", {}).values()
        figures = [each.get(key) for each in networks]
        return max(figures) if figures and None not in figures else None

    return find


def _count(*keys: str) -> Callable[[Parts], float | None]:
    def find(parts: Parts) -> float | None:
        found = parts.get("tests", {})
        return sum(found[key] for key in keys) if found.get("collected") else None

    return find


_SIZES = [str(parse(size)) for size in SIZES]
AIMS = (
    *(Aim(f"{size}: captured, times as fast as eager torch", 3, None, _speed("perceptrons", size, CAPTURED, "torch"))
      for size in _SIZES[:2]),
    *(Aim(f"{size}: captured, times as fast as torch.compile with CUDA graphs", 1, None,
          _speed("perceptrons", size, CAPTURED, "torch-compile")) for size in _SIZES),
    *(Aim(f"{size}: eager, times as fast as eager torch", 0.7, None, _speed("perceptrons", size, EAGER, "torch"))
      for size in _SIZES),
    *(Aim(f"8 layers of 4096, batch 8192, {precision}: captured, times as fast as torch", 0.9, None,
          _speed("wide", precision, CAPTURED, "torch")) for precision in PRECISIONS),
    Aim("initial weights that differ between CPU and GPU", None, 0, _different("weights")),
    Aim("elements of dropout masks that differ between CPU and GPU", None, 0, _different("masks")),
    Aim("losses of 100 steps, CPU and GPU, float32: worst relative difference", None, 1e-4, _worst("cpu_to_device")),
    Aim("losses of 100 steps, eager and captured: worst relative difference", None, 0, _worst("eager_to_captured")),
    Aim("tests that fail on the GPU", None, 0, _count("failed", "error")),
    Aim("tests for which there was no time", None, 0, _count("not_run")),
)  # fmt: skip
"""Those of the project; the page of a run has them beside what it found."""
