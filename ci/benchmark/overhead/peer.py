"""What the overhead benchmark asks of a library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from benchmark.overhead.programs import Case

Run = Callable[[], Any]


class Runs(NamedTuple):
    """The three things that are timed; each is called without arguments, and has done all its work when it returns."""

    plain: Run
    """The program on arrays of which no history is kept."""

    recorded: Run
    """The program, recorded for a walk back that does not come."""

    gradient: Run
    """The gradients by the arguments ``case.by``, a tuple of arrays."""


class Differentiator(ABC):
    """One library, as its users write it, on arrays that are made before the clock starts."""

    packages: tuple[str, ...] = ()
    """Distributions whose versions the report names."""

    @abstractmethod
    def runs(self, case: Case) -> Runs:
        """What is timed of a case."""

    def versions(self) -> str:
        """The library and its version."""
        return ", ".join(f"{name} {version(name)}" for name in self.packages)


def of_some(function: Callable[..., Any], arguments: Sequence[Any], places: Sequence[int]) -> Callable[..., Any]:
    """``function`` as one of its arguments at ``places`` alone; the others stay what they are."""

    def restricted(*some: Any) -> Any:
        full = list(arguments)
        for place, argument in zip(places, some, strict=True):
            full[place] = argument
        return function(*full)

    return restricted
