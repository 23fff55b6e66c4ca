"""nnx beside the library beneath it: what it fails that the library does not."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from apisuite.runs import Run

SKIPS = Path(__file__).with_name("skips.toml")
RANK = {"passed": 0, "skipped": 1, "failed": 2}


class Skip(NamedTuple):
    """A failure of nnx alone that is allowed, over every library."""

    arrays: str
    """``constant`` or ``recorded``: the run in which it fails."""

    test: str
    reason: str
    upstream: str
    """Where its cause is recorded: an issue, a passage of the standard, or a decision of nnx."""


class Comparison(NamedTuple):
    """A run over nnx beside the run over the library beneath.

    Attributes:
        worse: the tests that come off worse through nnx than beneath it, and are not to be skipped.
        allowed: those that are.
        stale: the skips whose test came off no worse.
        better: the tests that fail beneath and not through nnx.
    """

    library: str
    arrays: str
    beneath: Run
    through: Run
    worse: list[str]
    allowed: list[str]
    stale: list[str]
    better: list[str]

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"{self.library}, {self.arrays}"


def skips(path: Path = SKIPS) -> list[Skip]:
    """The list of skips.

    Raises:
        ValueError: an entry lacks something, or has more than it should.
    """
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("skip", [])
    for entry in entries:
        if set(entry) != set(Skip._fields) or not all(isinstance(text, str) and text for text in entry.values()):
            raise ValueError(f"{path.name}: expected {', '.join(Skip._fields)} in every entry, got {entry}")
    return [Skip(**entry) for entry in entries]


def compare(library: str, arrays: str, beneath: Run, through: Run, skips: Iterable[Skip]) -> Comparison:
    """Find what nnx fails that the library does not.

    A test that passes beneath and is skipped, or not found, through nnx counts as one that fails.
    """
    worse = sorted(
        test
        for test in beneath.outcomes | through.outcomes
        if RANK[through.outcomes.get(test, "failed")] > RANK[beneath.outcomes.get(test, "passed")]
    )
    known = {skip.test for skip in skips if skip.arrays == arrays}
    return Comparison(
        library,
        arrays,
        beneath,
        through,
        worse=[test for test in worse if test not in known],
        allowed=[test for test in worse if test in known],
        stale=sorted((known & set(through.outcomes)) - set(worse)),
        better=sorted(
            test
            for test, outcome in beneath.outcomes.items()
            if outcome == "failed" and through.outcomes.get(test) == "passed"
        ),
    )


HEAD = f"{'':<28}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}   beyond the library beneath"


def row(name: str, run: Run, comparison: Comparison | None = None) -> str:
    """The figures of a run, under ``HEAD``."""
    count = run.count()
    figures = f"{count['passed']:>8,}{count['failed']:>8,}{count['skipped']:>9,}{run.seconds:>9.0f}"
    beyond = ""
    if comparison is not None:
        beyond = f"   {len(comparison.worse) + len(comparison.allowed)} failed"
        beyond += f", {len(comparison.allowed)} of them in skips.toml" if comparison.allowed else ""
    return f"{name:<28}{figures}{beyond}"


def details(comparisons: Sequence[Comparison]) -> list[str]:
    """The tests that matter, by name."""
    failures: dict[tuple[str, str], list[str]] = {}  # once for the runs in which they are the same
    for found in comparisons:
        for test in found.worse:
            reason = found.through.reasons.get(test) or found.through.outcomes.get(test, "not collected")
            failures.setdefault((test, reason), []).append(found.name)
    lines = [f"FAILED ({'; '.join(names)}): {test}\n    {reason}" for (test, reason), names in failures.items()]
    for found in comparisons:
        lines += [f"skip, by skips.toml ({found.name}): {test}" for test in found.allowed]
        lines += [f"needs no skip ({found.name}): {test}" for test in found.stale]
        lines += [f"fails beneath alone ({found.name}): {test}" for test in found.better]
    return lines
