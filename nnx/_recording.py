"""Which threads record what they compute, and what must not pass them unnoticed.

``nnx.capture`` records a step and replays it later. What computes beneath it need not know, but for those who
change something that a recording does not see: they ask here. Nobody records in ordinary use, and the question is
then whether a dict is empty.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

from nnx._typing import Array, Precision


class Recorder(Protocol):
    """What records the calls of a thread."""

    def note(self, what: str) -> None:
        """The step does something that cannot be replayed; it goes on, and is not replayed."""

    def require(self, arrays: Iterable[Array], what: str) -> None:
        """Raise unless ``arrays`` are among those that are recorded."""

    def require_later(self, what: str) -> None:
        """Raise: what comes cannot be recorded, and does not happen in the next step again."""

    def precision(self, name: str, how: Precision) -> None:
        """A part of the step is computed in a precision."""

    def constant(self, array: Array) -> None:
        """``array`` was made of numbers of Python, and is in each step."""

    def stand_in(self, array: Array) -> Array:
        """What is recorded in place of ``array``, a constant of the step."""


recorders: dict[int, Recorder] = {}
"""By thread; empty while nobody records."""


def recorder() -> Recorder | None:
    """That of the current thread; ``None`` while it does not record."""
    return recorders.get(threading.get_ident()) if recorders else None
