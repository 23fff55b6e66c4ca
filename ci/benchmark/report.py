"""Medians and ratios, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmark.rounds import REFERENCE, Result

NOISE = 0.05
"""The share of the processor that others may use before the report warns."""


class Ratio(NamedTuple):
    """The median of the ratios of all rounds, with the smallest and the largest."""

    median: float
    low: float
    high: float


def ratios(rounds: Mapping[str, Sequence[float]]) -> dict[str, Ratio]:
    """The time of each peer divided by the time of nnx in the same round."""
    ours = rounds.get(REFERENCE, ())
    found = {}
    for name, times in rounds.items():
        if name != REFERENCE and len(times) == len(ours) > 0:
            values = [theirs / our for theirs, our in zip(times, ours, strict=True)]
            found[name] = Ratio(median(values), min(values), max(values))
    return found


def text(result: Result) -> str:
    """A line for each peer, fastest first, then what was wrong."""
    against = ratios(result.rounds)
    lines = [f"{result.problem!s:<28}{'µs a step':>12}{'best':>12}   {f'time / {REFERENCE}':<25} losses"]
    for name, times in sorted(result.rounds.items(), key=lambda item: median(item[1])):
        ratio = "{:.2f}  ({:.2f} .. {:.2f})".format(*against[name]) if name in against else ""
        losses = f"to {result.deviations[name]:.0e}" if name in result.deviations else ""
        figures = f"{median(times) * 1e6:>12,.1f}{min(times) * 1e6:>12,.1f}   {ratio:<25} {losses:<11}"
        lines.append(f"  {name:<26}{figures}{result.notes[name]}")
    lines += [f"  {name:<26}{note}" for name, note in result.notes.items() if name not in result.rounds]
    lines += [f"  FAILED: {error}" for error in result.errors]
    if result.foreign > NOISE:
        lines.append(f"  Other processes used {result.foreign:.0%} of the processor: measure again on a quiet machine.")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def record(result: Result) -> dict[str, Any]:
    """The same, with the times of every round in seconds, for JSON."""
    return {
        "problem": str(result.problem),
        **result.problem._asdict(),
        "memory": result.memory,
        "seconds": result.rounds,
        "median": {name: median(times) for name, times in result.rounds.items()},
        "ratio": {name: ratio._asdict() for name, ratio in ratios(result.rounds).items()},
        "deviation": result.deviations,
        "notes": result.notes,
        "errors": result.errors,
        "foreign": result.foreign,
    }


def parts(result: Result, seconds: Mapping[str, float]) -> str:
    """Where the time of a step goes."""
    lines = [f"{result.problem!s:<28}{'µs a step':>12}"]
    lines += [f"  {name:<26}{value * 1e6:>12,.1f}" for name, value in seconds.items()]
    lines += [f"  FAILED: {error}" for error in result.errors]
    return "\n".join(lines) + "\n"
