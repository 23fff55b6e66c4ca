"""Tracked arrays: they are arrays of the standard, and nobody gets them out of a gradient unseen."""

from __future__ import annotations

import copy
import math
import operator
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from nnx.tape.node import CONSTANT
from nnx.tape.tracked import Tracked

X = np.asarray([0.5, 1.5, 2.0])


def during_grad(f, x=X):
    """What ``f`` answers of ``x`` while it is differentiated."""
    found = []

    def loss(x):
        found.append(f(x))
        return nnx.namespace_of(x).sum(x)

    nnx.grad(loss)(x)
    return found[0]


# --- an array of the standard -----------------------------------------------------------------


def test_attributes(make):
    x = make([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    def check(t):
        assert (t.shape, t.ndim, t.size, len(t), t.dtype) == ((2, 3), 2, 6, 2, x.dtype)
        assert t.device == x.device
        assert (t.T.shape, t.mT.shape) == ((3, 2), (3, 2))
        assert t.__array_namespace__() is nnx.namespace_of(t) is nnx.differentiable(nnx.namespace_of(x))
        assert "level" in repr(t)
        assert "constant" in repr(nnx.stop_gradient(t))
        assert nnx.backend.device_of(t) == nnx.backend.device_of(x)
        assert nnx.namespace_of(x) is not nnx.namespace_of(t)  # and asking has not mixed up the two

    during_grad(check, x)
    assert nnx.namespace_of(x) is not nnx.differentiable(nnx.namespace_of(x))


ARITHMETIC = ["add", "sub", "mul", "truediv", "pow"]


@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize("scalar", [2, 2.5])
def test_arithmetic_with_numbers_on_either_side(name, scalar, make):
    f, x = getattr(operator, name), make(X)
    for call in (lambda x: f(x, scalar), lambda x: f(scalar, x)):
        y, pull = nnx.vjp(call, x)
        assert y.dtype == x.dtype
        assert_allclose(nnx.to_numpy(y), call(X), rtol=1e-6)
        (g,) = pull(nnx.namespace_of(y).ones_like(y))
        step = 1e-6
        assert_allclose(nnx.to_numpy(g), (call(X + step) - call(X - step)) / (2 * step), rtol=1e-5)


@pytest.mark.parametrize("name", [*ARITHMETIC, "matmul"])
def test_raw_arrays_on_either_side(name, make):
    f, a, b = getattr(operator, name), make(X), make(X[::-1])

    def left(x):
        y = f(x, b)
        return nnx.namespace_of(y).sum(y)

    def right(x, b):
        y = f(b, x)
        return nnx.namespace_of(y).sum(y)

    def step(f, v):
        e = np.eye(3) * 1e-6
        return [(f(v + d) - f(v - d)) / 2e-6 for d in e]

    g = nnx.grad(left)(a)
    assert_allclose(nnx.to_numpy(g), step(lambda v: np.sum(f(v, X[::-1])), X), rtol=1e-4)
    g = nnx.grad(right)(a, b)
    assert type(g) is type(a)
    assert_allclose(nnx.to_numpy(g), step(lambda v: np.sum(f(X[::-1], v)), X), rtol=1e-4)


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne", "floordiv"])
def test_comparisons_are_constants(name):
    f = getattr(operator, name)
    for call in (lambda x: f(x, 1.5), lambda x: f(1.5, x), lambda x: f(x, x), lambda x: f(X, x)):
        result = during_grad(call)
        assert result.node is CONSTANT
        assert_array_equal(result.value, call(X))


@pytest.mark.parametrize("name", ["and_", "or_", "xor"])
def test_logic(name):
    f, mask = getattr(operator, name), X > 1
    assert_array_equal(during_grad(lambda x: f(x > 0, x > 1)).value, f(X > 0, mask))
    assert_array_equal(during_grad(lambda x: f(mask, x > 1)).value, f(mask, mask))
    assert_array_equal(during_grad(lambda x: f(nnx.namespace_of(x).astype(x, np.int64), 3)).value, f(X.astype(int), 3))
    assert_array_equal(during_grad(lambda x: f(3, nnx.namespace_of(x).astype(x, np.int64))).value, f(3, X.astype(int)))


@pytest.mark.parametrize("name", ["lshift", "rshift"])
def test_shifts(name):
    f = getattr(operator, name)
    assert_array_equal(during_grad(lambda x: f(nnx.namespace_of(x).astype(x, np.int64), 1)).value, f(X.astype(int), 1))
    assert_array_equal(during_grad(lambda x: f(1, nnx.namespace_of(x).astype(x, np.int64))).value, f(1, X.astype(int)))


def test_unary_operators():
    assert_array_equal(during_grad(lambda x: (-x).value), -X)
    assert_array_equal(during_grad(lambda x: (+x).value), X)
    assert_array_equal(during_grad(lambda x: abs(-x).value), X)
    assert_array_equal(during_grad(lambda x: (~(x > 1)).value), ~(X > 1))
    assert_array_equal(during_grad(lambda x: (~nnx.namespace_of(x).astype(x, np.int64)).value), ~X.astype(int))


def test_remainders():
    x = np.asarray([0.75, -3.5])
    assert_allclose(nnx.grad(lambda x: (x % 2.0)[1])(x), [0, 1])
    assert_allclose(nnx.grad(lambda x: nnx.namespace_of(x).sum(5.0 % x))(x), [-6, 2])  # -⌊5 / x⌋


def test_iteration(make):
    g = nnx.grad(lambda x: sum(row * row for row in x))(make(X))
    assert_allclose(nnx.to_numpy(g), 2 * X)
    g = nnx.grad(lambda x: (lambda a, b, c: a * b * c)(*x))(make(X))
    assert_allclose(nnx.to_numpy(g), [3.0, 1.0, 0.75])
    for call in (iter, len):
        with pytest.raises(TypeError, match="0-d"):
            during_grad(lambda x, call=call: call(x[0]), make(X))


def test_augmented_assignment_leaves_the_argument_alone(make):
    x = make(X)

    def loss(x):
        y = x
        y += 1.0
        y *= x
        return nnx.namespace_of(y).sum(y)

    assert_allclose(nnx.to_numpy(nnx.grad(loss)(x)), 2 * X + 1)
    assert_array_equal(nnx.to_numpy(x), X)


def test_a_tracked_array_is_not_hashable():
    with pytest.raises(TypeError, match="unhashable"):
        during_grad(hash)


# --- a single value ---------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [float, int, bool, complex, math.sin, operator.index], ids=lambda f: f.__name__)
def test_a_value_is_not_to_be_had(convert):
    with pytest.raises(nnx.DifferentiationError, match=r"would drop its gradient: use nnx\.stop_gradient"):
        during_grad(lambda x: convert(x[0]))


def test_a_constant_has_a_value():
    assert during_grad(lambda x: float(nnx.stop_gradient(x)[0])) == 0.5
    assert during_grad(lambda x: int(nnx.stop_gradient(x)[2])) == 2
    assert during_grad(lambda x: complex(nnx.stop_gradient(x)[2])) == 2
    assert during_grad(lambda x: bool(x[0] > 0)) is True
    assert during_grad(lambda x: X[nnx.namespace_of(x).argmax(x)]) == 2.0
    assert nnx.grad(lambda x: x[0] if x[0] > x[1] else 3 * x[1])(X).tolist() == [0, 3, 0]


def test_the_value_of_an_outer_differentiation_is_not_to_be_had():
    with pytest.raises(nnx.DifferentiationError, match="would drop its gradient"):
        nnx.grad(lambda x: nnx.grad(lambda y: y * float(x))(1.0))(2.0)


# --- functions that see no history ------------------------------------------------------------

NUMPY = {
    "sin": np.sin,
    "multiply": lambda x: np.multiply(np.ones(3), x),
    "sum": np.sum,
    "mean": np.mean,
    "reshape": lambda x: np.reshape(x, (3, 1)),
    "stack": lambda x: np.stack([x, x]),
    "concatenate": lambda x: np.concatenate([x, X]),
    "where": lambda x: np.where(X > 1, x, 0),
    "dot": lambda x: np.dot(X, x),
    "matmul": lambda x: np.matmul(X, x),
    "asarray": np.asarray,
    "array of a list": lambda x: np.array([x, x]),
    "array of scalars": lambda x: np.array([x[0], x[1]]),
    "float64": lambda x: np.float64(x[0]),
    "method": lambda x: X.dot(x),
    "in place": lambda x: operator.iadd(X.copy(), x),
    "setitem": lambda x: operator.setitem(X.copy(), 0, x[0]),
    "from_dlpack": np.from_dlpack,
}


@pytest.mark.parametrize("name", NUMPY)
def test_functions_of_numpy_raise(name):
    with pytest.raises((TypeError, ValueError), match=r"Tracked|tracked|setting an array element"):
        during_grad(NUMPY[name])


@pytest.mark.parametrize("name", ["sin", "tensor", "as_tensor", "stack", "from_dlpack", "list"])
def test_functions_of_torch_raise(name):
    torch = pytest.importorskip("torch")
    x = torch.asarray([0.5, 1.5])
    calls = {"stack": lambda t: torch.stack([x, t]), "list": lambda t: torch.tensor([t[0], t[1]])}
    with pytest.raises(TypeError, match=r"Tracked|tracked|0-d"):
        during_grad(calls.get(name) or getattr(torch, name), x)


@pytest.mark.parametrize("name", ["sin", "asarray", "stack", "array"])
def test_functions_of_jax_raise(name):
    jnp = pytest.importorskip("jax.numpy")
    x = jnp.asarray([0.5, 1.5])
    calls = {"stack": lambda t: jnp.stack([x, t]), "array": lambda t: jnp.array([t[0], t[1]])}
    with pytest.raises(TypeError, match=r"Tracked|tracked"):
        during_grad(calls.get(name) or getattr(jnp, name), x)


@pytest.mark.parametrize("name", ["exp", "sum", "reshape", "asarray", "concat", "matmul", "where", "astype"])
def test_functions_of_the_raw_namespace_raise(name, make):
    x = make(X)
    xp = nnx.namespace_of(x)
    calls = {
        "reshape": lambda t: xp.reshape(t, (3, 1)),
        "concat": lambda t: xp.concat([x, t]),
        "matmul": lambda t: xp.matmul(x, t),
        "where": lambda t: xp.where(x > 1, t, x),
        "astype": lambda t: xp.astype(t, xp.float64),
    }
    with pytest.raises((TypeError, AttributeError)):
        during_grad(calls.get(name) or getattr(xp, name), x)


def test_functions_of_numpy_take_constants():
    assert_array_equal(during_grad(lambda x: np.asarray(nnx.stop_gradient(x))), X)
    assert_array_equal(during_grad(lambda x: np.from_dlpack(nnx.stop_gradient(x))), X)
    assert_array_equal(during_grad(lambda x: X[x > 1]), X[X > 1])
    torch = pytest.importorskip("torch")
    assert during_grad(lambda x: torch.as_tensor(nnx.stop_gradient(x))).tolist() == X.tolist()


# --- copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_copies_keep_their_history(duplicate):
    def loss(x):
        (y,) = duplicate([x]) if duplicate is copy.deepcopy else (duplicate(x),)
        assert y is not x
        return nnx.namespace_of(y).sum(y * y)

    assert_array_equal(nnx.grad(loss)(X), 2 * X)


def test_pickling_raises():
    with pytest.raises(nnx.DifferentiationError, match="cannot be pickled"):
        during_grad(pickle.dumps)


# --- two libraries ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")
@pytest.mark.parametrize("other", ["torch", "strict", "jax"])
def test_arrays_of_two_libraries_do_not_mix(other):
    pytest.importorskip({"strict": "array_api_strict"}.get(other, other))
    foreign = nnx.asarray(X, device=other)
    with pytest.raises(nnx.MixedLibrariesError, match=r"two libraries.*nnx\.asarray"):
        during_grad(lambda x: nnx.namespace_of(x).multiply(x, foreign))


def test_results_are_arrays_of_the_library(make):
    x = make(X)
    value, gradient = nnx.value_and_grad(lambda x: nnx.namespace_of(x).sum(x * x))(x)
    assert not isinstance(value, Tracked)
    assert type(gradient) is type(x)


def test_arrays_of_two_devices_do_not_mix():
    pytest.importorskip("array_api_strict")
    x, foreign = (nnx.asarray(X, device=f"strict:device{i}") for i in (1, 2))
    with pytest.raises(nnx.DeviceError, match=r"two devices, .*device1.* and .*device2"):
        during_grad(lambda x: nnx.namespace_of(x).multiply(x, foreign), x)


# --- the commonest mistakes have a remedy --------------------------------------------------------


def test_methods_that_are_functions_in_the_standard(make):
    with pytest.raises(AttributeError, match=r"no 'sum': call xp\.sum\(x, \.\.\.\), where xp = nnx\.namespace_of\(x\)"):
        during_grad(lambda x: x.sum(), make(X))
    with pytest.raises(AttributeError, match="no 'nonsense'$"):
        during_grad(lambda x: x.nonsense, make(X))


def test_functions_of_numpy_refuse_what_carries_a_gradient():
    for function in (np.sum, np.mean, np.concatenate, np.where):
        with pytest.raises(nnx.DifferentiationError, match="nnx.namespace_of"):
            during_grad(lambda x, f=function: f([x, x]) if f is np.concatenate else f(x))
    assert during_grad(lambda x: np.sum(nnx.stop_gradient(x))) == X.sum()


def test_formatting_shows_the_number(make):
    total = during_grad(lambda x: f"{nnx.namespace_of(x).sum(x):.2f}", X)
    assert total == "4.00"
    assert during_grad(lambda x: f"{x}", make(X)).startswith("Tracked(")


def test_a_list_is_no_array():
    with pytest.raises(nnx.DTypeError, match=r"expected an array, got a list: make one with nnx\.asarray"):
        during_grad(lambda x: x * [1.0, 2.0, 3.0])


def test_constants_as_options(make):
    def f(x):
        xp = nnx.namespace_of(x)
        low = xp.zeros((3,), dtype=x.dtype, device=x.device)
        y = xp.diff(xp.clip(x, min=low + 1.0), prepend=xp.ones((1,), dtype=x.dtype, device=x.device))
        return xp.sum(y * y)

    numbers = np.diff(np.clip(X, 1.0, None), prepend=1.0)
    value, gradient = nnx.value_and_grad(f)(make(X))
    assert_allclose(float(value), np.sum(numbers**2))
    assert_allclose(nnx.to_numpy(gradient), [0.0, 2 * (numbers[1] - numbers[2]), 2 * numbers[2]])
