"""scikit-learn: ``MLPClassifier.partial_fit``."""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmark.problem import BATCHES, Peer, Problem


class PartialFit(Peer):
    """One call trains on all batches in order: the checks of a call are then paid once for all of them."""

    stride = BATCHES
    packages = ("scikit-learn",)

    def __init__(self, problem: Problem, device: str) -> None:
        self.problem = problem
        self.batches = problem.batches()
        self.x = np.concatenate([x for x, _ in self.batches])
        self.y = np.concatenate([y for _, y in self.batches])
        self.model = MLPClassifier(
            problem.widths[1:-1], alpha=0.0, batch_size=problem.batch, learning_rate_init=problem.rate, shuffle=False
        )
        self.model.partial_fit(*self.batches[0], classes=np.arange(problem.widths[-1]))
        self.reset()

    def reset(self) -> None:
        weights, biases = zip(*self.problem.weights(), strict=True)
        self.model.coefs_, self.model.intercepts_ = list(weights), list(biases)
        if hasattr(self.model, "_optimizer"):
            del self.model._optimizer  # partial_fit makes a new one

    def run(self, steps: int) -> None:
        for _ in range(steps // BATCHES):
            self.model.partial_fit(self.x, self.y)

    def losses(self, steps: int) -> list[float]:
        self.reset()
        return [float(self.model.partial_fit(*self.batches[i % BATCHES]).loss_) for i in range(steps)]
