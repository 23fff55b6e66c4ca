"""What the tests of captured steps share."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import nnx

value_and_grad = nnx.value_and_grad(lambda model, x, y: nnx.losses.cross_entropy(model(x), y))


def train(model, optimizer, x, y):
    loss, grads = value_and_grad(model, x, y)
    optimizer.update(model, grads)
    return loss


class Pair:
    """A model that is trained by captured steps, and its twin, by plain ones."""

    def __init__(self, step=train, optimizer=lambda: nnx.optim.Adam(1e-2), layers=()):
        self.step = step
        self.captured = nnx.capture(step)
        self.model = nnx.Sequential(nnx.Linear(6, 8), nnx.relu, *layers, nnx.Linear(8, 3))
        self.twin = copy.deepcopy(self.model)
        self.optimizer, self.twin_optimizer = optimizer(), optimizer()
        self.rng = np.random.default_rng(0)

    def batch(self, n=10):
        return self.rng.standard_normal((n, 6)).astype("float32"), self.rng.integers(0, 3, n)

    def both(self, change):
        """Do the same to both models."""
        change(self.model, self.optimizer)
        change(self.twin, self.twin_optimizer)

    def steps(self, count, n=10):
        """Steps that agree; answer how many of them were replayed."""
        before = self.captured.replays
        for _ in range(count):
            x, y = self.batch(n)
            found = self.captured(self.model, self.optimizer, x, y)
            np.testing.assert_array_equal(found, self.step(self.twin, self.twin_optimizer, x, y))
            self.agree()
        return self.captured.replays - before

    def agree(self):
        """Both models are the same to the last bit."""
        expected = self.twin.arrays()
        assert self.model.arrays().keys() == expected.keys()
        for name, array in self.model.arrays().items():
            assert type(array) is np.ndarray
            np.testing.assert_array_equal(array, expected[name])
        expected = self.twin_optimizer.state
        for name, array in self.optimizer.state.items():
            np.testing.assert_array_equal(array, expected[name])


@pytest.fixture
def pair():
    return Pair()


@pytest.fixture
def make_pair():
    return Pair
