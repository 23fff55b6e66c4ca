"""Where no derivative exists, or a rule has an edge: the conventions that the chapters state."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from nnx.vjps import STANDARD


def total(f):
    """The gradient of Σ f(xp, x, …) by all arguments but ``xp``."""

    def scalar(*arrays):
        xp = nnx.namespace_of(*arrays)
        return xp.sum(f(xp, *arrays))

    return lambda *arrays: nnx.grad(scalar, argnums=range(len(arrays)))(*arrays)


X = np.asarray([-1.0, 0.0, 2.0])

# --- kinks and ties ---------------------------------------------------------------------------


def test_abs_has_zero_at_zero(make):
    (g,) = total(lambda xp, x: xp.abs(x))(make(X))
    assert_array_equal(nnx.to_numpy(g), [-1, 0, 1])


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_equal_arguments_share_the_gradient(name, make):
    a, b = total(lambda xp, x, y: getattr(xp, name)(x, y))(make(X), make(X))
    assert_array_equal(nnx.to_numpy(a), [0.5] * 3)
    assert_array_equal(nnx.to_numpy(b), [0.5] * 3)


@pytest.mark.parametrize("name", ["max", "min"])
def test_equal_extremes_share_the_gradient(name, make):
    x = make([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    (over_all,) = total(lambda xp, x: getattr(xp, name)(x))(x)
    (by_row,) = total(lambda xp, x: getattr(xp, name)(x, axis=1))(x)
    assert_array_equal(nnx.to_numpy(over_all), np.full((2, 4), 0.125))
    assert_array_equal(nnx.to_numpy(by_row), np.full((2, 4), 0.25))


def test_clip_passes_the_gradient_at_its_bounds(make):
    (g,) = total(lambda xp, x: xp.clip(x, -1.0, 1.0))(make(X))
    assert_array_equal(nnx.to_numpy(g), [1, 1, 0])


def test_clip_sums_over_what_its_bounds_broadcast():
    low = np.asarray([[-2.0], [1.0]])
    (g,) = total(lambda xp, x: xp.clip(x, min=low))(X)
    assert_array_equal(g, [1, 1, 2])


def test_clip_is_not_differentiated_by_its_bounds():
    with pytest.raises(nnx.DifferentiationError, match="no derivative by its argument 'max'"):
        total(lambda xp, high: xp.clip(X, max=high))(X)
    with pytest.raises(nnx.DifferentiationError, match="no derivative by its argument 'min'"):
        total(lambda xp, low: xp.clip(X, low))(X)


# --- powers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("exponent", "expected"), [(0, [0, 0, 0]), (1, [1, 1, 1]), (2, [-2, 0, 4]), (3.0, [3, 0, 12])])
def test_powers_of_zero_and_of_negative_numbers(exponent, expected, make):
    (number,) = total(lambda xp, x: x**exponent)(make(X))
    (array,) = total(lambda xp, x: xp.pow(x, make([float(exponent)] * 3)))(make(X))
    assert_array_equal(nnx.to_numpy(number), expected)
    assert_array_equal(nnx.to_numpy(array), expected)


def test_the_mixed_second_derivative_of_a_power_at_exponent_zero():
    by_base = nnx.grad(lambda a, b: a**b)
    mixed = nnx.grad(by_base, argnums=1)(np.asarray(4.0), np.asarray(0.0))
    assert_allclose(mixed, 0.25)  # ∂/∂b (b aᵇ⁻¹) = aᵇ⁻¹ (1 + b log a)
    other_order = nnx.grad(nnx.grad(lambda a, b: a**b, argnums=1))(np.asarray(4.0), np.asarray(0.0))
    assert_allclose(other_order, mixed)


@pytest.mark.parametrize("base", [0.0, -2.0, 3.0])
def test_powers_of_a_number(base):
    (g,) = total(lambda xp, x: base**x)(np.asarray([0.0, 1.0, 2.0]))
    assert_allclose(g, np.log(base) * base ** np.asarray([0.0, 1.0, 2.0]) if base > 0 else [0, 0, 0])


# --- dtypes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_a_cast_to_what_is_not_real_stops_the_gradient(dtype, make):
    (g,) = total(lambda xp, x: x * xp.astype(xp.astype(x, getattr(xp, dtype)), x.dtype))(make([1.5, 2.5]))
    assert_array_equal(nnx.to_numpy(g), [1, 2] if dtype == "int32" else [1, 1])


def test_a_sum_in_integers_stops_the_gradient():
    (g,) = total(lambda xp, x: xp.astype(xp.sum(x, dtype=xp.int64), xp.float64) + x)(X)
    assert_array_equal(g, [1, 1, 1])


def test_a_cast_at_two_levels():
    def inner(x):
        xp = nnx.namespace_of(x)
        return nnx.grad(lambda y: xp.astype(xp.astype(x * y, xp.float32), xp.float64) * x)(2.0)

    g = nnx.grad(inner)(np.asarray(3.0))
    assert_allclose(g, 6.0)  # d/dx x²
    assert g.dtype == np.float64


def test_complex_numbers_are_refused():
    with pytest.raises(nnx.MissingRuleError, match="complex"):
        total(lambda xp, x: xp.abs(xp.astype(x, xp.complex128)))(X)
    with pytest.raises(nnx.MissingRuleError, match="complex"):
        total(lambda xp, x: xp.abs(x * np.asarray([1j, 2j, 3j])))(X)
    with pytest.raises(nnx.DifferentiationError, match="complex"):
        total(lambda xp, x: x * np.asarray([1j, 2j, 3j]))(X)


# --- indices ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [[0, 0], ((0, 0),), np.asarray([0, 0]), (np.asarray([0]), None), range(2)], ids=str)
def test_an_index_that_may_repeat_is_a_gap(key):
    with pytest.raises(nnx.MissingRuleError, match="one-hot"):
        total(lambda xp, x: x[key])(X)


def test_an_index_of_a_tracked_array(make):
    (g,) = total(lambda xp, x: x[x > 0] * x[0])(make(X))
    assert_array_equal(nnx.to_numpy(g), [2, 0, -1])


@pytest.mark.parametrize(
    "key", [slice(None, None, -1), slice(2, 0, -2), (slice(None), slice(None, None, -2), None)], ids=str
)
def test_a_negative_step(key):
    x = np.arange(12.0).reshape(4, 3) if isinstance(key, tuple) else X
    weights = np.random.default_rng(0).normal(size=x[key].shape)
    (g,) = total(lambda xp, x: x[key] * weights)(x)
    expected = np.zeros(x.shape)
    expected[key[:2] if isinstance(key, tuple) else key] = weights[..., 0] if isinstance(key, tuple) else weights
    assert_array_equal(g, expected)


def test_an_index_of_a_number_in_an_array(make):
    (g,) = total(lambda xp, x: x[xp.argmax(x)])(make(X))
    assert_array_equal(nnx.to_numpy(g), [0, 0, 1])
    (g,) = total(lambda xp, x: x[1, xp.argmin(x[0, :])])(make([X, X]))
    assert_array_equal(nnx.to_numpy(g), [[0, 0, 0], [1, 0, 0]])


# --- empty arrays -----------------------------------------------------------------------------

EMPTY = {
    "sum": lambda f, x: f(x, axis=0),
    "concat": lambda f, x: f([x, x]),
    "stack": lambda f, x: f([x, x]),
    "reshape": lambda f, x: f(x, (3, 0)),
    "matmul": lambda f, x: f(nnx.namespace_of(x).matrix_transpose(x), x),
    "multiply": lambda f, x: f(x, x),
    "broadcast_to": lambda f, x: f(x, (2, 0, 3)),
    "where": lambda f, x: f(x > 0, x, 0.0),
}


@pytest.mark.parametrize("name", EMPTY)
def test_empty_arrays(name, make):
    x = make(np.zeros((0, 3)))
    (g,) = total(lambda xp, x: EMPTY[name](getattr(xp, name), x))(x)
    assert (g.shape, g.dtype) == (x.shape, x.dtype)


# --- options by name --------------------------------------------------------------------------

BY_NAME = {
    "broadcast_to": {"shape": (2, 2, 3)},
    "clip": {"min": -0.5, "max": 0.5},
    "expand_dims": {"axis": 1},
    "flip": {"axis": 1},
    "permute_dims": {"axes": (1, 0)},
    "reshape": {"shape": (3, 2)},
    "roll": {"shift": 1, "axis": 1},
}


@pytest.mark.parametrize("name", BY_NAME)
def test_arguments_that_the_standard_lets_callers_name(name, make):
    x = make([[0.1, 0.2, 0.9], [-0.9, 0.3, 0.4]])
    (named,) = total(lambda xp, x: getattr(xp, name)(x, **BY_NAME[name]) ** 2)(x)
    first, *others = BY_NAME[name].items()
    options = dict(others) if name in ("clip", "roll") else {}
    if name in ("expand_dims", "flip"):
        return assert_array_equal(nnx.to_numpy(named), 2 * nnx.to_numpy(x))
    (positional,) = total(lambda xp, x: getattr(xp, name)(x, first[1], **options) ** 2)(x)
    return assert_array_equal(nnx.to_numpy(named), nnx.to_numpy(positional))


def test_a_rule_has_a_default_for_what_callers_may_name():
    for name, options in BY_NAME.items():
        derivative = STANDARD.rules[name].derivatives["x"]
        assert set(derivative.names) & set(options) <= set(derivative.defaults)
