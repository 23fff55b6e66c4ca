"""prelu, whose slope is an array; tests/ops/test_activation.py has the other rectifiers."""

from __future__ import annotations

import numpy as np
import pytest

import nnx
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)
X = rng.standard_normal((2, 4, 6))
SLOPES = {"shared": [0.3], "0-d": 0.3, "each": rng.standard_normal(6), "any": rng.standard_normal((4, 1))}
each_slope = pytest.mark.parametrize("slope", SLOPES.values(), ids=SLOPES)


@each_slope
def test_prelu_has_the_values_and_gradients_of_torch(slope, assert_as_torch):
    torch = pytest.importorskip("torch")
    assert_as_torch(nnx.prelu, lambda x, slope: torch.where(x > 0, x, slope * x), X, slope)


@pytest.mark.parametrize("slope", [SLOPES["shared"], SLOPES["each"]], ids=["shared", "each"])
def test_prelu_is_the_function_of_that_name(slope, assert_as_torch):
    torch = pytest.importorskip("torch")
    assert_as_torch(
        nnx.prelu, lambda x, slope: torch.nn.functional.prelu(x.movedim(-1, 1), slope).movedim(1, -1), X, slope
    )


@each_slope
def test_prelu_gradients_of_first_and_second_order(slope, device):
    check_gradients(nnx.prelu, X, np.asarray(slope), device=device)


@each_slope
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_prelu_on_all_backends(slope, dtype, flags):
    check_backends(nnx.prelu, X.astype(dtype), np.asarray(slope, dtype), backends=flags)


def test_prelu_keeps_dtype_and_device(normal, assert_kept):
    for shape in [(0, 3), (2, 3), (3,)]:
        assert assert_kept(nnx.prelu, normal(*shape), normal(3)).shape == shape


def test_prelu_at_zero_and_at_ten_thousand(make):
    x = make([0.0, -1e4, 1e4])
    value, pull = nnx.vjp(nnx.prelu, x, make([0.25]))
    by_x, by_slope = pull(make([1.0, 1.0, 1.0]))
    np.testing.assert_array_equal(nnx.to_numpy(value), [0, -2500, 1e4])
    np.testing.assert_array_equal(nnx.to_numpy(by_x), [0.25, 0.25, 1])
    np.testing.assert_array_equal(nnx.to_numpy(by_slope), [-1e4])


@pytest.mark.parametrize("shape", [(5,), (2,), (1, 2, 4, 6), (2, 1, 4)])
def test_a_slope_that_does_not_fit(shape, make):
    with pytest.raises(
        nnx.ShapeError, match=r"broadcasts to that of x, \(2, 4, 6\), was expected, got .*" + str(shape[-1])
    ):
        nnx.prelu(make(X), make(np.zeros(shape)))
