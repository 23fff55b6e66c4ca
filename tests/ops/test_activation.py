"""The elementwise activations of rectifier.py, sigmoidal.py and gated.py, and what is true of all of them."""

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
    "celu": (nnx.celu, lambda F, x: F.celu(x)),
    "celu_0.5": (lambda x: nnx.celu(x, alpha=0.5), lambda F, x: F.celu(x, 0.5)),
    "elu": (nnx.elu, lambda F, x: F.elu(x)),
    "elu_0.7": (lambda x: nnx.elu(x, alpha=0.7), lambda F, x: F.elu(x, 0.7)),
    "gelu": (nnx.gelu, lambda F, x: F.gelu(x)),
    "gelu_tanh": (lambda x: nnx.gelu(x, approximate=True), lambda F, x: F.gelu(x, approximate="tanh")),
    "hard_sigmoid": (
        nnx.hard_sigmoid,
        lambda F, x: F.hardtanh(x + 3, 0, 6) / 6,
    ),  # hardsigmoid has its slope in float32
    "hard_swish": (nnx.hard_swish, lambda F, x: F.hardswish(x)),
    "hard_tanh": (nnx.hard_tanh, lambda F, x: F.hardtanh(x)),
    "hard_tanh_-2_0.5": (lambda x: nnx.hard_tanh(x, low=-2, high=0.5), lambda F, x: F.hardtanh(x, -2, 0.5)),
    "leaky_relu": (nnx.leaky_relu, lambda F, x: F.leaky_relu(x)),
    "leaky_relu_0.2": (lambda x: nnx.leaky_relu(x, slope=0.2), lambda F, x: F.leaky_relu(x, 0.2)),
    "log_cosh": (nnx.ops.log_cosh, lambda F, x: abs(x) + F.softplus(-2 * abs(x)) - math.log(2)),
    "log_sigmoid": (nnx.log_sigmoid, lambda F, x: F.logsigmoid(x)),
    "mish": (nnx.mish, lambda F, x: F.mish(x)),
    "relu": (nnx.relu, lambda F, x: F.relu(x)),
    "relu6": (nnx.relu6, lambda F, x: F.relu6(x)),
    "selu": (nnx.selu, lambda F, x: F.selu(x)),
    "sigmoid": (nnx.sigmoid, lambda F, x: F.sigmoid(x)),
    "silu": (nnx.silu, lambda F, x: F.silu(x)),
    "softplus": (nnx.softplus, lambda F, x: F.softplus(x, threshold=40)),
    "softsign": (nnx.softsign, lambda F, x: F.softsign(x)),
    "tanh": (nnx.tanh, lambda F, x: F.tanh(x)),
}
each = pytest.mark.parametrize("name", ACTIVATIONS)
POINTS = np.asarray([-30.0, -5.5, -3.2, -1.4, -0.7, -1e-3, 1e-3, 0.4, 1.2, 2.5, 4.5, 7.0, 30.0])

SLOPES = {  # what the derivatives at the corners are said to be
    "celu_0.5": {0: 1.0},
    "elu": {0: 1.0},
    "elu_0.7": {0: 0.7},
    "gelu": {0: 0.5},
    "hard_sigmoid": {-3: 0.0, 3: 0.0},
    "hard_swish": {-3: 0.0, 3: 1.0},
    "hard_tanh": {-1: 0.0, 1: 0.0},
    "leaky_relu": {0: 0.01},
    "log_cosh": {0: 0.0},
    "relu": {0: 0.0},
    "relu6": {0: 0.0, 6: 0.0},
    "selu": {0: 1.0507009873554805 * 1.6732632423543772},
    "softsign": {0: 1.0},
}

LIMITS = {  # values and derivatives at -10,000 and at 10,000
    "celu": ((-1, 1e4), (0, 1)),
    "celu_0.5": ((-0.5, 1e4), (0, 1)),
    "elu": ((-1, 1e4), (0, 1)),
    "elu_0.7": ((-0.7, 1e4), (0, 1)),
    "gelu": ((0, 1e4), (0, 1)),
    "gelu_tanh": ((0, 1e4), (0, 1)),
    "hard_sigmoid": ((0, 1), (0, 0)),
    "hard_swish": ((0, 1e4), (0, 1)),
    "hard_tanh": ((-1, 1), (0, 0)),
    "hard_tanh_-2_0.5": ((-2, 0.5), (0, 0)),
    "leaky_relu": ((-100, 1e4), (0.01, 1)),
    "leaky_relu_0.2": ((-2000, 1e4), (0.2, 1)),
    "log_cosh": ((1e4 - math.log(2), 1e4 - math.log(2)), (-1, 1)),
    "log_sigmoid": ((-1e4, 0), (1, 0)),
    "mish": ((0, 1e4), (0, 1)),
    "relu": ((0, 1e4), (0, 1)),
    "relu6": ((0, 6), (0, 0)),
    "selu": ((-1.0507009873554805 * 1.6732632423543772, 1.0507009873554805e4), (0, 1.0507009873554805)),
    "sigmoid": ((0, 1), (0, 0)),
    "silu": ((0, 1e4), (0, 1)),
    "softplus": ((0, 1e4), (0, 1)),
    "softsign": ((-1e4 / 10001, 1e4 / 10001), (1 / 10001**2, 1 / 10001**2)),
    "tanh": ((-1, 1), (0, 0)),
}


def slopes(f, x):
    """The derivatives of an elementwise function."""
    value, pull = nnx.vjp(f, x)
    return nnx.to_numpy(pull(nnx.namespace_of(x).ones_like(value))[0])


@each
def test_values_and_gradients_are_those_of_torch(name, assert_as_torch):
    torch = pytest.importorskip("torch")
    ours, theirs = ACTIVATIONS[name]
    assert_as_torch(ours, lambda x: theirs(torch.nn.functional, x), POINTS)


@each
@given(x=hnp.arrays("float64", hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(-40, 40, width=32)))
def test_values_are_those_of_torch_wherever(name, x):
    torch = pytest.importorskip("torch")
    ours, theirs = ACTIVATIONS[name]
    np.testing.assert_allclose(ours(x), theirs(torch.nn.functional, torch.tensor(x)).numpy(), rtol=1e-9, atol=1e-12)


@each
def test_gradients_of_first_and_second_order(name, device):
    check_gradients(ACTIVATIONS[name][0], POINTS[1:-1], device=device)


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


@pytest.mark.parametrize("name", SLOPES)
def test_derivatives_at_the_corners_are_as_documented(name, make):
    corners = make(list(SLOPES[name]))
    np.testing.assert_allclose(slopes(ACTIVATIONS[name][0], corners), list(SLOPES[name].values()), rtol=1e-6)


def test_every_activation_has_its_limits():
    assert set(LIMITS) == set(ACTIVATIONS)


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arguments_of_ten_thousand(name, dtype, make):
    """Nothing overflows (which would warn), and the values and derivatives of both orders are the limits."""
    f, x = ACTIVATIONS[name][0], make([-1e4, 1e4], dtype)
    values, derivatives = LIMITS[name]
    np.testing.assert_allclose(nnx.to_numpy(f(x)), values, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(slopes(f, x), derivatives, rtol=1e-5, atol=1e-30)
    ones = make([1, 1], dtype)
    curvature = nnx.grad(lambda x: nnx.namespace_of(x).sum(nnx.vjp(f, x)[1](ones)[0]))(x)
    np.testing.assert_allclose(nnx.to_numpy(curvature), 0, atol=1e-11)


@pytest.mark.parametrize(
    ("f", "x", "y"),
    [
        (nnx.sigmoid, -80.0, math.exp(-80)),
        (nnx.log_sigmoid, 80.0, -math.exp(-80)),
        (nnx.softplus, -80.0, math.exp(-80)),
        (nnx.mish, -40.0, -40 * math.exp(-40)),
        (nnx.silu, -40.0, -40 * math.exp(-40)),
        (nnx.elu, -1e-12, -1e-12 + 0.5e-24),
        (nnx.ops.log_cosh, 1e-6, 0.5e-12),
    ],
)
def test_relative_precision_of_small_values(f, x, y, make):
    np.testing.assert_allclose(nnx.to_numpy(f(make([x], "float64"))), [y], rtol=1e-11)


def test_log_cosh_is_smooth_where_its_two_formulae_meet(make):
    x = np.nextafter(1.0, [0.0, 2.0])
    np.testing.assert_allclose(nnx.to_numpy(nnx.ops.log_cosh(make(x, "float64"))), math.log(math.cosh(1)), rtol=1e-15)


def test_selu_keeps_mean_zero_and_variance_one():
    rng = nnx.Generator(0)
    y = nnx.selu(rng.normal((1_000_000,)))
    assert abs(y.mean()) < 5e-3
    assert y.var() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("alpha", [0, -1.0, math.nan])
def test_alpha_of_celu(alpha, make):
    with pytest.raises(nnx.ArgumentError, match="alpha of celu must be a finite number greater than 0, got"):
        nnx.celu(make([1.0]), alpha=alpha)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, -2), (math.nan, 1)])
def test_bounds_of_hard_tanh(low, high, make):
    with pytest.raises(nnx.ArgumentError, match=f"low of hard_tanh lies below high, got low={low} and high={high}"):
        nnx.hard_tanh(make([1.0]), low=low, high=high)


@each
def test_integers_are_refused(name, make):
    with pytest.raises(nnx.DTypeError, match="expected an array of real floats first, got dtype .*int64: cast it"):
        ACTIVATIONS[name][0](make([1, 2], "int64"))
