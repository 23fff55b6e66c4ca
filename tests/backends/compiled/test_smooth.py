from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

pytest.importorskip("numba")

from nnx_numpy.compiled import smooth
from nnx_numpy.compiled._elementwise import LARGE

ROOMS = [import_module(f"nnx.ops.{name}") for name in ("gated", "rectifier", "sigmoidal")]
RUNS = [(name, option) for name in smooth.KERNELS for option in ([False, True] if name.startswith("gelu") else [None])]


def reference(name):
    return next(vars(room)[name] for room in ROOMS if name in vars(room))


def arguments(name, option, shape, dtype):
    rng = np.random.default_rng(5)
    x, g = (4 * rng.standard_normal(shape)).astype(dtype), rng.standard_normal(shape).astype(dtype)
    if name in ("sigmoid_x", "tanh_x"):
        x = np.tanh(x)
    options = {} if option is None else {"approximate": option}
    return ((x,) if name.endswith("_forward") else (g, x)), options


@pytest.mark.parametrize(("name", "option"), RUNS)
@pytest.mark.parametrize("shape", [(1000,), (33, 31), (4, 5, 6, 7), (2, LARGE // 2 + 3)])
def test_single_precision_is_as_good_as_that_of_the_reference(name, option, shape):
    arrays, options = arguments(name, option, shape, "float32")
    exact = reference(name)(np, *(a.astype(np.float64) for a in arrays), **options)
    error = np.abs(reference(name)(np, *arrays, **options) - exact)
    found = smooth.KERNELS[name](np, *arrays, **options)
    assert found.dtype == np.float32
    assert found.shape == shape
    assert np.abs(found - exact).max() <= error.max() + np.spacing(np.float32(np.abs(exact).max()))


@pytest.mark.parametrize(("name", "option"), RUNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_are_those_of_the_reference(name, option, dtype):
    arrays, options = arguments(name, option, (30, 40), dtype)
    special = np.asarray([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e4, -1e4, 1e-30], dtype)
    arrays[-1].ravel()[: special.size] = special
    with np.errstate(all="ignore"):
        expected = reference(name)(np, *arrays, **options)
    found = smooth.KERNELS[name](np, *arrays, **options)
    if name == "gelu_x" and option:  # the reference has inf - inf and inf · 0 there
        infinite = np.isinf(arrays[-1])
        np.testing.assert_array_equal(found[infinite], np.where(arrays[-1][infinite] > 0, arrays[0][infinite], 0))
        expected[infinite] = found[infinite]
    np.testing.assert_allclose(found, expected, rtol=1e-4 if dtype == "float32" else 1e-10, atol=1e-5)


def test_gelu_far_below_zero_is_no_zero():
    """The reference's ½ (1 + erf) is 0 there in single precision."""
    x = np.asarray([[-6.0, -9.0]], np.float32)
    np.testing.assert_allclose(smooth.gelu_forward(np, x), [[-5.9195e-9, -1.01583e-18]], rtol=1e-4)


@pytest.mark.parametrize("name", ["sigmoid_x", "silu_x", "tanh_x", "gelu_x", "elu_x"])
def test_arrays_of_two_shapes_are_left_to_the_reference(name):
    g, x = np.ones((40, 40), np.float32), np.linspace(-1, 1, 40, dtype=np.float32)
    np.testing.assert_array_equal(smooth.KERNELS[name](np, g, x), reference(name)(np, g, x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "option"), RUNS)
def test_very_large_numbers(name, option, dtype):
    """The reference's answers, where it has any; squares of these numbers have no place in the dtype."""
    powers = 10.0 ** np.arange(38 if dtype == "float32" else 308)
    x = np.tile(np.concatenate([powers, -powers]), 40).astype(dtype)
    arrays, options = ((x,) if name.endswith("_forward") else (np.ones_like(x), x)), {}
    if option is not None:
        options = {"approximate": option}
    if name in ("sigmoid_x", "tanh_x"):
        arrays = np.ones_like(x), np.tanh(x)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = reference(name)(np, *arrays, **options)
    found = smooth.KERNELS[name](np, *arrays, **options)
    assert np.isfinite(found).all()
    known = np.isfinite(expected)
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-5, atol=1e-20)
