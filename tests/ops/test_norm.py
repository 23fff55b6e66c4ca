"""Batch and layer normalisation: values, adjoints and statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.ops import batch_norm, layer_norm
from nnx.testing import check_backends, check_gradients

X = np.random.default_rng(0).standard_normal((3, 2, 4))
WEIGHT, BIAS = np.random.default_rng(1).standard_normal((2, 4))
WIDE = np.random.default_rng(2).standard_normal((2, 2, 4))  # weight and bias of the last two axes


def batch(*arrays, **options):
    return batch_norm(*arrays, **options)[0]


@st.composite
def batches(draw, least=2):
    """An array of one to four axes before its features, and how many axes those have."""
    leading = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3).filter(lambda n: np.prod(n) >= least))
    features = draw(st.lists(st.integers(1, 5), min_size=1, max_size=2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(draw(st.sampled_from([0.0, 3.0])), draw(st.sampled_from([0.5, 10.0])), (*leading, *features))
    parameters = [rng.standard_normal(features) if draw(st.booleans()) else None for _ in range(2)]
    return x, *parameters, draw(st.sampled_from([1e-5, 0.1]))


def compare(ours, theirs, x, parameters, rtol):
    """Values and gradients in float64 by what is no ``None``; beside torch's."""
    torch = pytest.importorskip("torch")
    given_ = [x, *(p for p in parameters if p is not None)]
    tensors = [torch.tensor(a, requires_grad=True) for a in given_]
    rest = iter(tensors[1:])
    expected = theirs(tensors[0], *(None if p is None else next(rest) for p in parameters))
    cotangent = np.cos(np.arange(x.size)).reshape(x.shape)
    expected.backward(torch.tensor(cotangent))

    def of_arrays(arrays):
        rest = iter(arrays[1:])
        return ours(arrays[0], *(None if p is None else next(rest) for p in parameters))

    y, pull = nnx.vjp(of_arrays, given_)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=rtol, atol=1e-11)
    for g, tensor in zip(pull(cotangent)[0], tensors, strict=True):
        scale = np.abs(tensor.grad.numpy()).max() + 1
        np.testing.assert_allclose(g, tensor.grad.numpy(), rtol=rtol, atol=1e-9 * scale)


@given(case=batches())
def test_batch_norm_has_the_values_and_gradients_of_torch(case):
    torch = pytest.importorskip("torch")
    x, weight, bias, eps = case
    x = x.reshape(*x.shape[: x.ndim - (weight if weight is not None else np.zeros(x.shape[-1:])).ndim], -1)
    weight, bias = (None if p is None or p.size != x.shape[-1] else p.reshape(-1) for p in (weight, bias))
    if np.prod(x.shape[:-1]) < 2:
        return
    f = torch.nn.functional.batch_norm

    def theirs(x, weight, bias):
        rows = x.reshape(-1, x.shape[-1])
        return f(rows, None, None, weight, bias, training=True, eps=eps).reshape(x.shape)

    compare(lambda *a: batch(*a, eps=eps), theirs, x, [weight, bias], rtol=1e-8)


@given(case=batches(least=1), axes=st.integers(1, 2))
def test_layer_norm_has_the_values_and_gradients_of_torch(case, axes):
    torch = pytest.importorskip("torch")
    x, weight, bias, eps = case
    shape = next((p.shape for p in (weight, bias) if p is not None), x.shape[-axes:])
    f = torch.nn.functional.layer_norm
    compare(
        lambda *a: layer_norm(*a, axes=len(shape), eps=eps),
        lambda x, weight, bias: f(x, shape, weight, bias, eps),
        x,
        [weight, bias],
        rtol=1e-7,
    )


def test_the_statistics_of_a_batch_are_those_of_the_array(make):
    y, mean, var = batch_norm(make(X, "float64"), eps=1e-3)
    np.testing.assert_allclose(nnx.to_numpy(mean), X.mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(nnx.to_numpy(var), X.var(axis=(0, 1)), rtol=1e-12)
    expected = (X - X.mean(axis=(0, 1))) / np.sqrt(X.var(axis=(0, 1)) + 1e-3)
    np.testing.assert_allclose(nnx.to_numpy(y), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("f", [batch, layer_norm], ids=["batch", "layer"])
@pytest.mark.parametrize("parameters", [(), (WEIGHT,), (WEIGHT, BIAS), (None, BIAS)])
def test_gradients_of_first_and_second_order(f, parameters, device):
    check_gradients(lambda x, *rest: f(x, *rest), X, *parameters, device=device)


def test_layer_norm_over_two_axes(device):
    check_gradients(lambda *a: layer_norm(*a, axes=2), X, *WIDE, device=device)


@pytest.mark.parametrize("f", [batch, layer_norm], ids=["batch", "layer"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backends_agree(f, dtype, flags):
    arrays = [a.astype(dtype) for a in (X, WEIGHT, BIAS)]
    check_backends(lambda *a: f(*a), *arrays, backends=flags)


@pytest.mark.parametrize("f", [batch, layer_norm], ids=["batch", "layer"])
def test_dtype_device_and_shape_are_kept(f, normal, assert_kept):
    assert assert_kept(f, normal(3, 2, 4), normal(4), normal(4)).shape == (3, 2, 4)


def test_no_gradient_flows_through_the_statistics(make):
    def f(x):
        _, mean, var = batch_norm(x)
        return nnx.namespace_of(x).sum(x) + nnx.namespace_of(mean).sum(mean + var)

    np.testing.assert_array_equal(nnx.to_numpy(nnx.grad(f)(make(X, "float64"))), np.ones_like(X))


def test_statistics_of_a_nested_differentiation_are_constants_of_both():
    def inner(x):
        return batch_norm(x)[1].sum() if isinstance(x, np.ndarray) else nnx.namespace_of(x).sum(batch_norm(x)[1] * x)

    hessian = nnx.grad(lambda x: nnx.namespace_of(x).sum(nnx.grad(inner)(x)))(X)
    np.testing.assert_array_equal(hessian, np.zeros_like(X))


@pytest.mark.parametrize("f", [batch, layer_norm], ids=["batch", "layer"])
def test_a_large_mean_does_not_drown_the_variance(f, make):
    """σ² as the mean of x² minus the squared mean would be wrong in all places of float32."""
    axis = 0 if f is batch else 1
    x = 1000 + np.random.default_rng(0).standard_normal((200, 200))
    expected = (x - x.mean(axis=axis, keepdims=True)) / x.std(axis=axis, keepdims=True)
    np.testing.assert_allclose(nnx.to_numpy(f(make(x))), expected, atol=5e-3)


@pytest.mark.parametrize("f", [batch, layer_norm], ids=["batch", "layer"])
def test_equal_values_become_zero(f, make):
    y = nnx.to_numpy(f(make(np.full((4, 4), 3.0))))
    np.testing.assert_array_equal(y, np.zeros((4, 4)))


@pytest.mark.parametrize("f", [batch, layer_norm], ids=["batch", "layer"])
def test_float16_is_computed_in_float32(f):
    """The sum of 4096 numbers round 60 is beyond the greatest float16."""
    x = (60 + np.random.default_rng(0).standard_normal((4096, 64))).astype("float16")
    x = x if f is batch else np.ascontiguousarray(x.T)
    weight = np.ones(x.shape[-1], "float16")
    y, pull = nnx.vjp(f, x, weight)
    wide, wide_pull = nnx.vjp(f, x.astype("float32"), weight.astype("float32"))
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, wide, rtol=2e-3, atol=1e-3)
    for g, expected in zip(pull(y), wide_pull(wide), strict=True):
        assert g.dtype == np.float16
        np.testing.assert_allclose(g, expected, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (1, 1, 1, 4), (4,), (3, 0), (0,), ()])
def test_a_batch_without_statistics(shape, make):
    with pytest.raises(nnx.ShapeError, match=r"more than one value for each channel; got shape .*two examples or more"):
        batch_norm(make(np.zeros(shape)))


@pytest.mark.parametrize(("shape", "axes"), [((), 1), ((3,), 2), ((3, 0), 1), ((0, 3), 3)])
def test_layer_norm_without_features(shape, axes, make):
    with pytest.raises(nnx.ShapeError, match="needs that many, and at least one feature"):
        layer_norm(make(np.zeros(shape)), axes=axes)


def test_layer_norm_of_no_examples(make):
    assert layer_norm(make(np.zeros((0, 3)))).shape == (0, 3)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("op", [nnx.ops.batch_norm, nnx.ops.layer_norm])
def test_parameters_of_another_length_are_refused(op, length, make):
    x, good, bad = make(np.ones((6, 4))), make(np.ones(4)), make(np.ones(length))
    for parameters in ((bad, None), (None, bad), (good, bad), (bad, good)):
        with pytest.raises(nnx.ShapeError, match=rf"have the shape of the features, \(4,\); got \({length},\)"):
            op(x, *parameters)
        with pytest.raises(nnx.ShapeError):
            nnx.vjp(op, x, *parameters)
    with pytest.raises(nnx.ShapeError):
        op(x, make(1.0))
