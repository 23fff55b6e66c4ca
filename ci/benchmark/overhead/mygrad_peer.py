"""MyGrad: ``backward``; as it comes, and without the guards that keep users from writing to arrays of the graph."""

from __future__ import annotations

from typing import Any

import mygrad
import numpy as np

from benchmark.overhead.peer import Differentiator, Runs
from benchmark.overhead.programs import Case


class MyGrad(Differentiator):
    packages = ("mygrad",)

    def runs(self, case: Case) -> Runs:
        arrays = case.arrays()

        def recorded() -> tuple[list[Any], Any]:
            arguments = [mygrad.tensor(a, copy=False) if i in case.by else a for i, a in enumerate(arrays)]
            return arguments, case.program(mygrad, *arguments)

        def gradient() -> tuple[Any, ...]:
            arguments, y = recorded()
            y.backward()
            return tuple(arguments[place].grad for place in case.by)

        return Runs(lambda: case.program(np, *arrays), recorded, gradient)


class Unguarded(MyGrad):
    """As the section on performance in its documentation advises."""

    def __init__(self) -> None:
        mygrad.turn_memory_guarding_off()
