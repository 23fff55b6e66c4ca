from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from nnx_numpy.compiled import _elementwise
from nnx_numpy.compiled._elementwise import LARGE
from nnx_numpy.compiled.rectifier import SMALL, leaky_relu_forward, leaky_relu_x, relu_forward, relu_x

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


@DTYPES
@pytest.mark.parametrize("extra", [0, 1, 7, 15, 31, 63])
def test_special_values_wherever_they_stand(dtype, extra):
    values = [-0.0, 0.0, np.nan, -np.inf, np.inf, -1.0, 2.0]
    x = np.resize(np.asarray(values, dtype), SMALL + extra)
    y = relu_forward(np, x)
    np.testing.assert_array_equal(y, np.resize([0, 0, np.nan, 0, np.inf, 0, 2], x.shape))
    assert not np.signbit(y[~np.isnan(y)]).any()
    g = np.resize(np.asarray([np.inf, np.nan, 1.0, -0.0], dtype), x.shape)
    np.testing.assert_array_equal(relu_x(np, g, y), np.where(y > 0, g, 0))


@DTYPES
@pytest.mark.parametrize("shape", [(LARGE + 12345,), (3, LARGE // 2 + 1), (2, 5, LARGE // 10 + 3)])
def test_parts_make_up_the_whole(dtype, shape):
    rng = np.random.default_rng(1)
    x, g = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
    y = relu_forward(np, x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(relu_x(np, g, y), np.where(y > 0, g, 0))


@DTYPES
@pytest.mark.parametrize("slope", [0.01, -1, 2.0])
def test_the_leaky_rectifier_to_the_last_bit(dtype, slope):
    x = np.resize(np.asarray([-0.0, 0.0, np.nan, -np.inf, np.inf, -1.5, 2.5], dtype), (9, 41))
    g = np.resize(np.asarray([np.inf, np.nan, 1.0, -0.0, 3.0], dtype), x.shape)
    for found, expected in (
        (leaky_relu_forward(np, x, slope=slope), np.where(x > 0, x, slope * x)),
        (leaky_relu_x(np, g, x, slope), np.where(x > 0, g, slope * g)),
    ):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_several_parts_are_spread(monkeypatch):
    calls = []
    spread = _elementwise.spread
    monkeypatch.setattr(_elementwise, "spread", lambda loop, size, part: calls.append(size) or spread(loop, size, part))
    relu_forward(np, np.zeros(LARGE - 1))
    assert not calls
    relu_forward(np, np.zeros(LARGE))
    relu_x(np, np.zeros(LARGE), np.zeros(LARGE))
    assert calls == [LARGE, LARGE]


def test_arrays_of_two_shapes_or_dtypes_are_left_to_numpy():
    g, y = np.ones((3, 4), np.float32), np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(relu_x(np, g, y), g)
    mixed = relu_x(np, g, g.astype(np.float64))
    np.testing.assert_array_equal(mixed, g)
    assert relu_forward(np, np.ones(SMALL, np.float16)).dtype == np.float16
