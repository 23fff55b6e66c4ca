"""What 10,000 operations and 1,000 layers keep in memory: bytes of arrays, counted one by one."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest

import nnx

BLOCKS = 2_500  # of four operations
LAYERS = 1_000


def array_bytes():
    """Bytes of the elements of all arrays that have been made since tracing began and that are alive."""
    arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([arrays]).traces)


class Meter:
    """What is held when a program ends, and at most in the walk back after it."""

    def read(self):
        """To be called where the program ends: the walk back begins."""
        self.arrays, (self.total, _) = array_bytes(), tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()

    def __enter__(self):
        tracemalloc.start()
        return self

    def __exit__(self, *error):
        self.left = array_bytes()
        self.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@pytest.fixture
def shallow():
    """Leave little room on the stack of Python: what goes down into a graph step by step would fill it."""
    before, depth = sys.getrecursionlimit(), len(list(_frames()))
    sys.setrecursionlimit(depth + 150)
    yield
    sys.setrecursionlimit(before)


def _frames():
    frame = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


@pytest.mark.usefixtures("shallow")
def test_a_chain_of_ten_thousand_operations():
    """A sine keeps its argument and a tanh its result; sums and products with numbers keep nothing."""
    x = np.linspace(-1.0, 1.0, 256)

    def program(x, done):
        xp = nnx.namespace_of(x)
        for _ in range(BLOCKS):
            x = xp.tanh(xp.sin(x * 1.5) + 0.1)
        done()
        return xp.sum(x)

    nnx.grad(program)(x, lambda: None)  # what is made once
    with Meter() as meter:
        g = nnx.grad(program)(x, meter.read)
    assert meter.arrays == 2 * BLOCKS * x.nbytes
    assert (meter.total - meter.arrays) / (4 * BLOCKS) < 1_000  # bytes of the graph an operation
    assert meter.peak - meter.total < 8 * x.nbytes  # the walk holds a few gradients at a time
    assert meter.left == g.nbytes


@pytest.mark.usefixtures("shallow")
def test_a_network_of_a_thousand_layers():
    """A hidden layer keeps one array: the result of its relu, which is the argument of the next layer."""
    model = nnx.Sequential(*[part for _ in range(LAYERS) for part in (nnx.Linear(8, 8), nnx.relu)])
    x = np.ones((128, 8), np.float32)

    def loss(model, x, done):
        y = model(x)
        value = nnx.namespace_of(y).sum(y * y)
        done()
        return value

    nnx.grad(loss)(model, x, lambda: None)  # what is made once
    with Meter() as meter:
        gradients = nnx.grad(loss)(model, x, meter.read)
    of_gradients = sum(g.nbytes for g in gradients.values())
    assert len(gradients) == 2 * LAYERS
    assert meter.arrays == LAYERS * x.nbytes
    assert (meter.total - meter.arrays) / (2 * LAYERS) < 2_000  # of the graph and the copied model, an operation
    assert of_gradients > 50 * x.nbytes
    assert meter.peak - meter.total < 8 * x.nbytes  # a layer's array goes as its gradients come
    assert meter.left == of_gradients
