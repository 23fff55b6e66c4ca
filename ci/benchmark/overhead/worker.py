"""The process of a peer: it is asked for gradients and times of a case."""

from __future__ import annotations

from functools import cache
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from benchmark.overhead import make
from benchmark.overhead.peer import Run, Runs
from benchmark.overhead.programs import CASES
from benchmark.worker import CHUNK, Answers, Process


class Times(NamedTuple):
    """Seconds an operation."""

    plain: float
    recorded: float
    gradient: float
    """Forward and backward."""

    @property
    def overhead(self) -> float:
        """What a gradient costs beyond the program itself."""
        return self.gradient - self.plain


class Worker(Process):
    """A peer in a process of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(_prepare, name)

    def gradients(self, case: str) -> list[Any]:
        """The gradients by the arguments of a case, as NumPy arrays."""
        return self._ask("gradients", case)  # type: ignore[no-any-return]

    def turn(self, case: str, seconds: float) -> Times:
        """Work on a case for about that long."""
        return self._ask("turn", case, seconds)  # type: ignore[no-any-return]


def _prepare(name: str) -> tuple[str, Answers]:
    peer = make(name)

    @cache
    def runs(case: str) -> Runs:
        return peer.runs(CASES[case])

    def gradients(case: str) -> list[Any]:
        return [np.asarray(g) for g in runs(case).gradient()]

    def turn(case: str, seconds: float) -> Times:
        return Times(*(timed(run, seconds / 3) / CASES[case].operations for run in runs(case)))

    return peer.versions(), {"gradients": gradients, "turn": turn}


def timed(run: Run, seconds: float) -> float:
    """The median of the times of a call, measured in chunks for about that many seconds: three chunks at least."""
    run()
    start = perf_counter()
    run()
    calls = max(1, int(CHUNK / (perf_counter() - start)))
    times: list[float] = []
    end = perf_counter() + seconds
    while len(times) < 3 or perf_counter() < end:
        start = perf_counter()
        for _ in range(calls):
            run()
        times.append((perf_counter() - start) / calls)
    return median(times)
