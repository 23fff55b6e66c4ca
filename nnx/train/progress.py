"""What a training run shows while it runs: a bar for each epoch, a line for each, or nothing."""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from nnx.train.history import number

INTERVAL = 0.1
"""Seconds from one refresh of a bar to the next."""

KEPT = 20
"""At most about so many finished bars stay on the screen."""

SPARE = 4
"""The fewest characters of a bar, beside what is written around it."""

Figures = Mapping[str, float]


class Quiet:
    """Shows nothing.

    Attributes:
        due: the time, by ``time.perf_counter``, from which :meth:`refresh` has something to show.
    """

    due = math.inf

    def begin(self, epoch: int, epochs: int, steps: int | None) -> None:
        """An epoch begins, of so many steps if that is known."""

    def refresh(self, step: int, figures: Figures, note: str = "") -> None:
        """``step`` steps of the epoch are done."""

    def end(self, figures: Figures, note: str = "") -> None:
        """The epoch is over, with these figures."""

    def close(self) -> None:
        """The run is over."""


class Lines(Quiet):
    """Prints a line when an epoch is over: for files and pipes."""

    def begin(self, epoch: int, epochs: int, steps: int | None) -> None:
        """Remember the epoch for its line."""
        self._title = f"epoch {epoch:{len(str(epochs))}}/{epochs}"

    def end(self, figures: Figures, note: str = "") -> None:
        """Print the line."""
        print(summary_line(self._title, figures, note), file=sys.stderr, flush=True)


class Bars(Lines):
    """Draws a bar for each epoch, which becomes the line of its figures."""

    def __init__(self) -> None:
        with warnings.catch_warnings():  # in a notebook without ipywidgets tqdm warns, and draws with text
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
        self._tqdm: Any = tqdm
        self._bar: Any = None

    def begin(self, epoch: int, epochs: int, steps: int | None) -> None:
        """Draw an empty bar."""
        super().begin(epoch, epochs, steps)
        self._keep = epoch == epochs or epoch % math.ceil(epochs / KEPT) == 0
        self._steps = steps
        self._start = time.perf_counter()
        if self._bar is None:
            left = f"{self._title}   0% |{{bar}}|" if steps else self._title
            self._bar = self._tqdm(total=steps, bar_format=left, dynamic_ncols=True, mininterval=0, leave=True)
            self._bar.dynamic_ncols = _screen
            self.due = 0.0
        else:
            self._bar.reset(steps)

    def refresh(self, step: int, figures: Figures, note: str = "") -> None:
        """Fill the bar to ``step``, with as many figures as the line has room for."""
        elapsed = time.perf_counter() - self._start
        parts = [f"{name} {_text(name, figure)}" for name, figure in figures.items()]
        parts.append(note or f"{step / elapsed:.{0 if step > 10 * elapsed else 2}f} steps/s")
        if self._steps and not note:
            parts.append(f"{_clock((self._steps - step) * elapsed / step)} left")
        left = f"{self._title} {step / self._steps:4.0%} |{{bar}}| " if self._steps else f"{self._title}, step {step}, "
        room = self._width() - len(left) - (SPARE if self._steps else 0)
        while len(parts) > 1 and len(", ".join(parts)) > room:
            parts.pop(_least(parts))
        self._show(left + _escape(", ".join(parts)), step)

    def end(self, figures: Figures, note: str = "") -> None:
        """Turn the bar into the line of the figures, which stays unless there are too many of them."""
        if self._keep or note or time.perf_counter() >= self.due:
            line = summary_line(self._title, figures, note, self._width())
            self._show(_escape(line), self._bar.n if note else self._steps)
        if self._keep or note:
            self.close()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, text: str, step: int | None) -> None:
        self._bar.bar_format = text
        self._bar.n = step or self._bar.n
        self._bar.refresh()
        self.due = time.perf_counter() + INTERVAL

    def _width(self) -> int:
        columns = self._bar.format_dict["ncols"]
        return columns if isinstance(columns, int) and columns > 0 else 120


def _screen(file: Any) -> tuple[int | None, int | None]:
    """Columns and rows of a terminal, ``None`` if it does not tell: it may then say 0, and tqdm draw nothing.

    The columns lack those of the "^C" that is shown when it is pressed, which would break a full line.
    """
    try:
        columns, rows = os.get_terminal_size(file.fileno())
    except (AttributeError, OSError, ValueError):
        return None, None
    return (columns - 2 if columns > 2 else None), rows or None


def choose(progress: bool | None) -> Quiet:
    """What to show: ``None`` is bars where they can be drawn and else nothing; ``True`` is lines then."""
    can_draw = _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())
    if progress is False or (progress is None and not can_draw):
        return Quiet()
    return Bars() if can_draw else Lines()


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", ())


def summary_line(title: str, figures: Figures, note: str = "", width: int = 1000) -> str:
    """The figures of an epoch in one line: the longest of a few forms that fits ``width``."""
    return next((line for line in _forms(title, figures, note) if len(line) <= width), title[:width])


def _forms(title: str, figures: Figures, note: str) -> Iterator[str]:
    prefix = "validation_"
    validation = {name.removeprefix(prefix): f for name, f in figures.items() if name.startswith(prefix)}
    training = {name: f for name, f in figures.items() if name in validation or name == "loss"} | {
        name: f for name, f in figures.items() if not name.startswith(prefix) and name not in ("rate", "seconds")
    }
    trained = _named(training)
    named = [f"validation {_named(validation)}"] if validation else []
    bare = [f"validation {', '.join(map(number, validation.values()))}"] if validation else []
    rate = [f"rate {_text('rate', figures['rate'])}"] if "rate" in figures else []
    seconds = [f"{figures['seconds']:.1f} s"] if "seconds" in figures else []
    notes = [note] if note else []
    for parts in (
        [trained, *named, *rate, *seconds, *notes],
        [trained, *named, *seconds, *notes],
        [trained, *bare, *seconds, *notes],
        [trained, *bare, *notes],
        [trained, *notes],
        [*(notes or [f"loss {number(figures['loss'])}"])],
    ):
        yield f"{title}: {' | '.join(parts)}"


def _named(figures: Figures) -> str:
    return ", ".join(f"{name} {_text(name, figure)}" for name, figure in figures.items())


def _text(name: str, figure: float) -> str:
    return f"{figure:.3g}" if name == "rate" else number(figure)


def _least(parts: list[str]) -> int:
    """Which part is left out first: the time left, then the rate, then the last but one."""
    if parts[-1].endswith(" left"):
        return -1
    return next((i for i, part in enumerate(parts) if part.startswith("rate ")), -1)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
