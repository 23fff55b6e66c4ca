"""Peers side by side: start them, compare their losses, let them take turns."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf, isnan
from statistics import median
from types import TracebackType

from benchmark import PEERS, missing
from benchmark.machine import busy_seconds
from benchmark.problem import Problem
from benchmark.worker import Process, Worker, WorkerError

REFERENCE = "nnx"


@dataclass
class Result:
    """What was found for one problem."""

    problem: Problem
    rounds: dict[str, list[float]] = field(default_factory=dict)
    """Peer -> median seconds a step of each round."""

    deviations: dict[str, float] = field(default_factory=dict)
    """Peer -> largest relative difference of its losses from those of the reference."""

    memory: dict[str, int] = field(default_factory=dict)
    """Peer -> bytes that it took for its work, at most: see ``benchmark.card.Meter``."""

    notes: dict[str, str] = field(default_factory=dict)
    """Peer -> its version, or why it did not take part."""

    errors: list[str] = field(default_factory=list)
    """Why the benchmark is to fail."""

    foreign: float = 0.0
    """The share of the processor that other processes used meanwhile; 0 where the system does not tell."""


class Rounds:
    """The processes of the peers for one problem; a context manager, which ends them.

    Args:
        problem: what they compute.
        names: which peers.
        device: a device flag of nnx; torch and jax compute on the GPU where it means one, else on the CPU.
        patience: seconds after which a peer that does not answer is dropped; ``None`` for never.
    """

    def __init__(self, problem: Problem, names: Iterable[str], device: str, patience: float | None = None) -> None:
        self.result = Result(problem)
        self._workers: dict[str, Worker] = {}
        for name in names:
            if absent := missing(name):
                self.result.notes[name] = f"not installed: {', '.join(absent)}"
                continue
            try:
                self._workers[name] = Worker(name, problem, device, patience)
            except WorkerError as error:
                self._drop(name, error)
        for name in list(self._workers):  # all of them are importing their libraries by now
            try:
                self.result.notes[name] = self._workers[name].versions
            except WorkerError as error:
                self._drop(name, error)

    def compare(self, steps: int, rtol: float | None) -> None:
        """Compare the first losses of all peers with those of the reference, or of the first peer without it."""
        losses: dict[str, list[float]] = {}
        for name in list(self._workers):
            try:
                losses[name] = self._workers[name].losses(steps)
            except WorkerError as error:
                self._drop(name, error)
        reference = REFERENCE if REFERENCE in losses else next(iter(losses), "")
        for name in [name for name in losses if name != reference]:
            found = self.result.deviations[name] = deviation(losses[name], losses[reference])
            allowed = PEERS[name].rtol if rtol is None else rtol
            if not found <= allowed:
                self.result.errors.append(
                    f"the losses of {name} and {reference} on {self.result.problem} differ by {found:.1e} "
                    f"relative in {steps} steps; {allowed:.0e} is allowed"
                )

    def run(self, rounds: int, seconds: float, rest: float) -> None:
        """Let every peer have its turn in each round; the first of a round is the second of the next."""
        start = account(self._workers.values())
        for i in range(rounds):
            for name in rotated(list(self._workers), i):
                time.sleep(rest)
                try:
                    times = self._workers[name].turn(seconds)
                except WorkerError as error:
                    self._drop(name, error)
                    continue
                self.result.rounds.setdefault(name, []).append(median(times))
                self.result.memory[name] = self._workers[name].memory()
        self.result.foreign = foreign(start, account(self._workers.values()))

    def profile(self, seconds: float) -> dict[str, float]:
        """Seconds of each part of a step of the reference."""
        return self._workers[REFERENCE].profile(seconds) if REFERENCE in self._workers else {}

    def _drop(self, name: str, error: WorkerError) -> None:
        self.result.notes[name] = f"failed: {error}"
        self.result.rounds.pop(name, None)
        self.result.memory.pop(name, None)
        if worker := self._workers.pop(name, None):
            worker.close()
        if name.startswith(REFERENCE):
            self.result.errors.append(f"{name} on {self.result.problem} failed: {error}")

    def __enter__(self) -> Rounds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            worker.close()


def rotated(names: Sequence[str], i: int) -> list[str]:
    """The order of round ``i``."""
    return [*names[-i % len(names) :], *names[: -i % len(names)]] if names else []


def account(workers: Iterable[Process]) -> tuple[float, float] | None:
    """Seconds that the CPUs could work until now, and that they worked for others; ``None`` if unknown."""
    busy = busy_seconds()
    if busy is None:
        return None
    own = sum(worker.used() for worker in workers)
    return time.perf_counter() * len(os.sched_getaffinity(0)), busy - own


def foreign(start: tuple[float, float] | None, end: tuple[float, float] | None) -> float:
    """The share of the processor that others used between two accounts; 0 where it is not known."""
    if start is None or end is None:
        return 0.0
    seconds, others = (after - before for before, after in zip(start, end, strict=True))
    return max(0.0, others / seconds)


def deviation(losses: Sequence[float], reference: Sequence[float]) -> float:
    """The largest relative difference between two courses of the loss; infinite where one is not a number."""
    differences = [abs(a - b) / abs(b) for a, b in zip(losses, reference, strict=True)]
    return max(inf if isnan(d) else d for d in differences)
