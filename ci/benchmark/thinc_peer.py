"""thinc: ``chain`` of ``Relu`` and ``Softmax``, with its fused Adam."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from thinc.api import Adam, CategoricalCrossentropy, Relu, Softmax, chain

from benchmark.problem import BATCHES, Peer, Problem


class Chain(Peer):
    """``begin_update``, gradient of the loss, ``backprop``, ``finish_update``."""

    packages = ("thinc",)

    def __init__(self, problem: Problem, device: str) -> None:
        self.problem = problem
        kinds = [Relu] * (len(problem.widths) - 2) + [Softmax]
        self.model: Any = chain(*(kind(n, m) for kind, (m, n) in zip(kinds, pairwise(problem.widths), strict=True)))
        self.model.initialize()
        one_hot = np.eye(problem.widths[-1], dtype="float32")
        self.batches = [(x, one_hot[y]) for x, y in problem.batches()]
        self.error = CategoricalCrossentropy()
        self.reset()

    def reset(self) -> None:
        for layer, (w, b) in zip(self.model.layers, self.problem.weights(), strict=True):
            layer.set_param("W", w.T.copy())
            layer.set_param("b", b)
        self.optimizer = Adam(self.problem.rate, L2=0.0, eps=1e-8, grad_clip=0.0, use_averages=False)

    def step(self, i: int) -> Any:
        x, y = self.batches[i % BATCHES]
        probabilities, backprop = self.model.begin_update(x)
        backprop(self.error.get_grad(probabilities, y))
        self.model.finish_update(self.optimizer)
        return probabilities

    def run(self, steps: int) -> None:
        for i in range(steps):
            self.step(i)

    def losses(self, steps: int) -> list[float]:
        self.reset()
        return [self.cross_entropy(self.step(i), self.batches[i % BATCHES][1]) for i in range(steps)]

    @staticmethod
    def cross_entropy(probabilities: Any, target: Any) -> float:
        return float(-np.mean(np.log(np.sum(probabilities * target, axis=1))))
