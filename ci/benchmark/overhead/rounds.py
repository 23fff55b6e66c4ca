"""Peers side by side: compare their gradients, and let them take turns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from types import TracebackType
from typing import Any

import numpy as np

from benchmark.overhead import missing
from benchmark.overhead.worker import Times, Worker
from benchmark.rounds import REFERENCE, account, foreign, rotated
from benchmark.worker import WorkerError


@dataclass
class Result:
    """What was found for one case."""

    case: str
    rounds: dict[str, list[Times]] = field(default_factory=dict)
    """Peer -> its times in each round."""

    deviations: dict[str, float] = field(default_factory=dict)
    """Peer -> largest difference of a gradient from that of the reference, relative to the largest element of that."""

    errors: list[str] = field(default_factory=list)
    """Why the benchmark is to fail."""

    foreign: float = 0.0
    """The share of the processor that other processes used meanwhile; 0 where the system does not tell."""


class Rounds:
    """The processes of the peers; a context manager, which ends them.

    Attributes:
        notes: peer -> its version, or why it did not take part.
        results: what was found, a case each.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.notes: dict[str, str] = {}
        self.results: list[Result] = []
        self._workers: dict[str, Worker] = {}
        for name in names:
            if absent := missing(name):
                self.notes[name] = f"not installed: {', '.join(absent)}"
                continue
            try:
                self._workers[name] = Worker(name)
                self.notes[name] = self._workers[name].versions
            except WorkerError as error:
                self._drop(name, error)

    @property
    def failed(self) -> bool:
        """Whether the reference failed, or gradients differed."""
        return any(result.errors for result in self.results) or self.notes.get(REFERENCE, "").startswith("failed")

    def run(self, case: str, rounds: int, seconds: float, rtol: float) -> Result:
        """Compare the gradients of a case, then time it: every peer has its turn in each round."""
        result = Result(case)
        self.results.append(result)
        self._compare(result, rtol)
        start = account(self._workers.values())
        for i in range(rounds):
            for name in rotated(list(self._workers), i):
                try:
                    times = self._workers[name].turn(case, seconds)
                except WorkerError as error:
                    self._drop(name, error)
                    result.rounds.pop(name, None)
                    continue
                result.rounds.setdefault(name, []).append(times)
        result.foreign = foreign(start, account(self._workers.values()))
        return result

    def _compare(self, result: Result, rtol: float) -> None:
        """Compare all gradients with those of the reference, or of the first peer without it."""
        gradients: dict[str, list[Any]] = {}
        for name in list(self._workers):
            try:
                gradients[name] = self._workers[name].gradients(result.case)
            except WorkerError as error:
                self._drop(name, error)
        reference = REFERENCE if REFERENCE in gradients else next(iter(gradients), "")
        for name in [name for name in gradients if name != reference]:
            found = result.deviations[name] = deviation(gradients[name], gradients[reference])
            if not found <= rtol:
                result.errors.append(
                    f"the gradients of {name} and {reference} of {result.case} differ by {found:.1e} relative; "
                    f"{rtol:.0e} is allowed"
                )

    def _drop(self, name: str, error: WorkerError) -> None:
        self.notes[name] = f"failed: {error}"
        if worker := self._workers.pop(name, None):
            worker.close()

    def __enter__(self) -> Rounds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            worker.close()


def deviation(gradients: Sequence[Any], reference: Sequence[Any]) -> float:
    """The largest difference, relative to the largest element; infinite for other shapes and what is not finite."""
    if [g.shape for g in gradients] != [g.shape for g in reference]:
        return inf
    if not all(np.isfinite(g).all() for g in (*gradients, *reference)):
        return inf
    return max(float(abs(a - b).max() / abs(b).max()) for a, b in zip(gradients, reference, strict=True))
