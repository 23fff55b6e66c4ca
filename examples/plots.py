"""The pictures of the examples, drawn with matplotlib (``pip install 'nnx-array[plot]'``)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from toy import grid

TRAINING, VALIDATION, WRONG, INK = "#9a9a9a", "#0b6fb8", "#c8102e", "#222222"
CLASSES = ["#0b6fb8", "#c8102e", "#e0a800"]


def training_report(
    path: Path, curves: Mapping[str, Sequence[float]], title: str, *, filters: Any = None, **examples: Any
) -> None:
    """Draw the curves of a training beside the examples that it got most wrong.

    Args:
        path: the picture to write; its suffix says the format, e.g. ``.png`` or ``.svg``.
        curves: ``loss``, ``accuracy``, ``validation_loss`` and ``validation_accuracy``, a number an epoch each.
        title: one line above all.
        filters: the weight of a first convolution, drawn below the curves, as :func:`draw_filters` takes it.
        examples: ``images``, ``labels`` and ``probabilities``, as :func:`most_wrong` takes them.
    """
    figure = Figure(figsize=(12.5, 6.4), layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold", color=INK)
    figure.get_layout_engine().set(h_pad=0.07)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.3), wspace=0.04)
    if filters is not None:
        left, below = left.subfigures(2, 1, height_ratios=(2.2, 1))
        draw_filters(below, filters)
    draw_curves(left, curves)
    most_wrong(right, **examples)
    figure.savefig(path, dpi=65, bbox_inches="tight", pad_inches=0.2)


def draw_curves(figure: SubFigure, curves: Mapping[str, Sequence[float]]) -> None:
    """Loss, on a logarithmic scale, above accuracy."""
    loss, accuracy = figure.subplots(2, 1, sharex=True)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        for key, label, colour in ((name, "training", TRAINING), (f"validation_{name}", "validation", VALIDATION)):
            values = np.asarray(curves.get(key, ()))
            epochs = np.arange(1, len(values) + 1)
            axes.plot(epochs, values, color=colour, linewidth=2, marker="o", markersize=3.5, label=label)
            axes.plot(epochs[-1:], values[-1:], "o", color=colour, markersize=7)
        axes.set_title(name, loc="left", fontsize=11, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6")
        axes.set_axisbelow(True)
    loss.set_yscale("log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_locator(NullLocator())
    loss.legend(frameon=False, loc="upper right")
    floor = min(curves.get("validation_accuracy", ()), default=0.0)
    if 0.5 < floor < 1:  # a first epoch of training is far below, and would press the rest together
        accuracy.set_ylim(floor - 0.3 * (1 - floor), 1 + 0.05 * (1 - floor))
    accuracy.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g}%")
    accuracy.set_xlim(0.5, max(2, len(curves["loss"])) + 0.5)
    accuracy.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    accuracy.set_xlabel("epoch   (training figures are those with dropout)", color=INK)


def draw_filters(figure: SubFigure, weight: Any, *, columns: int = 8) -> None:
    """What a convolution looks for: ink where a filter is dark, paper where it is light.

    Args:
        figure: where to draw.
        weight: ``(height, width, 1, filters)``.
        columns: of pictures.
    """
    figure.suptitle("what the first layer looks for", x=0.01, ha="left", fontsize=11, color=INK)
    count, most = weight.shape[3], abs(weight).max()
    for k, axes in enumerate(figure.subplots(-(-count // columns), columns, squeeze=False).flat):
        axes.set_axis_off()
        if k < count:
            axes.imshow(weight[:, :, 0, k], cmap="gray_r", vmin=-most, vmax=most, interpolation="nearest")


def most_wrong(
    figure: SubFigure, images: Any, labels: Any, probabilities: Any, *, rows: int = 4, columns: int = 6
) -> None:
    """The examples whose true class was thought least likely, the worst first.

    Args:
        figure: where to draw.
        images: ``(n, height, width)``, the larger the darker.
        labels: the true classes ``(n,)``.
        probabilities: ``(n, classes)``.
        rows: of pictures.
        columns: of pictures.
    """
    guesses = probabilities.argmax(axis=1)
    truth = probabilities[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(guesses != labels)
    worst = wrong[np.argsort(truth[wrong], kind="stable")]
    figure.suptitle(
        f"{len(wrong):,} of {len(labels):,} test images wrong, the worst first: guess, its probability, and truth",
        x=0.01, ha="left", fontsize=11, color=INK,
    )  # fmt: skip
    grid = figure.subplots(rows, columns).flat
    for axes, i in zip(grid, worst, strict=False):
        axes.imshow(images[i], cmap="gray_r", interpolation="nearest")
        axes.set_title(f"{guesses[i]} {probabilities[i, guesses[i]]:.0%}", loc="left", fontsize=11, color=WRONG, pad=4)
        axes.set_title(f"is {labels[i]}", loc="right", fontsize=11, color=INK, pad=4)
    for k, axes in enumerate(figure.axes):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#d0d0d0")
        axes.set_visible(k < len(worst))


def language_report(
    path: Path, curves: Mapping[str, Sequence[float]], table: float, samples: Sequence[tuple[str, str]], title: str
) -> None:
    """Draw the curves of a language model beside what it wrote as it learnt.

    Args:
        path: the picture to write.
        curves: the losses ``training`` and ``test``, a number an epoch each.
        table: the loss of a table of bigrams.
        samples: a heading and a text, for each time that it wrote.
        title: one line above all.
    """
    figure = Figure(figsize=(12.5, 6.4), layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold", color=INK)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.3), wspace=0.04)
    axes = left.subplots()
    for name, colour in (("training", TRAINING), ("test", VALIDATION)):
        epochs = np.arange(1, len(curves[name]) + 1)
        axes.plot(epochs, curves[name], color=colour, linewidth=2, marker="o", markersize=3.5, label=name)
    axes.axhline(table, color=WRONG, linewidth=1.2, linestyle="--", label="table of bigrams")
    axes.set_title("loss, in nats a character", loc="left", fontsize=11, color=INK)
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6")
    axes.legend(frameon=False, loc="upper right")
    for axes, (heading, text) in zip(right.subplots(len(samples), 1, squeeze=False).flat, samples, strict=True):
        axes.set_axis_off()
        axes.set_title(heading, loc="left", fontsize=11, color=INK)
        lines = [piece for line in text.split("\n") if line for piece in textwrap.wrap(line, 80)][: 33 // len(samples)]
        axes.text(0, 1, "\n".join(lines), va="top", fontsize=9, family="monospace", color=INK, parse_math=False)
    figure.savefig(path, dpi=65, bbox_inches="tight", pad_inches=0.2)


def decision_regions(
    path: Path,
    panels: Sequence[tuple[str, Any]],
    points: Any,
    labels: Any,
    title: str,
    *,
    columns: int = 3,
) -> None:
    """Draw what classifiers make of the plane, each in a panel of its own.

    Args:
        path: the picture to write.
        panels: a title and a function from points ``(n, 2)`` to scores ``(n, classes)`` for each; NumPy arrays.
        points: the examples ``(n, 2)``.
        labels: their classes ``(n,)``.
        title: one line above all.
        columns: of panels.
    """
    across, up, plane = grid(points)
    rows = -(-len(panels) // columns)
    height = 4 * (up[-1] - up[0]) / (across[-1] - across[0]) + 0.35
    figure = Figure(figsize=(4 * columns, height * rows + 0.5), layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold", color=INK)
    classes = ListedColormap(CLASSES[: int(labels.max()) + 1])
    for axes, (name, scores) in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        regions = scores(plane).argmax(axis=1).reshape(len(up), len(across))
        axes.pcolormesh(across, up, regions, cmap=classes, vmin=0, vmax=classes.N - 1, alpha=0.25, rasterized=True)
        axes.scatter(*points.T, c=labels, cmap=classes, s=14, edgecolors="white", linewidths=0.4)
        axes.set_title(name, loc="left", fontsize=11, color=INK)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal")
        axes.spines[:].set_color("#d0d0d0")
    figure.savefig(path, dpi=80)
