from __future__ import annotations

import numpy as np
import pytest

import nnx


class Arrays:
    """A model that is nothing but named arrays."""

    def __init__(self, arrays):
        self.bound = dict(arrays)
        self.rebound = 0

    def parameters(self):
        return dict(self.bound)

    def _rebind(self, arrays):
        assert arrays.keys() <= self.bound.keys()
        self.bound.update(arrays)
        self.rebound += 1

    def __getitem__(self, name):
        return self.bound[name]


@pytest.fixture
def arrays():
    """``arrays(flag, {name: host array})``: a model of copies of these arrays on a device."""

    def make(flag, host):
        return Arrays({name: nnx.asarray(np.array(a), device=flag) for name, a in host.items()})

    return make


@pytest.fixture
def on():
    """``on(flag, {name: host array})``: copies of these arrays on a device."""

    def move(flag, host):
        return {name: nnx.asarray(np.array(a), device=flag) for name, a in host.items()}

    return move
