"""PyTorch: eager, and through ``torch.compile``; both with the fused Adam."""

from __future__ import annotations

import os
from itertools import pairwise

import torch
from torch.nn import functional

from benchmark.problem import BATCHES, RATE, Peer, Problem


class Eager(Peer):
    """``zero_grad``, forward, ``backward``, ``step``."""

    packages = ("torch",)

    def __init__(self, problem: Problem, device: str) -> None:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        layers: list[torch.nn.Module] = []
        for m, n in pairwise(problem.widths):
            layers += [torch.nn.Linear(m, n), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1])
        self.weights = [torch.from_numpy(a) for w, b in problem.weights() for a in (w.T.copy(), b)]
        self.batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in problem.batches()]
        self.reset()

    def reset(self) -> None:
        with torch.no_grad():
            for parameter, initial in zip(self.model.parameters(), self.weights, strict=True):
                parameter.copy_(initial)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=RATE, fused=True)

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(self.model(x), y)

    def step(self, i: int) -> torch.Tensor:
        loss = self.loss(*self.batches[i % BATCHES])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, steps: int) -> None:
        for i in range(steps):
            self.step(i)

    def losses(self, steps: int) -> list[float]:
        self.reset()
        return [self.step(i).item() for i in range(steps)]


class Compiled(Eager):
    """The same, with forward, loss and backward compiled. Needs a C++ compiler."""

    def __init__(self, problem: Problem, device: str) -> None:
        super().__init__(problem, device)
        self.loss = torch.compile(super().loss)  # type: ignore[method-assign]
