"""What happened in training, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

SHOWN = 20
"""A longer table leaves out its middle."""


class History(Mapping[str, list[float]]):
    """The figures of each epoch: a mapping from column to list, e.g. ``history["loss"]``.

    Columns: ``loss`` and each metric, as means over the examples while they were trained on;
    ``validation_loss`` and each metric with the same prefix; ``rate``, the learning rate of the last
    step; ``seconds``, the time of the epoch without its validation. A figure that an epoch lacks is
    NaN. Columns are attributes too: ``history.loss``.

    Attributes:
        epochs: one dict for each epoch.
        interrupted: whether the last fit was stopped by Ctrl-C. Its last epoch is then not a whole one.

    >>> history = History()
    >>> history.append({"loss": 0.5, "seconds": 1.25})
    >>> history.append({"loss": 0.25, "seconds": 1.5})
    >>> history.loss
    [0.5, 0.25]
    >>> history
    epoch    loss  seconds
        1  0.5000     1.25
        2  0.2500     1.50
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.interrupted = False

    def append(self, figures: Mapping[str, float]) -> None:
        """Add the figures of an epoch."""
        self.epochs.append(dict(figures))

    def __getitem__(self, column: str) -> list[float]:
        if column not in self._columns():
            raise KeyError(column)
        return [figures.get(column, math.nan) for figures in self.epochs]

    def __getattr__(self, column: str) -> list[float]:
        if not column.startswith("_") and "epochs" in self.__dict__ and column in self._columns():
            return self[column]
        raise AttributeError(
            f"{type(self).__name__} has no column {column!r}"
            + (f"; there are {', '.join(self)}" if self.__dict__.get("epochs") else ", for no epoch is over yet")
        )

    def __iter__(self) -> Iterator[str]:
        """The columns."""
        return iter(self._columns())

    def __len__(self) -> int:
        """The number of columns; that of epochs is ``len(history.epochs)``."""
        return len(self._columns())

    def _columns(self) -> dict[str, None]:
        return dict.fromkeys(column for figures in self.epochs for column in figures)

    def __repr__(self) -> str:
        if not self.epochs:
            return "<History of no epochs>"
        columns = list(self)
        rows = [["epoch", *columns]]
        rows += [
            [str(number), *(_text(column, figures.get(column, math.nan)) for column in columns)]
            for number, figures in enumerate(self.epochs, start=1)
        ]
        if len(rows) > SHOWN + 1:
            rows[1 + SHOWN // 2 : -SHOWN // 2] = [["…"] * len(rows[0])]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(lines + (["interrupted"] if self.interrupted else []))


def _text(column: str, figure: float) -> str:
    if math.isnan(figure):
        return "-"
    if column == "seconds":
        return f"{figure:.2f}"
    if column == "rate":
        return f"{figure:.3g}"
    return number(figure)


def number(figure: float) -> str:
    """Four significant places or so, in few characters: 0.0312, 12.35, 1.2e-07."""
    return f"{figure:.4f}" if figure == 0 or 1e-3 <= abs(figure) < 1e3 else f"{figure:.2e}"
