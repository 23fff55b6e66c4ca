"""Kernels at all their sizes: what is compared takes turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

from benchmark.kernels.cases import CASES, Size
from benchmark.kernels.workers import Kernels, Torch
from benchmark.rounds import account, foreign
from benchmark.worker import WorkerError


@dataclass
class Result:
    """What was found for one kernel."""

    name: str
    rounds: dict[Size, dict[str, list[float]]] = field(default_factory=dict)
    """Size -> what was called -> seconds of a call, a round each."""

    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Why the benchmark is to fail."""

    foreign: float = 0.0
    """The share of the processor that other processes used meanwhile; 0 where the system does not tell."""

    def seconds(self, size: Size, what: str) -> float | None:
        """The best of the rounds: what disturbs a measurement only adds to it."""
        times = self.rounds[size].get(what)
        return min(times) if times else None

    def ratio(self, size: Size, what: str, by: str) -> float | None:
        """How many times as long one takes as another."""
        a, b = self.seconds(size, what), self.seconds(size, by)
        return None if a is None or b is None else a / b


class Rounds:
    """The two processes; a context manager, which ends them.

    Attributes:
        notes: what they are.
    """

    def __init__(self, dtype: str, threads: int, torch: bool = True) -> None:
        self.notes: list[str] = []
        self._kernels = Kernels(dtype)
        self.notes.append(self._kernels.versions)
        self._torch: Torch | None = None
        if torch and find_spec("torch"):
            try:
                self._torch = Torch(dtype, threads)
                self.notes.append(self._torch.versions)
            except WorkerError as error:
                self.notes.append(f"torch failed: {error}")

    def names(self) -> list[str]:
        """The compiled kernels."""
        return self._kernels.names()

    def run(self, names: Sequence[str], rounds: int, seconds: float, quick: bool = False) -> Iterator[Result]:
        """Time the kernels, one after the other."""
        for name in names:
            result = Result(name)
            start = account(self._workers())
            sizes = CASES[name].sizes if name in CASES else ((1,),)
            for size in sizes[: 2 if quick else None]:
                result.rounds[size] = {}
                for _ in range(rounds):
                    self._turn(result, size, seconds)
            for worker in self._workers():
                worker.release()
            result.foreign = foreign(start, account(self._workers()))
            yield result

    def _turn(self, result: Result, size: Size, seconds: float) -> None:
        if result.errors:
            return
        found = self._kernels.turn(result.name, size, seconds)
        if isinstance(found, str):
            result.errors.append(f"{result.name} at {size}: {found}")
            return
        theirs = self._torch.turn(result.name, size, seconds) if self._torch else {}
        if isinstance(theirs, str):
            if theirs not in result.notes:
                result.notes.append(f"torch: {theirs}")
            theirs = {}
        for what, time in (found | theirs).items():
            result.rounds[size].setdefault(what, []).append(time)

    def _workers(self) -> list[Kernels | Torch]:
        return [self._kernels, *([self._torch] if self._torch else [])]

    def __enter__(self) -> Rounds:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers():
            worker.close()
