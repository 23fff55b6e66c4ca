"""glu, which halves an axis; tests/ops/test_activation.py has the other gated activations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.testing import check_backends, check_gradients

X = np.random.default_rng(0).standard_normal((2, 4, 6))


@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=3), data=st.data())
def test_glu_has_the_values_and_gradients_of_torch(shape, data):
    torch = pytest.importorskip("torch")
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    shape[axis] *= 2
    x = np.random.default_rng(0).standard_normal(shape)
    tensor = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.glu(tensor, axis)
    cotangent = np.cos(np.arange(expected.numel())).reshape(expected.shape)
    expected.backward(torch.tensor(cotangent))
    value, pull = nnx.vjp(lambda x: nnx.glu(x, axis=axis), x)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(pull(cotangent)[0], tensor.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_glu_gradients_of_first_and_second_order(axis, device):
    check_gradients(lambda x: nnx.glu(x, axis=axis), X, device=device)


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_glu_on_all_backends(axis, dtype, flags):
    check_backends(lambda x: nnx.glu(x, axis=axis), X.astype(dtype), backends=flags)


def test_glu_keeps_dtype_and_device(normal, assert_kept):
    for shape in [(0, 4), (2, 4), (4,), (2, 0)]:
        assert assert_kept(nnx.glu, normal(*shape)).shape == (*shape[:-1], shape[-1] // 2)


def test_glu_of_ten_thousand(make):
    x = make([1e4, -1e4, -1e4, 1e4])
    value, pull = nnx.vjp(nnx.glu, x)
    np.testing.assert_array_equal(nnx.to_numpy(value), [0, -1e4])
    np.testing.assert_array_equal(nnx.to_numpy(pull(make([1.0, 1.0]))[0]), [0, 1, 0, 0])


@pytest.mark.parametrize(("shape", "axis"), [((3,), -1), ((2, 3), 1), ((), 0), ((2,), 1), ((2, 2), -3)])
def test_what_cannot_be_halved(shape, axis, make):
    with pytest.raises(nnx.ShapeError, match=f"an axis {axis} of even length was expected, got shape"):
        nnx.glu(make(np.zeros(shape)), axis=axis)
