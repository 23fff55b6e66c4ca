"""Threads for loops over many elements.

Loops leave the lock of the interpreter, so threads of Python run them side by side; handing a part over takes 5 µs.
Numba's own threads are not used: those of OpenMP go on spinning for milliseconds on the cores that the next matrix
product needs (a product and a loop in turns took 8,200 µs in place of 280), and die with the process if it forks.

How the work is cut depends on its size alone, never on the number of threads: neither do the results.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

VARIABLES = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
PART = 1 << 20
"""Elements of a part, for a loop of a few operations an element."""


def count() -> int:
    """How many threads loops may use: as ``NUMBA_NUM_THREADS`` or ``OMP_NUM_THREADS`` says, else one for each CPU.

    A variable that says no whole number of 1 or more is passed over: Numba and OpenMP have their own opinions of it.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name in VARIABLES:
        text = os.environ.get(name, "").partition(",")[0].strip()  # OpenMP takes a list, of which the first counts
        if text.isdigit() and int(text) >= 1:
            return min(int(text), cpus)
    return cpus


class _Team:
    """Threads that wait for work. They end with the process, and a process that forks starts new ones."""

    def __init__(self) -> None:
        self._size: int | None = None
        self._queue: SimpleQueue[_Work] = SimpleQueue()
        self._started = threading.Lock()

    def helpers(self) -> int:
        """How many threads there are beside the caller's; they are started when this is first asked."""
        if self._size is None:
            with self._started:
                if self._size is None:
                    size = count() - 1
                    for i in range(size):
                        threading.Thread(target=self._serve, name=f"nnx-loop-{i + 1}", daemon=True).start()
                    self._size = size
        return self._size

    def ask(self, work: _Work, helpers: int) -> None:
        for _ in range(helpers):
            self._queue.put(work)

    def _serve(self) -> None:
        while True:
            self._queue.get().help()


class _Work:
    """Calls of a loop, which several threads take one after another until none is left."""

    def __init__(self, loop: Callable[[int, int], None], size: int, part: int) -> None:
        self._loop = loop
        self._size, self._part = size, part
        self._starts = iter(range(0, size, part))
        self._open = threading.Semaphore(0)
        self._error: BaseException | None = None

    def help(self) -> None:
        try:
            self.take()
        except BaseException as error:  # the caller raises it
            self._error = error
        finally:
            self._open.release()

    def take(self) -> None:
        for start in self._starts:  # next() of this iterator holds the lock of the interpreter
            self._loop(start, min(start + self._part, self._size))

    def wait(self, helpers: int) -> None:
        for _ in range(helpers):
            self._open.acquire()
        if self._error is not None:
            raise self._error


_team = _Team()


def _renew() -> None:
    """A forked process has none of the threads."""
    global _team
    _team = _Team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def spread(loop: Callable[[int, int], None], size: int, part: int = PART) -> None:
    """Call ``loop(start, stop)`` for all parts of ``range(size)``, on several threads where there are several parts.

    Args:
        loop: compiled code, or what calls it; it must not write where another part reads or writes.
        size: how many elements or rows there are.
        part: how many of them one call takes.
    """
    parts = -(-size // part)
    helpers = min(parts - 1, _team.helpers()) if parts > 1 else 0
    work = _Work(loop, size, part)
    if not helpers:
        work.take()
        return
    team = _team
    team.ask(work, helpers)
    try:
        work.take()
    finally:
        work.wait(helpers)
