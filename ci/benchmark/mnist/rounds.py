"""Peers side by side: each trains from the same weights, in turns."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from benchmark.mnist import missing
from benchmark.mnist.task import Task
from benchmark.mnist.worker import Turn, Worker
from benchmark.rounds import REFERENCE, account, foreign, rotated
from benchmark.worker import WorkerError


@dataclass
class Result:
    """What was found for one task."""

    task: Task
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    """Peer -> its training runs."""

    notes: dict[str, str] = field(default_factory=dict)
    """Peer -> its version, or why it did not take part."""

    errors: list[str] = field(default_factory=list)
    """Why the benchmark is to fail."""

    foreign: float = 0.0
    """The share of the processor that other processes used meanwhile; 0 where the system does not tell."""

    @property
    def accuracy(self) -> dict[str, float]:
        """Peer -> the median of its accuracies on the test images."""
        return {name: median(turn.scores.accuracy for turn in turns) for name, turns in self.turns.items()}


def run(task: Task, names: Iterable[str], rounds: int, rest: float, apart: float) -> Result:
    """Let every peer train once in each round, and compare what they reached.

    Args:
        rest: seconds between two turns, in which idle threads stop.
        apart: by how much the median accuracy of a peer may differ from that of the reference.
    """
    result = Result(task)
    workers: dict[str, Worker] = {}

    def drop(name: str, error: WorkerError) -> None:
        result.notes[name] = f"failed: {error}"
        result.turns.pop(name, None)
        if worker := workers.pop(name, None):
            worker.close()
        if name == REFERENCE:
            result.errors.append(f"{name} on {task} failed: {error}")

    try:
        for name in names:
            if absent := missing(name):
                result.notes[name] = f"not installed: {', '.join(absent)}"
                continue
            try:
                workers[name] = Worker(name, task)
                result.notes[name] = workers[name].versions
            except WorkerError as error:
                drop(name, error)
        start = account(workers.values())
        for i in range(-1, rounds):  # one before they count: what is made at the first call is made
            for name in rotated(list(workers), i):
                time.sleep(rest)
                try:
                    turn = workers[name].turn()
                except WorkerError as error:
                    drop(name, error)
                    continue
                if i >= 0:
                    result.turns.setdefault(name, []).append(turn)
        result.foreign = foreign(start, account(workers.values()))
    finally:
        for worker in workers.values():
            worker.close()
    result.errors += _disagreements(result, apart)
    return result


def _disagreements(result: Result, apart: float) -> list[str]:
    found = result.accuracy
    if REFERENCE not in found:
        return []
    return [
        f"{name} has an accuracy of {accuracy:.2%} and {REFERENCE} of {found[REFERENCE]:.2%} on {result.task}; "
        f"{apart:.2%} apart is allowed"
        for name, accuracy in found.items()
        if not abs(accuracy - found[REFERENCE]) <= apart
    ]
