"""relu, leaky_relu, sigmoid, tanh, gelu."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nnx
from nnx.testing import check_backends, check_gradients

ACTIVATIONS = {
    "relu": (nnx.relu, lambda torch, x: torch.nn.functional.relu(x)),
    "leaky_relu": (nnx.leaky_relu, lambda torch, x: torch.nn.functional.leaky_relu(x)),
    "leaky_relu_0.2": (
        lambda x: nnx.leaky_relu(x, slope=0.2),
        lambda torch, x: torch.nn.functional.leaky_relu(x, 0.2),
    ),
    "sigmoid": (nnx.sigmoid, lambda torch, x: torch.sigmoid(x)),
    "tanh": (nnx.tanh, lambda torch, x: torch.tanh(x)),
    "gelu": (nnx.gelu, lambda torch, x: torch.nn.functional.gelu(x)),
    "gelu_tanh": (
        lambda x: nnx.gelu(x, approximate=True),
        lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
    ),
}
each = pytest.mark.parametrize("name", ACTIVATIONS)
POINTS = np.asarray([-30.0, -3.2, -0.7, -1e-3, 1e-3, 0.4, 2.5, 30.0])


@each
def test_values_and_gradients_are_those_of_torch(name, assert_as_torch):
    torch = pytest.importorskip("torch")
    ours, theirs = ACTIVATIONS[name]
    assert_as_torch(ours, lambda x: theirs(torch, x), POINTS)


@each
def test_gradients_of_first_and_second_order(name, device):
    check_gradients(ACTIVATIONS[name][0], POINTS / 8, device=device)


@each
def test_backends_agree(name, flags):
    check_backends(ACTIVATIONS[name][0], POINTS.astype("float32"), backends=flags)


@each
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_dtype_device_and_shape_are_kept(name, shape, normal, assert_kept):
    assert assert_kept(ACTIVATIONS[name][0], normal(*shape)).shape == shape


@each
def test_nan_is_not_hidden(name, make):
    assert np.isnan(nnx.to_numpy(ACTIVATIONS[name][0](make([math.nan]))))


@each
@given(x=hnp.arrays("float32", hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(-100, 100, width=32)))
def test_float32_is_float64_rounded(name, x):
    f = ACTIVATIONS[name][0]
    np.testing.assert_allclose(f(x), f(x.astype("float64")), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("f", "expected"), [(nnx.relu, 0.0), (nnx.leaky_relu, 0.01), (nnx.gelu, 0.5)])
def test_gradients_at_zero(f, expected, make):
    assert nnx.to_numpy(nnx.grad(f)(make(0.0))) == np.float32(expected)


@pytest.mark.parametrize(("f", "low", "high"), [(nnx.sigmoid, 0.0, 1.0), (nnx.tanh, -1.0, 1.0), (nnx.relu, 0.0, 1e4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_arguments_overflow_nowhere(f, low, high, dtype, make):
    x = make([-1e4, 1e4], dtype)
    value, pull = nnx.vjp(f, x)
    np.testing.assert_allclose(nnx.to_numpy(value), [low, high])
    assert np.isfinite(nnx.to_numpy(pull(value)[0])).all()


def test_sigmoid_keeps_relative_precision_far_out(make):
    np.testing.assert_allclose(nnx.to_numpy(nnx.sigmoid(make([-80.0], "float64"))), [math.exp(-80)], rtol=1e-14)
