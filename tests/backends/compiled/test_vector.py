"""The functions that loops call, in loops of their own."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("numba")
import numba

from nnx_numpy.compiled._loop import FAST_MATH
from nnx_numpy.compiled._vector import exp, expm1, in_order, largest, normal, sigmoid

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
compiled = numba.njit(error_model="numpy", fastmath=FAST_MATH)


@compiled
def exponentials(x, y, z):
    for i in range(x.size):
        y[i] = exp(x[i])
        z[i] = expm1(min(x[i], x.dtype.type(0)))


@compiled
def curves(x, phi, density, y):
    for i in range(x.size):
        phi[i], density[i] = normal(x[i])
        y[i] = sigmoid(x[i])


@compiled
def sums(x, y, z, out):
    for i in range(x.size):
        out[i] = in_order(x[i], y, z)


@compiled
def top(x):
    return largest(x)


def filled(loop, x, results):
    arrays = [np.empty_like(x) for _ in range(results)]
    loop(x, *arrays)
    return arrays


def units(found, exact):
    """The largest error in units in the last place."""
    return np.max(np.abs(found - exact) / np.spacing(np.abs(exact).astype(found.dtype)))


@pytest.mark.parametrize(("dtype", "low", "high"), [("float32", -104, 88.72), ("float64", -745.2, 709.78)])
def test_the_exponential_is_right_to_the_last_place(dtype, low, high):
    x = np.concatenate([np.linspace(low, high, 300_001), np.linspace(-2, 2, 100_001)]).astype(dtype)
    y, less = filled(exponentials, x, 2)
    if dtype == "float64" and np.finfo(np.longdouble).nmant <= 52:  # nothing here is more precise
        np.testing.assert_allclose(y, np.exp(x), rtol=4e-16)
        np.testing.assert_allclose(less, np.expm1(np.minimum(x, 0)), rtol=6e-16)
    else:
        wide = x.astype(np.longdouble)
        assert units(y, np.exp(wide)) < 1.2
        assert units(less[x < 0], np.expm1(wide[x < 0])) < 1.5


@DTYPES
def test_the_exponential_of_special_values(dtype):
    x = np.asarray([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 711, -760], dtype)
    y, less = filled(exponentials, x, 2)
    np.testing.assert_array_equal(y, [np.nan, np.inf, 0, 1, 1, np.inf, 0, np.inf, 0])
    np.testing.assert_array_equal(less[[2, 3, 4, 6]], [-1, 0, 0, -1])


@DTYPES
def test_the_normal_law_and_the_sigmoid_to_the_last_places_below_zero(dtype):
    x = np.asarray([-37.5, -13, -9.1, -5.7, -5.6, -4, -2.1, -0.67, -0.66, -0.1, 0, 1e-3, 0.7, 3, 5.7, 8, 40], dtype)
    phi, density, y = filled(curves, x, 3)
    wide = [float(v) for v in x]
    error = 1 + np.square(x) / 2  # exp(-x² / 2) has that many times the relative error of x
    unit, least = np.finfo(dtype).eps, np.finfo(dtype).smallest_normal
    for found, exact in (
        (phi, [math.erfc(-v * math.sqrt(0.5)) / 2 for v in wide]),
        (density, [math.exp(-v * v / 2) / math.sqrt(2 * math.pi) for v in wide]),
    ):
        assert np.all(np.abs(found - exact) <= 4 * unit * error * exact + least)
    np.testing.assert_allclose(y, [1 / (1 + math.exp(-v)) for v in wide], rtol=4 * unit)


@DTYPES
def test_the_normal_law_and_the_sigmoid_of_special_values(dtype):
    x = np.asarray([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30], dtype)
    phi, density, y = filled(curves, x, 3)
    np.testing.assert_array_equal(phi, [np.nan, 1, 0, 0.5, 0.5, 1, 0])
    np.testing.assert_array_equal(y, [np.nan, 1, 0, 0.5, 0.5, 1, 0])
    np.testing.assert_array_equal(density[[0, 1, 2, 5, 6]], [np.nan, 0, 0, 0, 0])


@DTYPES
def test_a_sum_in_order_does_not_lose_what_is_small(dtype):
    x = np.full(100, 1e20, dtype)
    out = np.empty_like(x)
    sums(x, x.dtype.type(-1e20), x.dtype.type(0.3), out)
    np.testing.assert_array_equal(out, x.dtype.type(0.3))


@DTYPES
def test_the_largest(dtype):
    rng = np.random.default_rng(4)
    tiny = np.finfo(dtype).smallest_subnormal
    for size in [*range(1, 70), 1000]:
        for x in (
            rng.standard_normal(size),
            -rng.random(size),
            np.full(size, -np.inf),
            tiny * rng.integers(-3, 3, size),
        ):
            x = x.astype(dtype)
            assert top(x) == x.max()
    assert top(np.asarray([-np.inf, 3, np.inf, 2], dtype)) == np.inf
