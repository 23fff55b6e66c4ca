"""Medians and ratios of the overhead benchmark, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmark.overhead.programs import CASES
from benchmark.overhead.rounds import Result
from benchmark.overhead.worker import Times
from benchmark.report import NOISE, Ratio, ratios
from benchmark.rounds import REFERENCE


def medians(result: Result) -> dict[str, dict[str, float]]:
    """Peer -> the medians of its times, seconds an operation, least overhead first."""
    found = {
        name: {what: median(getattr(times, what) for times in turns) for what in (*Times._fields, "overhead")}
        for name, turns in result.rounds.items()
    }
    return dict(sorted(found.items(), key=lambda item: item[1]["overhead"]))


def overhead_ratios(result: Result) -> dict[str, Ratio]:
    """The overhead of each peer divided by that of nnx in the same round."""
    return ratios({name: [times.overhead for times in turns] for name, turns in result.rounds.items()})


def text(result: Result, notes: Mapping[str, str]) -> str:
    """A line for each peer, then what was wrong."""
    against = overhead_ratios(result)
    columns = "".join(f"{title:>10}" for title in ("plain", "recorded", "gradient", "overhead"))
    lines = [f"{CASES[result.case]!s:<40}{columns}   {f'overhead / {REFERENCE}':<22} gradient"]
    for name, times in medians(result).items():
        ratio = "{:.2f}  ({:.2f} .. {:.2f})".format(*against[name]) if name in against else ""
        agrees = f"to {result.deviations[name]:.0e}" if name in result.deviations else ""
        figures = "".join(f"{seconds * 1e6:>10.2f}" for seconds in times.values())
        lines.append(f"  {name:<38}{figures}   {ratio:<22} {agrees:<8} {notes[name]}")
    lines += [f"  {name:<38}{note}" for name, note in notes.items() if name not in result.rounds]
    lines += [f"  FAILED: {error}" for error in result.errors]
    if result.foreign > NOISE:
        lines.append(f"  Other processes used {result.foreign:.0%} of the processor: measure again on a quiet machine.")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def record(result: Result, notes: Mapping[str, str]) -> dict[str, Any]:
    """The same, with the times of every round in seconds an operation, for JSON."""
    return {
        "case": result.case,
        "operations": CASES[result.case].operations,
        "seconds": {name: [times._asdict() for times in turns] for name, turns in result.rounds.items()},
        "median": medians(result),
        "ratio": {name: ratio._asdict() for name, ratio in overhead_ratios(result).items()},
        "deviation": result.deviations,
        "notes": dict(notes),
        "errors": result.errors,
        "foreign": result.foreign,
    }
