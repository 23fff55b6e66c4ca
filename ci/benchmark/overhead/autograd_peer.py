"""HIPS autograd: ``grad``; ``make_vjp`` where only the recording is timed."""

from __future__ import annotations

from typing import Any

import autograd
import autograd.numpy
import numpy as np

from benchmark.overhead.peer import Differentiator, Runs
from benchmark.overhead.programs import Case


class Autograd(Differentiator):
    packages = ("autograd",)

    def runs(self, case: Case) -> Runs:
        arrays = case.arrays()

        def program(*arguments: Any) -> Any:
            return case.program(autograd.numpy, *arguments)

        if len(case.by) > 1:
            gradient, recorded = autograd.grad(program, case.by), autograd.make_vjp(program, case.by)
        else:  # a number is quicker than a tuple of one
            by = case.by[0]
            recorded, single = autograd.make_vjp(program, by), autograd.grad(program, by)
            gradient = lambda *arguments: (single(*arguments),)  # noqa: E731
        return Runs(lambda: case.program(np, *arrays), lambda: recorded(*arrays), lambda: gradient(*arrays))
