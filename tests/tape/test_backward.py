"""The walk back: depth, memory, and what the tape keeps alive."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from numpy.testing import assert_allclose

import nnx
from nnx.tape.backward import backward
from nnx.tape.node import Node
from nnx.tape.rule import Derivative

DEPTH = 10_000


def chain(x, n=DEPTH):
    for _ in range(n):
        x = x * 1.0001
    return x


@pytest.fixture
def no_collector():
    """Without the collector, what is in a reference cycle stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# --- depth ------------------------------------------------------------------------------------


def test_a_deep_chain_is_walked_without_recursion():
    assert_allclose(nnx.grad(chain)(np.asarray(1.0)), 1.0001**DEPTH)


def test_a_deep_chain_is_freed_without_recursion():
    def unused(x):
        chain(x, 200_000)
        return x

    def failing(x):
        chain(x, 200_000)
        raise ZeroDivisionError

    assert nnx.grad(unused)(np.asarray(1.0)) == 1
    with pytest.raises(ZeroDivisionError):
        nnx.grad(failing)(np.asarray(1.0))


@pytest.mark.parametrize("swapped", [False, True])
def test_the_gradients_of_two_results_meet_of_which_an_outer_differentiation_sees_one(swapped, each_flag):
    x, a = nnx.asarray([1.0, 2.0], device=each_flag), nnx.asarray(3.0, device=each_flag)

    def outer(a):
        _, pull = nnx.vjp(lambda x: (a * x, x * x) if swapped else (x * x, a * x), x)
        one = nnx.namespace_of(x).ones_like(x)
        (g,) = pull((one, one))  # 2 x + a
        return nnx.namespace_of(g).sum(g * g)

    assert_allclose(nnx.to_numpy(nnx.grad(outer)(a)), 24)


def test_a_pull_back_of_a_deep_chain():
    _, pull = nnx.vjp(chain, np.asarray(1.0))
    assert_allclose(pull(np.asarray(1.0)), pull(np.asarray(1.0)))


def test_a_wide_graph_is_walked_once():
    """2⁶⁰ paths lead back, and 60 steps."""

    def doubled(x):
        for _ in range(60):
            x = x + x
        return x

    assert nnx.grad(doubled)(np.asarray(1.0)) == 2.0**60


def test_nodes_are_visited_when_their_gradient_is_whole():
    visited = []

    def step(name, parent):
        def formula(g):
            visited.append((name, g))
            return g

        return (parent, Derivative(formula), ())

    leaf = Node(1, None)
    a = Node(1, None, (step("a", leaf),))
    b = Node(1, None, (step("b", a), step("b again", leaf)))
    c = Node(1, None, (step("c", a), step("c", b)))
    assert backward([(c, 1.0), (a, 10.0)], [leaf, Node(1, None)], release=False) == [13.0, None]
    assert visited == [("c", 1.0), ("c", 1.0), ("b", 1.0), ("b again", 1.0), ("a", 12.0)]


# --- memory -----------------------------------------------------------------------------------


def peak(f):
    """The most memory that Python and NumPy held during ``f``, in bytes."""
    tracemalloc.start()
    f()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


N = 100_000  # 0.8 MB an array


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (lambda xp, x: x + 1.0, 0),
        (lambda xp, x: -x, 0),
        (lambda xp, x: x * 2.0, 0),
        (lambda xp, x: xp.reshape(xp.reshape(x, (-1, 10)), (-1,)), 0),
        (lambda xp, x: xp.flip(x), 0),
        (lambda xp, x: xp.tanh(x), 1),
        (lambda xp, x: xp.sin(x), 1),
        (lambda xp, x: x * x, 1),
    ],
    ids=["add", "negative", "multiply by a number", "reshape", "flip", "tanh", "sin", "multiply"],
)
def test_a_chain_keeps_only_what_its_derivatives_need(step, kept):
    def loss(x):
        xp = nnx.namespace_of(x)
        for _ in range(20):
            x = step(xp, x)
        return xp.sum(x)

    x = np.zeros(N)
    nnx.grad(loss)(x)
    arrays = peak(lambda: nnx.grad(loss)(x)) / (8 * N)
    assert 20 * kept <= arrays < 20 * kept + 5


def test_a_chain_of_ops_keeps_little():
    """A hidden layer keeps its input and its output: the affine map's own result is not needed."""

    def loss(x, w):
        for _ in range(10):
            x = nnx.relu(nnx.ops.linear(x, w))
        return nnx.namespace_of(x).sum(x)

    x, w = np.zeros((N // 10, 10)), np.eye(10)
    nnx.grad(loss)(x, w)
    assert peak(lambda: nnx.grad(loss)(x, w)) / (8 * N) < 10 + 5


def test_the_walk_frees_what_it_has_used():
    """Twenty exponentials are alive when the walk begins, and their gradients are never all alive."""

    def loss(x):
        xp = nnx.namespace_of(x)
        return xp.sum(sum(xp.exp(x) for _ in range(20)))

    x = np.zeros(N)
    assert peak(lambda: nnx.grad(loss)(x)) / (8 * N) < 20 + 6


def spied(f):
    """Answer ``f``, and references to the arrays of every exponential that it makes."""
    seen = []

    def loss(x):
        xp = nnx.namespace_of(x)
        y = xp.exp(x)
        seen.append(weakref.ref(y))
        value = y
        while hasattr(value, "value"):
            value = value.value
        seen.append(weakref.ref(value))
        return f(xp, y)

    return loss, seen


@pytest.mark.usefixtures("no_collector")
def test_everything_is_freed_after_a_gradient():
    loss, seen = spied(lambda xp, y: xp.sum(y * y))
    nnx.grad(loss)(np.zeros(10))
    assert len(seen) == 2
    assert [r() for r in seen] == [None, None]


@pytest.mark.usefixtures("no_collector")
def test_everything_is_freed_after_nested_gradients():
    loss, seen = spied(lambda xp, y: xp.sum(y * y))
    inner = nnx.grad(loss)
    nnx.grad(lambda x: nnx.namespace_of(x).sum(inner(x) ** 2))(np.zeros(10))
    assert len(seen) == 2
    assert [r() for r in seen] == [None, None]


@pytest.mark.usefixtures("no_collector")
def test_everything_is_freed_with_the_pull_back():
    loss, seen = spied(lambda xp, y: y * y)
    value, pull = nnx.vjp(loss, np.zeros(10))
    pull(value)
    assert seen[1]() is not None  # it may be called again
    del pull
    assert [r() for r in seen] == [None, None]


@pytest.mark.usefixtures("no_collector")
def test_everything_is_freed_after_an_exception():
    loss, seen = spied(lambda xp, y: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        nnx.grad(loss)(np.zeros(10))
    assert [r() for r in seen] == [None, None]


@pytest.mark.usefixtures("no_collector")
def test_a_model_step_makes_no_reference_cycles():
    model = nnx.Sequential(nnx.Linear(3, 4), nnx.relu, nnx.Dropout(0.5), nnx.Linear(4, 2))
    step = nnx.value_and_grad(lambda model, x: nnx.namespace_of(y := model(x)).sum(y * y))
    x = np.ones((5, 3), dtype=np.float32)
    step(model, x)  # what is made once
    gc.collect()
    for _ in range(3):
        step(model, x)
    assert gc.collect() == 0
