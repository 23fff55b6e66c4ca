"""The short cuts of the tape record what the long way records; they are taken, and left where they do not lead."""

from __future__ import annotations

import array_api_compat.numpy as compat
import numpy as np
import pytest

import nnx
from nnx.tape.node import CONSTANT, Node
from nnx.tape.observe import observe
from nnx.tape.primitive import Primitive
from nnx.tape.tracked import Tracked

XP = nnx.differentiable(compat)
X = np.asarray([0.3, 0.5, 0.7])
SQUARE = np.asarray([[0.3, 0.5], [0.7, 0.2]])
UNARY = "abs acos asinh cos exp expm1 log log1p negative positive reciprocal sin sqrt square tan tanh".split()
BINARY = "add atan2 divide hypot logaddexp maximum multiply pow subtract".split()


def tracked(value, level=1):
    return Tracked(value, XP, Node(level, XP))


def pulled(y, g):
    """The gradients by the parents of a result, and by which."""
    xp = y.node.xp
    return [(parent, derivative.pull(xp, g, needs)) for parent, derivative, needs in y.node.edges]


def assert_same_record(f, *args):
    """Record ``f(*args)`` by both ways, and compare the results and their derivatives."""
    short, long = f(*args), f.primitive(*args)
    assert type(short.value) is type(long.value)
    assert short.value.dtype == long.value.dtype
    np.testing.assert_array_equal(short.value, long.value)
    assert (short.xp, short.node.xp, short.node.level) == (long.xp, long.node.xp, long.node.level)
    g = np.random.default_rng(0).standard_normal(short.shape)
    found, expected = pulled(short, g), pulled(long, g)
    assert [parent for parent, _ in found] == [parent for parent, _ in expected]
    for (_, a), (_, b) in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def no_long_way(monkeypatch):
    def refuse(self, *args, **options):
        raise AssertionError(f"{self.name} took the long way")

    monkeypatch.setattr(Primitive, "__call__", refuse)


# --- the same record ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [X, np.asarray(0.4), np.float64(0.4), X.astype(np.float32)], ids=repr)
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_array(name, value):
    assert_same_record(getattr(XP, name), tracked(value))


@pytest.mark.parametrize(
    ("x1", "x2"),
    [
        (tracked(X), tracked(X + 1)),
        (tracked(X), X + 1),
        (X + 1, tracked(X)),
        (tracked(X), 2.0),
        (2, tracked(X)),
        (tracked(X), Tracked(X + 1, XP, CONSTANT)),
        (Tracked(X + 1, XP, CONSTANT), tracked(X)),
        (tracked(X), tracked(np.asarray(0.4))),
        (np.float64(0.4), tracked(X)),
        (tracked(np.float64(0.4)), np.asarray(0.7)),
        (tracked(X[:, None]), tracked(X[None, :])),
        (tracked(X[:1]), tracked(X)),
        (tracked(np.ones((0, 3))), tracked(X)),
        (tracked(X.astype(np.float32)), tracked(X[::-1].astype(np.float32))),
        (tracked(X.astype(np.float32)), 0.5),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arrays(name, x1, x2):
    assert_same_record(getattr(XP, name), x1, x2)


@pytest.mark.parametrize(
    ("x1", "x2"),
    [(SQUARE, SQUARE.T), (X[None, :], X[:, None]), (X, X), (np.ones((4, 2, 3)), X), (X, np.ones((4, 3, 2)))],
    ids=lambda x: str(x.shape),
)
def test_products_of_matrices(x1, x2):
    assert_same_record(XP.matmul, tracked(x1), tracked(x2))
    assert_same_record(XP.matmul, tracked(x1), x2)
    assert_same_record(XP.matmul, x1, tracked(x2))


def test_one_array_twice():
    x = tracked(X)
    assert_same_record(XP.multiply, x, x)
    np.testing.assert_array_equal(nnx.grad(lambda x: nnx.namespace_of(x).sum(x * x))(X), 2 * X)


# --- taken --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNARY)
def test_one_array_takes_the_short_cut(no_long_way, name):
    getattr(XP, name)(tracked(X))


@pytest.mark.parametrize("name", [*BINARY, "matmul"])
def test_two_arrays_take_the_short_cut(no_long_way, name):
    function = getattr(XP, name)
    function(tracked(X), tracked(X))
    function(tracked(X), X)
    function(X, tracked(X))


def test_a_pair_of_types_is_remembered(request):
    class Number(float):
        """A type that has not been met before."""

    first = tracked(X) * Number(0.25)
    request.getfixturevalue("no_long_way")
    with pytest.raises(AssertionError, match="took the long way"):
        tracked(X) * type("Other", (float,), {})(0.25)
    np.testing.assert_array_equal((tracked(X) * Number(0.5)).value, 2 * first.value)


def test_observers_are_told(no_long_way):
    seen = []

    class Observer:
        def recorded(self, primitive, result):
            seen.append((primitive.name, result))

        def walked(self, node, derivative, gradient):
            pass

    with observe(Observer()):
        y = XP.exp(tracked(X))
        z = y * X
    assert [name for name, _ in seen] == ["exp", "multiply"]
    assert seen[0][1] is y
    assert seen[1][1] is z


# --- left ---------------------------------------------------------------------------------------


def test_raw_arrays_stay_raw():
    assert type(XP.exp(X)) is np.ndarray
    assert type(XP.multiply(X, X)) is np.ndarray


def test_constants_stay_constants():
    constant = Tracked(X, XP, CONSTANT)
    assert XP.exp(constant).node is CONSTANT
    assert (constant * 2.0).node is CONSTANT
    assert (constant * constant).node is CONSTANT


def test_several_dtypes_are_promoted_on_record():
    a, b = nnx.grad(lambda a, b: nnx.namespace_of(a).sum(a * b), (0, 1))(X.astype(np.float32), X)
    assert (a.dtype, b.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(a, X.astype(np.float32))


def test_a_complex_number_is_promoted_to():
    y = tracked(X) * 2j
    assert y.dtype == np.complex128
    y = tracked(X.astype(np.float32)) * 2j
    assert y.dtype == np.complex64


def test_the_inner_of_two_differentiations_records():
    outer = tracked(X)
    inner = Tracked(outer, XP, Node(outer.node.level + 1, XP))
    y = inner * outer
    assert y.node.level == inner.node.level
    assert y.value.node.level == outer.node.level
    assert nnx.grad(nnx.grad(nnx.grad(lambda x: x * x * x)))(np.asarray(2.0)) == 6.0


@pytest.mark.parametrize("call", [lambda x: x + np.ones(2), lambda x: XP.matmul(x, np.ones((2, 2)))])
def test_errors_are_those_of_the_library(call):
    with pytest.raises(ValueError, match=r"broadcast|mismatch"):
        call(tracked(X))


def test_arguments_that_the_standard_has_not():
    with pytest.raises(TypeError, match="at most 1 arguments by position"):
        XP.exp(tracked(X), X)
    with pytest.raises(TypeError, match="at most 2 arguments by position"):
        XP.multiply(tracked(X), X, X)
    with pytest.raises(TypeError, match="nonsense"):
        XP.exp(tracked(X), nonsense=1)


def test_arrays_of_two_libraries():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(nnx.MixedLibrariesError):
        tracked(X) * strict.asarray(X)
