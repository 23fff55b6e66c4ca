from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from nnx_numpy import kernels as native
from nnx_numpy.compiled.linear import linear_forward, linear_relu_forward


@pytest.fixture(params=["float32", "float64"])
def arrays(request):
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape).astype(request.param) for shape in [(9, 5), (5, 37), (37,)])


def test_the_bias_is_added_as_numpy_adds_it(arrays):
    x, weight, bias = arrays
    np.testing.assert_array_equal(linear_forward(np, x, weight, bias), np.dot(x, weight) + bias)
    expected = np.maximum(np.dot(x, weight) + bias, 0)
    np.testing.assert_array_equal(linear_relu_forward(np, x, weight, bias), expected)


def test_no_argument_is_changed(arrays):
    before = [a.copy() for a in arrays]
    linear_forward(np, *arrays)
    linear_relu_forward(np, *arrays)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_row_of_no_batch_and_a_batch_of_many_axes(arrays):
    x, weight, bias = arrays
    for kernel in (linear_forward, linear_relu_forward):
        rows = kernel(np, x, weight, bias)
        np.testing.assert_allclose(kernel(np, x[0], weight, bias), rows[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(kernel(np, x.reshape(3, 3, 1, 5), weight, bias), rows.reshape(3, 3, 1, 37))


def test_what_loops_do_not_take(arrays):
    x, weight, bias = arrays
    other = np.float64 if x.dtype == np.float32 else np.float32
    for b in (bias.astype(other), bias[::-1], np.float16(bias), bias[:1]):
        for kernel, expected in (
            (linear_forward, x @ weight + b),
            (linear_relu_forward, np.maximum(x @ weight + b, 0)),
        ):
            got = kernel(np, x, weight, b)
            assert got.dtype == expected.dtype
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    half = tuple(a.astype(np.float16) for a in arrays)
    np.testing.assert_array_equal(linear_forward(np, *half), native.linear_forward(np, *half))


def test_a_bias_of_another_length_is_refused_and_reads_nothing(arrays):
    x, weight, bias = arrays
    for kernel in (linear_forward, linear_relu_forward):
        with pytest.raises(ValueError, match="could not be broadcast"):
            kernel(np, x, weight, bias[:-1])


def test_nan_and_infinity_go_through_the_rectifier():
    x, weight = np.eye(4, dtype=np.float32), np.diag(np.asarray([np.nan, np.inf, 1, -1], np.float32))
    with np.errstate(invalid="ignore"):
        for bias in (None, np.zeros(4, np.float32)):
            y = linear_relu_forward(np, x, np.where(np.isfinite(weight), weight, 0), bias)
            np.testing.assert_array_equal(np.diag(y), [0, 0, 1, 0])
    bias = np.asarray([np.nan, np.inf, -np.inf, -0.0], np.float32)
    y = linear_relu_forward(np, x[:1], np.zeros((4, 4), np.float32), bias)
    np.testing.assert_array_equal(y, [[np.nan, np.inf, 0, 0]])
    assert not np.signbit(y[0, 3])
