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


def test_clip_is_differentiated_by_its_bounds_where_they_hold(make):
    def clipped(xp, x, low, high):
        return xp.clip(x, low, max=high)

    x, low, high = total(clipped)(make([-3.0, -1.0, 0.0, 1.0, 5.0]), make([[-1.0]]), make(1.0))
    assert_array_equal(nnx.to_numpy(x), [0, 1, 1, 1, 0])
    assert_array_equal(nnx.to_numpy(low), [[1]])
    assert_array_equal(nnx.to_numpy(high), 1)


def test_copysign_has_zero_at_zero(make):
    a, b = total(lambda xp, x, y: xp.copysign(x, y))(make([-3.0, 0.0, 2.0]), make([-1.0, 1.0, -1.0]))
    assert_array_equal(nnx.to_numpy(a), [1, 0, -1])
    assert_array_equal(nnx.to_numpy(b), [0, 0, 0])


def test_hypot_and_std_have_zero_at_zero(make):
    zeros = make([0.0, 0.0, 0.0])
    for g in total(lambda xp, x, y: xp.hypot(x, y))(zeros, zeros):
        assert_array_equal(nnx.to_numpy(g), [0, 0, 0])
    std = total(lambda xp, x: xp.std(x))
    assert_array_equal(nnx.to_numpy(std(zeros + 2)[0]), [0, 0, 0])
    assert_array_equal(nnx.to_numpy(total(lambda xp, x: std(x)[0])(zeros)[0]), [0, 0, 0])


def test_nextafter_moves_its_first_argument(make):
    a, b = total(lambda xp, x, y: xp.nextafter(x, y) * x)(make([1.0, 2.0, 3.0]), make([5.0, -5.0, 3.0]))
    assert_allclose(nnx.to_numpy(a), [2, 4, 6], rtol=1e-6)
    assert_array_equal(nnx.to_numpy(b), [0, 0, 0])


def test_a_remainder_at_a_jump(make):
    a, b = total(lambda xp, x, y: xp.remainder(x, y))(make([6.0, -6.0, 0.0]), make([3.0, 4.0, 2.0]))
    assert_array_equal(nnx.to_numpy(a), [1, 1, 1])
    assert_array_equal(nnx.to_numpy(b), [-2, 2, 0])  # -⌊x1 / x2⌋


# --- products ---------------------------------------------------------------------------------

FACTORS = [[3.0, 0.0, 2.0, 5.0], [0.0, 4.0, 0.0, 2.0], [0.0, 0.0, 0.0, 2.0]]


@pytest.mark.parametrize("axis", [-1, None, (0, 1), 0])
def test_products_with_zeros(axis, make):
    weights = np.random.default_rng(0).normal(size=(3, 4))
    x, w = make(FACTORS, "float64"), make(weights, "float64")
    first = total(lambda xp, x: (lambda y: y * y + y)(xp.prod(x, axis=axis)))
    (second,) = total(lambda xp, x: first(x)[0] * w)(x)
    gradient, expected = by_hand(np.asarray(FACTORS), weights, axis)
    assert_array_equal(nnx.to_numpy(first(x)[0]), gradient)
    assert_allclose(nnx.to_numpy(second), expected, atol=1e-12)


def by_hand(x, w, axis):
    """For the products y and f = Σ y² + y: ∂f/∂xⱼ = (2y + 1) ∂y/∂xⱼ, and Σᵢ wᵢ ∂²f/∂xᵢ∂xⱼ."""
    lines = {-1: [range(4 * i, 4 * i + 4) for i in range(3)], 0: [range(j, 12, 4) for j in range(4)]}
    x, w, first, second = x.reshape(-1), w.reshape(-1), np.zeros(12), np.zeros(12)
    for line in lines.get(axis, [range(12)]):
        but = lambda *out, line=line: np.prod([x[k] for k in line if k not in out])  # noqa: E731
        for j in line:
            first[j] = (2 * but() + 1) * but(j)
            for i in line:
                mixed = (2 * but() + 1) * but(i, j) if i != j else 0.0
                second[j] += w[i] * (mixed + 2 * but(i) * but(j))
    return first.reshape(3, 4), second.reshape(3, 4)


def test_cumulative_products_with_zeros(make):
    x, w = np.asarray([2.0, 0.0, 3.0, 0.0, 5.0]), np.asarray([1.0, 10.0, 100.0, 1000.0, 10000.0])
    first = total(lambda xp, x: xp.cumulative_prod(x) * make(w, "float64"))
    assert_array_equal(nnx.to_numpy(first(make(x, "float64"))[0]), [1, 20 + 600, 0, 0, 0])
    (second,) = total(lambda xp, x: first(x)[0] * make([0.0, 0.0, 0.0, 1.0, 0.0], "float64"))(make(x, "float64"))
    # ∂/∂x[1] of what ∂/∂x[3] is, x₀ x₁ x₂ (w₃ + w₄ x₄): 2 · 3 · (1000 + 50000)
    assert_array_equal(nnx.to_numpy(second), [0, 306000, 0, 0, 0])


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


def test_complex_numbers_on_the_way_to_a_real_result():
    (g,) = total(lambda xp, x: xp.abs(xp.astype(x, xp.complex128)))(X)
    assert_array_equal(g, [-1, 0, 1])
    (g,) = total(lambda xp, x: xp.imag(x * np.asarray([1j, 2j, 3j])))(X)
    assert_array_equal(g, [1, 2, 3])
    assert g.dtype == X.dtype
    with pytest.raises(nnx.DifferentiationError, match="answered dtype complex128; .* use nnx.vjp"):
        total(lambda xp, x: x * np.asarray([1j, 2j, 3j]))(X)


# --- empty arrays -----------------------------------------------------------------------------

EMPTY = {
    "sum": lambda f, x: f(x, axis=0),
    "concat": lambda f, x: f([x, x]),
    "stack": lambda f, x: f([x, x]),
    "cumulative_prod": lambda f, x: f(x, axis=0),
    "cumulative_sum": lambda f, x: f(x, axis=1, include_initial=True),
    "diff": lambda f, x: f(x, axis=1),
    "prod": lambda f, x: f(x, axis=0),
    "repeat": lambda f, x: f(x, 2, axis=0),
    "reshape": lambda f, x: f(x, (3, 0)),
    "tensordot": lambda f, x: f(x, x, axes=([0], [0])),
    "tile": lambda f, x: f(x, (2, 2)),
    "matmul": lambda f, x: f(nnx.namespace_of(x).matrix_transpose(x), x),
    "multiply": lambda f, x: f(x, x),
    "broadcast_to": lambda f, x: f(x, (2, 0, 3)),
    "sort": lambda f, x: f(x, axis=0),
    "take": lambda f, x: f(x, nnx.namespace_of(x).argsort(x[:, 0]), axis=0),
    "take_along_axis": lambda f, x: f(x, nnx.namespace_of(x).argsort(x, axis=0), axis=0),
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


ONE = np.int64(1)  # as a loop over an array of NumPy gives it, and which is no int

BY_NUMPY_INTEGERS = {
    "mean": lambda xp, x: xp.mean(x, axis=ONE),
    "roll": lambda xp, x: xp.roll(x, ONE, axis=ONE),
    "sum": lambda xp, x: xp.sum(x, axis=-ONE),
    "tensordot": lambda xp, x: xp.tensordot(x, xp.matrix_transpose(x), axes=ONE),
    "vector_norm": lambda xp, x: xp.linalg.vector_norm(x, axis=ONE),
}


@pytest.mark.parametrize("name", BY_NUMPY_INTEGERS)
def test_options_may_be_integers_of_numpy(name):
    x, f, steps = np.asarray([[0.1, 0.2, 0.9], [-0.9, 0.3, 0.4]]), BY_NUMPY_INTEGERS[name], 1e-6 * np.eye(6)
    (g,) = total(lambda xp, x: f(xp, x) ** 2)(x)
    xp = nnx.namespace_of(x)
    value = [[xp.sum(f(xp, x + np.reshape(s * step, (2, 3))) ** 2) for s in (1, -1)] for step in steps]
    assert_allclose(g, np.reshape([(ahead - behind) / 2e-6 for ahead, behind in value], (2, 3)), atol=1e-8)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_variance_with_a_correction_above_the_count_has_no_gradient():
    (g,) = total(lambda xp, x: xp.var(x, correction=5))(X)
    assert np.all(np.isnan(g))


def test_a_rule_has_a_default_for_what_callers_may_name():
    for name, options in BY_NAME.items():
        derivative = STANDARD.rules[name].derivatives["x"]
        assert set(derivative.names) & set(options) <= set(derivative.defaults)
