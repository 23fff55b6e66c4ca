"""nnx on NumPy arrays: ``grad``; ``vjp`` where only the recording is timed."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy as raw

import nnx
from benchmark.overhead.peer import Differentiator, Runs, of_some
from benchmark.overhead.programs import Case


class Nnx(Differentiator):
    packages = ("nnx-array", "numpy")

    def runs(self, case: Case) -> Runs:
        arrays = case.arrays()

        def program(*arguments: Any) -> Any:
            return case.program(nnx.namespace_of(*arguments), *arguments)

        by = [arrays[place] for place in case.by]
        alone = of_some(program, arrays, case.by)
        gradient = nnx.grad(program, case.by)
        return Runs(lambda: case.program(raw, *arrays), lambda: nnx.vjp(alone, *by), lambda: gradient(*arrays))
