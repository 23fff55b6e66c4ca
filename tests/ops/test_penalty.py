"""The sums that regularisers take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nnx
from nnx.ops import sum_abs, sum_squares
from nnx.testing import check_backends, check_gradients

X = np.random.default_rng(0).standard_normal((2, 3, 4))
BOTH = pytest.mark.parametrize("f", [sum_abs, sum_squares], ids=["abs", "squares"])
arrays = hnp.arrays("float64", hnp.array_shapes(min_dims=0, min_side=0), elements=st.floats(-1e3, 1e3))


@given(x=arrays)
def test_values_and_gradients_are_those_of_the_formula(x):
    for f, value, gradient in ((sum_abs, np.abs(x).sum(), np.sign(x)), (sum_squares, (x * x).sum(), 2 * x)):
        found, g = nnx.value_and_grad(f)(x)
        np.testing.assert_allclose(found, value, rtol=1e-12)
        np.testing.assert_allclose(g, gradient, rtol=1e-12)


@BOTH
def test_gradients_of_first_and_second_order(f, device):
    check_gradients(f, X, device=device)


@BOTH
def test_backends_agree(f, flags):
    check_backends(f, X.astype("float32"), backends=flags)


@BOTH
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3)])
def test_dtype_and_device_are_kept(f, shape, normal, assert_kept):
    assert assert_kept(f, normal(*shape)).shape == ()
