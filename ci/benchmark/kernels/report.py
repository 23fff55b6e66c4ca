"""A table for each kernel, and the crossover: the size from which the compiled one is not slower."""

from __future__ import annotations

from typing import Any

from benchmark.kernels.cases import CASES, Size
from benchmark.kernels.rounds import Result
from benchmark.kernels.workers import COMPILED, NATIVE, REFERENCE
from benchmark.report import NOISE

EQUAL = 0.95
"""A ratio above this one is that of two equals: so much differs between two measurements of the same."""


def crossover(result: Result) -> Size | None:
    """The smallest size from which on the compiled kernel is slower at no size; ``None`` where it is at the largest.

    It is compared with the NumPy kernel, or with the reference where there is none.
    """
    found = None
    for size in reversed(list(result.rounds)):
        ratio = against(result, size)
        if ratio is None or ratio < EQUAL:
            break
        found = size
    return found


def against(result: Result, size: Size) -> float | None:
    """The time of what a compiled kernel replaces by its own."""
    what = NATIVE if NATIVE in result.rounds[size] else REFERENCE
    return result.ratio(size, what, COMPILED)


def verdict(result: Result) -> str:
    """The crossover in words."""
    sizes = list(result.rounds)
    found = crossover(result)
    if found is None:
        return "compiled is slower at the largest size"
    label = CASES[result.name].label(found)
    return "compiled is slower at no size" if found == sizes[0] else f"compiled is not slower from {label} on"


def text(result: Result, threads: int) -> str:
    """The table of a kernel."""
    if result.errors:
        return "".join(f"{result.name}\n  FAILED: {error}\n" for error in result.errors)
    alone, all_ = "torch, 1", f"torch, {threads}"
    columns = [REFERENCE, NATIVE, COMPILED, alone, *([all_] if threads > 1 else [])]
    heads = "".join(f"{column:>12}" for column in columns)
    lines = [f"{result.name:<32}{heads}{'by numpy':>10}{'by torch':>10}"]
    for size in result.rounds:
        figures = "".join(_microseconds(result.seconds(size, column)) for column in columns)
        ours, theirs = result.ratio(size, NATIVE, COMPILED), result.ratio(size, all_, COMPILED)
        lines.append(f"  {CASES[result.name].label(size):<30}{figures}{_ratio(ours)}{_ratio(theirs)}")
    lines.append(f"  {verdict(result)}")
    lines += [f"  {note}" for note in result.notes]
    if result.foreign > NOISE:
        lines.append(f"  Other processes used {result.foreign:.0%} of the processor.")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def record(result: Result) -> dict[str, Any]:
    """The same, with the times of every round in seconds, for JSON."""
    found = None if result.errors else crossover(result)
    label = CASES[result.name].label if result.name in CASES else str
    return {
        "kernel": result.name,
        "seconds": {label(size): times for size, times in result.rounds.items()},
        "crossover": found and label(found),
        "notes": result.notes,
        "errors": result.errors,
        "foreign": result.foreign,
    }


def _microseconds(seconds: float | None) -> str:
    return f"{'':>12}" if seconds is None else f"{seconds * 1e6:>12,.{2 if seconds < 1e-4 else 0}f}"


def _ratio(ratio: float | None) -> str:
    return f"{'':>10}" if ratio is None else f"{ratio:>10.2f}"
