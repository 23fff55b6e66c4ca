"""Losses of numbers, against torch; tests/losses/test_losses.py has what all losses share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx import losses

PREDICTION, TARGET = 2 * np.random.default_rng(0).standard_normal((2, 5, 3))
CASES = {
    "huber": (losses.huber, lambda F, x, y, reduction: F.huber_loss(x, y, reduction=reduction)),
    "huber_0.3": (
        lambda x, y, **options: losses.huber(x, y, delta=0.3, **options),
        lambda F, x, y, reduction: F.huber_loss(x, y, reduction=reduction, delta=0.3),
    ),
    "mae": (losses.mae, lambda F, x, y, reduction: F.l1_loss(x, y, reduction=reduction)),
    "mse": (losses.mse, lambda F, x, y, reduction: F.mse_loss(x, y, reduction=reduction)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_they_are_those_of_torch(name, reduction, assert_as_torch):
    torch = pytest.importorskip("torch")
    ours, theirs = CASES[name]
    assert_as_torch(
        lambda x, y: ours(x, y, reduction=reduction),
        lambda x, y: theirs(torch.nn.functional, x, y, reduction),
        PREDICTION,
        TARGET,
    )


def test_log_cosh_is_the_formula_and_its_derivative_tanh(assert_as_torch):
    torch = pytest.importorskip("torch")
    assert_as_torch(losses.log_cosh, lambda x, y: torch.log(torch.cosh(x - y)).mean(), PREDICTION, TARGET)


@given(r=st.floats(-50, 50), delta=st.floats(0.01, 20))
def test_huber_lies_between_its_two_halves(r, delta):
    loss = float(losses.huber(np.asarray(r), np.asarray(0.0), delta=delta))
    expected = r * r / 2 if abs(r) <= delta else delta * (abs(r) - delta / 2)
    assert loss == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(
    ("f", "r", "slope"),
    [
        (losses.huber, 1.0, 1.0),
        (losses.huber, -1.0, -1.0),
        (losses.huber, 0.0, 0.0),
        (losses.mae, 0.0, 0.0),
        (losses.log_cosh, 0.0, 0.0),
    ],
)
def test_derivatives_where_the_formulae_meet(f, r, slope, make):
    assert nnx.to_numpy(nnx.grad(lambda x: f(x, make(0.0)))(make(r))) == slope


@pytest.mark.parametrize("f", [losses.huber, losses.log_cosh, losses.mae])
def test_far_off_they_grow_like_the_distance(f, make):
    value, slope = nnx.value_and_grad(lambda x: f(x, make(0.0)))(make(3e38))  # whose square float32 does not hold
    np.testing.assert_allclose(nnx.to_numpy(value), 3e38, rtol=1e-6)
    assert nnx.to_numpy(slope) == 1


@pytest.mark.parametrize("delta", [0, -1.0, math.nan, math.inf])
def test_delta_is_above_zero(delta, make):
    with pytest.raises(nnx.ArgumentError, match="the delta of huber must be a finite number greater than 0"):
        losses.huber(make([1.0]), make([1.0]), delta=delta)
