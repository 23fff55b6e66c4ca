"""erf."""

from __future__ import annotations

import math

import numpy as np
import pytest

import nnx
from nnx.ops import erf
from nnx.testing import check_backends, check_gradients

# where one approximation hands over to the next, and the space between
POINTS = np.concatenate([np.linspace(-7, 7, 281), [0.46875, -0.46875, 4.0, -4.0, 6.0, 1e-300, 1e-8, 30.0, -1e300]])


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 5e-16), ("float32", 3e-7)])
def test_values(dtype, rtol, make):
    x = POINTS[np.abs(POINTS) < 1e30].astype(dtype)
    expected = [math.erf(v) for v in x.tolist()]
    np.testing.assert_allclose(nnx.to_numpy(erf(make(x, dtype))), expected, rtol=rtol, atol=1e-45)


def test_it_is_odd(make):
    x = make(POINTS, "float64")
    np.testing.assert_array_equal(nnx.to_numpy(erf(-x)), -nnx.to_numpy(erf(x)))


def test_limits(make):
    np.testing.assert_array_equal(nnx.to_numpy(erf(make([-math.inf, 0.0, math.inf, math.nan]))), [-1, 0, 1, math.nan])


def test_gradient_is_the_gaussian(make):
    x = make([-2.0, -0.3, 0.0, 0.46875, 1.0, 5.0], "float64")
    (gradient,) = nnx.vjp(erf, x)[1](make(np.ones(6), "float64"))
    expected = 2 / math.sqrt(math.pi) * np.exp(-(nnx.to_numpy(x) ** 2))
    np.testing.assert_allclose(nnx.to_numpy(gradient), expected, rtol=1e-14)


def test_gradients_of_first_and_second_order(device):
    check_gradients(erf, np.asarray([-3.0, -0.4, 0.1, 0.7, 4.5]), device=device)


def test_backends_agree(flags):
    check_backends(erf, np.linspace(-7, 7, 57, dtype="float32"), backends=flags)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_dtype_device_and_shape_are_kept(shape, normal, assert_kept):
    assert assert_kept(erf, normal(*shape)).shape == shape
