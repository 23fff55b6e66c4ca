"""What a sanity check has found: text and pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from nnx._errors import BackendUnavailableError

BINS = 40


class Finding(NamedTuple):
    """The answer to one question: what was looked at, whether it is as it should be, and what was seen."""

    name: str
    passed: bool
    text: str


class Histogram(NamedTuple):
    """How often values lie in each of some intervals: ``counts`` (bins,), ``edges`` (bins + 1,)."""

    counts: Any
    edges: Any

    @classmethod
    def of(cls, values: Any) -> Histogram:
        """The histogram of a host array, over its finite values."""
        values = values.reshape(-1).astype("float64")
        values = values[abs(values) < float("inf")]
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
        width = (high - low) / BINS or 1 / BINS
        places = ((values - low) / width).astype("int64").clip(0, BINS - 1)
        counts = (places[:, None] == _range(places, BINS)).sum(axis=0)
        return cls(counts, low + width * _range(places, BINS + 1))


class LayerStatistics(NamedTuple):
    """What a layer answered to all examples.

    Attributes:
        name, layer: its path, and its text form.
        mean, std: of its answers.
        units: how many it has: the elements of an answer to one example.
        dead: the share of units that are 0 on all examples.
        histogram: of its answers.
    """

    name: str
    layer: str
    mean: float
    std: float
    units: int
    dead: float
    histogram: Histogram

    @classmethod
    def of(cls, name: str, layer: str, y: Any) -> LayerStatistics:
        """The statistics of a host array, examples first."""
        rows = y.reshape(y.shape[0], -1) if y.shape else y.reshape(1, 1)
        dead = float((rows == 0).all(axis=0).mean())
        return cls(name, layer, float(y.mean()), float(y.std()), rows.shape[1], dead, Histogram.of(y))


class ParameterStatistics(NamedTuple):
    """A parameter at the first step.

    Attributes:
        name, shape: its path, and its shape.
        weight_norm, gradient_norm, update_norm: Euclidean norms.
        histogram: of its gradient.
    """

    name: str
    shape: tuple[int, ...]
    weight_norm: float
    gradient_norm: float
    update_norm: float
    histogram: Histogram

    @property
    def ratio(self) -> float:
        """The norm of the update by that of the weights."""
        return self.update_norm / self.weight_norm if self.weight_norm else float("inf")

    @classmethod
    def of(cls, name: str, weight: Any, gradient: Any, update: Any) -> ParameterStatistics:
        """The statistics of host arrays."""
        return cls(name, weight.shape, _norm(weight), _norm(gradient), _norm(update), Histogram.of(gradient))


class SanityReport:
    """The findings of :func:`nnx.sanity_check`; print it to read them.

    Attributes:
        findings: the answers to its questions.
        layers: what each layer answered.
        parameters: each parameter at the first step.
        passed: whether all findings are as they should be.
    """

    def __init__(
        self,
        title: str,
        findings: Sequence[Finding],
        layers: Sequence[LayerStatistics],
        parameters: Sequence[ParameterStatistics],
    ) -> None:
        self.title = title
        self.findings = list(findings)
        self.layers = list(layers)
        self.parameters = list(parameters)

    @property
    def passed(self) -> bool:
        """Whether all findings are as they should be."""
        return all(finding.passed for finding in self.findings)

    def __str__(self) -> str:
        wide = max(len(finding.name) for finding in self.findings)
        lines = [f"{'ok ' if f.passed else 'NO '}  {f.name:<{wide}}  {f.text}" for f in self.findings]
        layers = [
            (r.name, r.layer, f"{r.mean:.3g}", f"{r.std:.3g}", f"{r.dead:.0%}" if r.dead else "-") for r in self.layers
        ]
        parameters = [
            (
                p.name,
                str(tuple(p.shape)),
                f"{p.weight_norm:.2e}",
                f"{p.gradient_norm:.2e}",
                f"{p.ratio:.2e}" if p.weight_norm else "-",
            )
            for p in self.parameters
        ]
        return "\n".join(
            [
                f"Sanity check of {self.title}",
                *lines,
                "",
                *_table(("layer", "", "mean", "std", "dead"), layers),
                "",
                *_table(("parameter", "shape", "norm", "gradient", "update/weight"), parameters),
            ]
        )

    __repr__ = __str__

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the histograms of activations and of gradients.

        Args:
            path: the picture to write; its suffix says the format, e.g. ``.png`` or ``.svg``.

        Raises:
            BackendUnavailableError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator
        except ImportError as error:
            raise BackendUnavailableError("pictures need matplotlib: `pip install 'nnx-array[plot]'`") from error
        panels = [
            [(f"{r.name} {r.layer}", f"std {r.std:.2g}", r.histogram) for r in self.layers],
            [(f"gradient of {p.name}", f"norm {p.gradient_norm:.2g}", p.histogram) for p in self.parameters],
        ]
        columns = max(1, *map(len, panels))
        figure = Figure(figsize=(2.6 * columns + 0.4, 5.0), layout="constrained", facecolor="white")
        figure.suptitle(f"Sanity check of {self.title}", x=0.01, ha="left", fontsize=13, fontweight="bold")
        grid = figure.subplots(2, columns, squeeze=False)
        for row, colour, found in zip(grid, ("#0b6fb8", "#c8102e"), panels, strict=True):
            for axes, (name, note, histogram) in zip(row, found, strict=False):
                axes.stairs(histogram.counts, histogram.edges, fill=True, color=colour, alpha=0.75)
                axes.set_title(name, loc="left", fontsize=9)
                axes.text(0.98, 0.95, note, transform=axes.transAxes, ha="right", va="top", fontsize=8)
                axes.spines[["top", "right", "left"]].set_visible(False)
                axes.set_yticks([])
                axes.tick_params(labelsize=7)
                axes.xaxis.set_major_locator(MaxNLocator(4))
            for axes in row[len(found) :]:
                axes.set_visible(False)
        figure.savefig(path, dpi=120)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: tuple[str, ...]) -> str:
        left = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
        return "  ".join(left + right).rstrip()

    return [line(head), "-" * (sum(widths) + 2 * (len(widths) - 1)), *map(line, rows)]


def _range(like: Any, n: int) -> Any:
    """0 … n - 1, of the library of a host array."""
    return like.__array_namespace__().arange(n)


def _norm(x: Any) -> float:
    """The Euclidean norm of a host array."""
    return float((x.astype("float64") ** 2).sum() ** 0.5) if prod(x.shape) else 0.0
