"""What compiled normalisation does beyond the cases of tests/ops/test_kernels.py: lines, parts, and precision."""

from __future__ import annotations

import numpy as np
import pytest

from nnx_numpy import norm as native

pytest.importorskip("numba")
compiled = pytest.importorskip("nnx_numpy.compiled.norm")
layer = pytest.importorskip("nnx_numpy.compiled.layer_norm")

# rows that fill lines and do not, fewer than four lines and more; rows longer than a line
SHAPES = [(2, 1), (3, 300), (511, 1), (513, 1), (1027, 2), (127, 16), (129, 16), (1000, 7), (9, 512), (11, 700)]


def drawn(shape, dtype="float32"):
    rng = np.random.default_rng(shape)
    return [rng.standard_normal(s).astype(dtype) for s in (shape, shape, shape[-1:], shape[-1:])]


def exactly(x, weight, bias, axis, eps=1e-5):
    """y, x̂, μ, σ² and 1 / σ in float64."""
    x = x.astype("float64")
    mean, var = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
    normal = (x - mean) / np.sqrt(var + eps)
    return normal * weight + bias, normal, mean, var, 1 / np.sqrt(var + eps)


def gradient(g, normal, inverse, weight, axis):
    """The gradient by x, in float64."""
    g, normal = g.astype("float64") * weight, normal.astype("float64")
    inner = g - g.mean(axis=axis, keepdims=True) - normal * (g * normal).mean(axis=axis, keepdims=True)
    return inner * inverse


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_of_any_shape(shape, dtype):
    tolerance = {"rtol": 3e-5, "atol": 3e-6} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    x, g, weight, bias = drawn(shape, dtype)
    y, normal, mean, var, inverse = exactly(x, weight, bias, 0)
    (found, *statistics), saved = compiled.batch_norm_forward(None, x, weight, bias)
    for a, b in zip((found, *statistics, *saved), (y, mean[0], var[0], normal, inverse), strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, **tolerance)
    dx = compiled.batch_norm_x(None, g, saved, x.dtype, weight)
    np.testing.assert_allclose(dx, gradient(g, saved[0], saved[1], weight, 0), **tolerance)
    wide = g.astype("float64")
    np.testing.assert_allclose(
        compiled.batch_norm_weight(None, g, saved, x.dtype), (wide * saved[0]).sum(axis=0), rtol=1e-5, atol=1e-4
    )
    np.testing.assert_allclose(
        compiled.batch_norm_bias(None, g, saved, x.dtype), wide.sum(axis=0), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_examples_of_any_shape(shape):
    x, g, weight, bias = drawn(shape)
    y, normal, _, _, inverse = exactly(x, weight, bias, 1)
    # values of a row that are almost equal lose digits when their mean is taken off
    tolerance = {"rtol": 3e-5, "atol": 1e-6 * max(3, inverse.max())}
    found, saved = layer.layer_norm_forward(None, x, weight, bias)
    for a, b in zip((found, *saved), (y, normal, inverse), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)
    dx = layer.layer_norm_x(None, g, saved, x.dtype, weight)
    scale = np.abs(saved[1]).max()  # a row of one element has 1 / σ = 316, and a gradient of 0
    np.testing.assert_allclose(dx / scale, gradient(g, *saved, weight, 1) / scale, **tolerance)


def test_parts_with_means_of_their_own_are_put_together():
    rows = 3 * compiled.PART // 8 + 5
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 8)) + np.linspace(-50, 2000, rows)[:, None]
    for dtype, precision in (("float32", 1e-6), ("float64", 1e-13)):
        data = x.astype(dtype)
        (_, mean, var), _ = compiled.batch_norm_forward(None, data)
        np.testing.assert_allclose(mean, data.astype("float64").mean(axis=0), rtol=precision)
        np.testing.assert_allclose(var, data.astype("float64").var(axis=0), rtol=precision)


@pytest.mark.parametrize("offset", [0, 100, 10_000])
def test_it_is_no_less_exact_than_numpy_far_from_zero(offset):
    x = (np.random.default_rng(0).standard_normal((4000, 24)) + offset).astype("float32")
    for axis, forwards in (
        (0, (compiled.batch_norm_forward, native.batch_norm_forward)),
        (1, (layer.layer_norm_forward, native.layer_norm_forward)),
    ):
        exact = exactly(x, 1, 0, axis)[1]
        ours, numpys = (np.abs(forward(None, x)[1][0] - exact).max() for forward in forwards)
        assert ours <= 1.5 * numpys


def test_equal_values_give_zero_and_nan_stays_in_its_channel():
    x = drawn((70, 5))[0]
    x[:, 1], x[3, 4] = 0.1, np.nan
    (y, mean, var), _ = compiled.batch_norm_forward(None, x)
    np.testing.assert_array_equal(y[:, 1], 0)
    assert var[1] == 0
    assert np.isnan(y[:, 4]).all()
    assert np.isnan([mean[4], var[4]]).all()
    assert np.isfinite(y[:, :4]).all()
    y, _ = layer.layer_norm_forward(None, x)
    assert np.isnan(y[3]).all()
    assert np.isfinite(np.delete(y, 3, axis=0)).all()


def test_the_result_shares_no_memory_with_what_is_saved():
    x = drawn((6, 4))[0]
    for (y, *_), (normal, _) in (
        compiled.batch_norm_forward(None, x),
        ((layer.layer_norm_forward(None, x)[0],), layer.layer_norm_forward(None, x)[1]),
    ):
        assert not np.shares_memory(y, normal)
        assert not np.shares_memory(y, x)
