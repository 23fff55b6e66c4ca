"""PyTorch, eager, on the CPU: ``torch.autograd.grad``."""

from __future__ import annotations

from typing import Any

import torch

from benchmark.overhead.peer import Differentiator, Runs
from benchmark.overhead.programs import Case


class Torch(Differentiator):
    packages = ("torch",)

    def __init__(self) -> None:
        torch.set_num_threads(1)

    def runs(self, case: Case) -> Runs:
        arguments = [torch.from_numpy(a).requires_grad_(i in case.by) for i, a in enumerate(case.arrays())]
        by = [arguments[place] for place in case.by]

        def recorded() -> Any:
            return case.program(torch, *arguments)

        @torch.no_grad()
        def plain() -> Any:
            return case.program(torch, *arguments)

        return Runs(plain, recorded, lambda: torch.autograd.grad(recorded(), by))
