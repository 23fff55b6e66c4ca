"""Medians and ratios of whole training runs, as text and as JSON."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmark.mnist.rounds import Result
from benchmark.report import NOISE, Ratio, ratios
from benchmark.rounds import REFERENCE


def seconds(result: Result) -> dict[str, list[float]]:
    """The time of each peer's runs."""
    return {name: [turn.seconds for turn in turns] for name, turns in result.turns.items()}


def text(result: Result) -> str:
    """A line for each peer, fastest first, then its ratio in each round, and what was wrong."""
    times, accuracy = seconds(result), result.accuracy
    against: dict[str, Ratio] = ratios(times)
    lines = [f"{result.task!s:<52}{'seconds':>8}{'best':>8}   {f'time / {REFERENCE}':<22} accuracy"]
    for name, each in sorted(times.items(), key=lambda item: median(item[1])):
        ratio = "{:.2f}  ({:.2f} .. {:.2f})".format(*against[name]) if name in against else ""
        figures = f"{median(each):>8.3f}{min(each):>8.3f}   {ratio:<22}   {accuracy[name]:.2%}"
        lines.append(f"  {name:<50}{figures}   {result.notes[name]}")
    for name in against:
        rounds = "  ".join(f"{t / our:.2f}" for t, our in zip(times[name], times[REFERENCE], strict=True))
        lines.append(f"  {f'{name}, round by round':<50}  {rounds}")
    lines += [f"  {name:<50}  {note}" for name, note in result.notes.items() if name not in times]
    lines += [f"  FAILED: {error}" for error in result.errors]
    if result.foreign > NOISE:
        lines.append(f"  Other processes used {result.foreign:.0%} of the processor: measure again on a quiet machine.")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def record(result: Result) -> dict[str, Any]:
    """The same, with the times of every run in seconds, for JSON."""
    times = seconds(result)
    return {
        "task": result.task._asdict(),
        "seconds": times,
        "median": {name: median(each) for name, each in times.items()},
        "ratio": {name: ratio._asdict() for name, ratio in ratios(times).items()},
        "accuracy": {name: [turn.scores.accuracy for turn in turns] for name, turns in result.turns.items()},
        "loss": {name: [turn.scores.loss for turn in turns] for name, turns in result.turns.items()},
        "notes": result.notes,
        "errors": result.errors,
        "foreign": result.foreign,
    }
