"""What every peer computes, and what the benchmark asks of a peer."""

from __future__ import annotations

import platform
import re
from abc import ABC, abstractmethod
from functools import lru_cache
from importlib.metadata import version
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

SIZES = ("64-32-10@32", "784-128-64-10@64", "784-512-512-10@128", "784-2048-2048-10@512")
"""What ``ci/bench.py`` measures unless it is told otherwise."""

BATCHES = 4
"""Different batches, taken in turn."""

RATE = 1e-4
"""Adam's rate; its other settings are those of the paper: betas 0.9 and 0.999, eps 1e-8.

At 1e-3 the loss of the widest network jumps to 12 and rounding errors with it; a step costs the same.
"""


class Problem(NamedTuple):
    """A multi-layer perceptron with ReLU between its layers, and the size of its batches."""

    widths: tuple[int, ...]
    batch: int
    precision: str = "float32"
    """Of the products: ``"float32"``, ``"tf32"`` or ``"bfloat16"``; parameters and updates are float32."""

    rate: float = RATE

    def __str__(self) -> str:
        widths = "-".join(map(str, self.widths))
        if len(self.widths) > 4 and len(set(self.widths)) == 1:
            widths = f"{len(self.widths) - 1} layers of {self.widths[0]}"
        return f"{widths}, batch {self.batch}" + ("" if self.precision == "float32" else f", {self.precision}")

    def weights(self) -> list[tuple[Any, Any]]:
        """Initial ``(weight (in, out), bias (out,))`` of each layer, float32, the same in every process."""
        return [(w.copy(), b.copy()) for w, b in draw_weights(tuple(pairwise(self.widths)))]

    def batches(self) -> list[tuple[Any, Any]]:
        """``BATCHES`` pairs of inputs ``(batch, in)`` float32 and labels ``(batch,)`` int64. See ``draw_batches``."""
        return draw_batches(self.batch, (self.widths[0],), self.widths[-1])


@lru_cache(maxsize=1)
def draw_weights(shapes: tuple[tuple[int, ...], ...]) -> list[tuple[Any, Any]]:
    """A weight ``(..., in, out)`` of variance 2 / (numbers that an output sums) and a bias of zeros for each shape."""
    rng = np.random.default_rng(0)
    return [
        (rng.standard_normal(shape, dtype="float32") * np.float32((2 / np.prod(shape[:-1])) ** 0.5), zeros(shape[-1]))
        for shape in shapes
    ]


@lru_cache(maxsize=1)
def draw_batches(batch: int, shape: tuple[int, ...], classes: int) -> list[tuple[Any, Any]]:
    """``BATCHES`` pairs of inputs ``(batch, *shape)`` and labels.

    The two halves of a batch hold the same inputs under different labels, so that the loss stays
    above log 2: a network that has learnt its batches by heart computes with denormal numbers,
    which are slow, and the benchmark would then depend on the number of steps.
    """
    rng = np.random.default_rng(1)
    half = batch // 2
    made = []
    for _ in range(BATCHES):
        x = rng.standard_normal((half, *shape), dtype="float32")
        y = rng.integers(0, classes, half)
        made.append((np.concatenate([x, x]), np.concatenate([y, (y + 1) % classes])))
    return made


def zeros(count: int) -> Any:
    """A bias."""
    return np.zeros(count, "float32")


def parse(text: str) -> Problem:
    """Read ``784-128-64-10@64``: widths joined by dashes, then the batch size."""
    if re.fullmatch(r"\d+(-\d+)+@\d+", text):
        widths, _, batch = text.partition("@")
        problem = Problem(tuple(map(int, widths.split("-"))), int(batch))
        if min(problem.widths) > 0 and problem.widths[-1] > 1 and problem.batch > 0 and problem.batch % 2 == 0:
            return problem
    raise ValueError(
        f"expected WIDTHS@BATCH such as 784-128-64-10@64, with two classes or more and an even batch size, got {text!r}"
    )


class Peer(ABC):
    """One library at work on a problem. Arrays are the library's own, made before the clock starts."""

    stride = 1
    """Steps that the library's interface cannot be asked to do singly when it is used at its best."""

    packages: tuple[str, ...] = ()
    """Distributions whose versions the report names."""

    @abstractmethod
    def reset(self) -> None:
        """Go back to the initial weights, with a new optimiser."""

    @abstractmethod
    def run(self, steps: int) -> None:
        """Do ``steps`` steps (a multiple of ``stride``), and wait until they are done."""

    @abstractmethod
    def losses(self, steps: int) -> list[float]:
        """Reset, do ``steps`` steps on the batches in turn, and answer the loss before each update."""

    def profile(self, seconds: float) -> dict[str, float]:
        """Seconds that each part of a step takes."""
        raise NotImplementedError(f"{type(self).__name__} has no profile")

    def versions(self) -> str:
        """The library and its version."""
        return ", ".join(f"{name} {version(name)}" for name in self.packages) or platform.python_version()
