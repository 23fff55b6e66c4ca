"""Pictures of data, of signals and of what was learned, drawn with matplotlib (``pip install 'nnx-array[plot]'``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from plots import CLASSES, INK, VALIDATION

LINE = "#d0d0d0"
IMAGES = 8  # in a row
HIGHEST = 0.12
"""Where bars of histograms are cut off: the share of all values."""


def layer_histograms(path: Path, cases: Mapping[str, tuple[Any, Sequence[Any]]], title: str) -> None:
    """Draw histograms of the activations of all layers, a network in each row.

    Args:
        path: the picture to write.
        cases: of each network the edges of the bins, and the counts of each layer.
        title: one line above all.
    """
    layers = max(len(counts) for _, counts in cases.values())
    figure = _figure((1.25 * layers + 0.6, 0.95 * len(cases) + 0.8), title)
    rows = figure.subplots(len(cases), layers, squeeze=False)
    for row, (name, (edges, counts)) in zip(rows, cases.items(), strict=True):
        row[0].set_title(name, loc="left", fontsize=9, color=INK)
        for axes, count in zip(row, counts, strict=True):
            axes.stairs(count / count.sum(), edges, fill=True, color=VALIDATION)
            axes.set(xlim=(edges[0], edges[-1]), ylim=(0, HIGHEST), yticks=[], xticks=[edges[0], edges[-1]])
            axes.tick_params(labelsize=7, length=2, color=LINE)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.spines["bottom"].set_color(LINE)
    for layer, axes in enumerate(rows[-1], start=1):
        axes.set_xlabel(f"layer {layer}", fontsize=8, color=INK)
    figure.savefig(path, dpi=90)


def clouds_and_images(path: Path, clouds: Mapping[str, Any], images: Mapping[str, Any], title: str) -> None:
    """Draw points in the plane, a cloud in each panel, above images, a set in each row.

    Args:
        path: the picture to write.
        clouds: points ``(n, 2)`` by name.
        images: ``(n, pixels)`` by name, of square images; the first eight of each are drawn.
        title: one line above all.
    """
    figure = _figure((9.5, 8.2), title)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2.3))
    farthest = max(abs(points).max() for points in clouds.values())
    for axes, (name, points) in zip(above.subplots(1, len(clouds)), clouds.items(), strict=True):
        axes.axhline(0, color=LINE, linewidth=1)
        axes.axvline(0, color=LINE, linewidth=1)
        axes.plot(*points.T, "o", color=VALIDATION, markersize=2, alpha=0.5, markeredgewidth=0)
        axes.set(xlim=(-farthest, farthest), ylim=(-farthest, farthest), aspect="equal")
        _bare(axes, name)
    for row, (name, vectors) in zip(below.subplots(len(images), IMAGES), images.items(), strict=True):
        side = round(vectors.shape[1] ** 0.5)
        paper, ink = np.percentile(vectors[:IMAGES], (1, 99))
        for axes, vector in zip(row, vectors, strict=False):
            axes.imshow(vector.reshape(side, side), cmap="gray_r", vmin=paper, vmax=ink, interpolation="nearest")
            _bare(axes)
        row[0].set_ylabel(name.replace(" (", "\n("), rotation=0, ha="right", va="center", fontsize=10, color=INK)
    figure.savefig(path, dpi=66)


def guessed_points(
    path: Path, points: Any, labels: Any, panels: Mapping[str, Any], names: Sequence[str], title: str
) -> None:
    """Draw points in the colour of their class, and mark the wrong guesses with the colour of the guess.

    Args:
        path: the picture to write.
        points: ``(n, 2)``.
        labels: their classes ``(n,)``.
        panels: guesses ``(n,)`` by the title of their panel.
        names: of the classes.
        title: one line above all.
    """
    figure = _figure((4.2 * len(panels), 4.6), title)
    colours = np.asarray(CLASSES)
    for axes, (name, guesses) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        wrong = guesses != labels
        axes.scatter(*points.T, c=colours[labels], s=18, edgecolors="white", linewidths=0.4)
        axes.scatter(*points[wrong].T, s=55, facecolors="none", edgecolors=colours[guesses[wrong]], linewidths=1.6)
        _bare(axes, name)
    dot = partial(Line2D, [], [], marker="o", linestyle="")
    handles = [dot(color=colour, label=name) for name, colour in zip(names, colours, strict=True)]
    handles.append(dot(markersize=8, color=INK, fillstyle="none", label="wrong; the ring is the guess"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=90)


def accuracy_curves(path: Path, curves: Mapping[str, Sequence[float]], title: str) -> None:
    """Draw accuracies epoch by epoch.

    Args:
        path: the picture to write.
        curves: an accuracy for each epoch, by name.
        title: one line above all.
    """
    figure = _figure((8, 4.5), title)
    axes = figure.subplots()
    for (name, shares), colour in zip(curves.items(), CLASSES, strict=False):
        axes.plot(np.arange(1, len(shares) + 1), shares, color=colour, linewidth=2, label=name)
    floor = max(min(map(min, curves.values())), min(shares[-1] for shares in curves.values()) - 0.05)
    axes.set_ylim(floor, None)  # first epochs are far below, and would press the rest together
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g}%")
    axes.set_xlabel("epoch", color=INK)
    axes.set_title("accuracy on images that are held out", loc="left", fontsize=11, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6")
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=90)


def score_surfaces(
    path: Path,
    panels: Mapping[str, tuple[Callable[[Any], Any], Sequence[float]]],
    hours: Any,
    scores: Any,
    title: str,
) -> None:
    """Draw the cost by step, and the scores over the plane of two inputs, a network in each panel.

    Args:
        path: the picture to write.
        panels: of each network the function from inputs ``(n, 2)`` to scores ``(n,)``, and the cost after each step.
        hours: the examples ``(n, 2)``.
        scores: theirs ``(n,)``.
        title: one line above all.
    """
    figure = _figure((4.4 * (len(panels) + 1), 4.2), title)
    curves, *planes = figure.subplots(1, len(panels) + 1)
    across, up = np.linspace(0, 11, 101), np.linspace(0, 5.5, 101)
    points = np.stack([a.reshape(-1) for a in np.meshgrid(across, up)], axis=1)
    for axes, colour, (name, (score, costs)) in zip(planes, CLASSES, panels.items(), strict=False):
        curves.semilogy(costs, color=colour, linewidth=2, label=name)
        levels = np.arange(0, 101, 5)
        drawn = axes.contourf(across, up, score(points).reshape(101, 101), levels=levels, cmap="viridis")
        lines = axes.contour(drawn, levels=levels[::2], colors="white", linewidths=0.7)
        axes.clabel(lines, fontsize=8)
        axes.scatter(*np.asarray(hours).T, s=40, color="white", edgecolors=INK, zorder=3)
        for (x, y), mark in zip(hours, scores, strict=True):
            axes.annotate(f"{mark}", (x, y), xytext=(5, 5), textcoords="offset points", color="white", weight="bold")
        axes.set_title(name, loc="left", fontsize=11, color=INK)
        axes.set_xlabel("hours of sleep", color=INK)
        axes.set_ylabel("hours of study", color=INK)
    curves.set_title("cost by step", loc="left", fontsize=11, color=INK)
    curves.spines[["top", "right"]].set_visible(False)
    curves.grid(axis="y", color="#e6e6e6")
    curves.legend(frameon=False)
    figure.savefig(path, dpi=72)


def _figure(size: tuple[float, float], title: str) -> Figure:
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold", color=INK)
    return figure


def _bare(axes: Axes, title: str = "") -> None:
    """No ticks, thin grey edges, and a title."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(LINE)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
