"""The process of a peer: it is asked for whole training runs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import NamedTuple

from benchmark.mnist import make
from benchmark.mnist.task import Scores, Task
from benchmark.worker import Answers, Process


class Turn(NamedTuple):
    """One training run."""

    seconds: float
    scores: Scores


class Worker(Process):
    """A peer that trains, in its own process."""

    def __init__(self, name: str, task: Task) -> None:
        super().__init__(_prepare, name, task)

    def turn(self) -> Turn:
        """Train from the initial weights."""
        return self._ask("turn")  # type: ignore[no-any-return]


def _prepare(name: str, task: Task) -> tuple[str, Answers]:
    peer = make(name, task)

    def turn() -> Turn:
        peer.prepare()
        with terminal():
            start = perf_counter()
            scores = peer.train()
            return Turn(perf_counter() - start, scores)

    return peer.versions(), {"turn": turn}


@contextmanager
def terminal(columns: int = 120) -> Iterator[None]:
    """Let standard error be a terminal that nobody looks at: bars are drawn, and what that costs is paid.

    Where the system has no such terminals, standard error stays what it is.
    """
    if not hasattr(os, "openpty"):
        yield
        return
    import termios

    screen, keyboard = os.openpty()
    termios.tcsetwinsize(keyboard, (40, columns))

    def drain() -> None:
        with suppress(OSError):  # the other end was closed
            while os.read(screen, 1 << 16):
                pass

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    before = sys.stderr
    with open(keyboard, "w", encoding="utf-8") as stream:
        sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = before
    reader.join()
    os.close(screen)
