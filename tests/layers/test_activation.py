"""PReLU and Maxout."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)
X = rng.standard_normal((4, 3))


def maxout(*features, **options):
    return nnx.Maxout(*features or (3, 2), rng=nnx.Generator(0), bias_init=nnx.init.uniform, **options)


LAYERS = {
    "PReLU(1)": lambda **options: nnx.PReLU(**options),
    "PReLU(3)": lambda **options: nnx.PReLU(3, slope=-0.4, **options),
    "Maxout(3, 2, pieces=2)": maxout,
    "Maxout(3, 2, pieces=3, bias=False)": lambda **options: maxout(pieces=3, bias=False, **options),
}
each = pytest.mark.parametrize("name", LAYERS)


def test_prelu_is_that_of_torch(make, device):
    torch = pytest.importorskip("torch")
    for features in (1, 3):
        ours = nnx.PReLU(features, dtype="float64", device=device)
        ours.slope = make([0.3, -0.2, 0.7][:features], "float64")
        theirs = torch.nn.PReLU(features, dtype=torch.float64)
        with torch.no_grad():
            theirs.weight.copy_(torch.tensor(nnx.to_numpy(ours.slope)))
        expected = theirs(torch.tensor(X))
        expected.pow(2).sum().backward()
        x = make(X, "float64")
        value, gradients = nnx.value_and_grad(lambda model, x: nnx.namespace_of(model(x)).sum(model(x) ** 2))(ours, x)
        np.testing.assert_allclose(nnx.to_numpy(ours(x)), expected.detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(nnx.to_numpy(value), expected.pow(2).sum().item(), rtol=1e-12)
        np.testing.assert_allclose(nnx.to_numpy(gradients["slope"]), theirs.weight.grad.numpy(), rtol=1e-12)


@given(sizes=st.tuples(*[st.integers(1, 4)] * 3), leading=st.lists(st.integers(0, 3), max_size=2), bias=st.booleans())
def test_maxout_is_the_largest_of_its_affine_maps(sizes, leading, bias):
    inputs, outputs, pieces = sizes
    layer = maxout(inputs, outputs, pieces=pieces, bias=bias, dtype="float64")
    x = np.random.default_rng(1).standard_normal((*leading, inputs))
    weights = np.split(layer.weight, pieces, axis=1)
    biases = np.split(layer.bias, pieces) if bias else [0.0] * pieces
    expected = np.max([x @ w + b for w, b in zip(weights, biases, strict=True)], axis=0)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12, atol=1e-13)


def test_maxout_has_the_values_and_gradients_of_torch(make, device):
    torch = pytest.importorskip("torch")
    layer = maxout(pieces=3, dtype="float64", device=device)
    weight, bias = (torch.tensor(nnx.to_numpy(a), requires_grad=True) for a in (layer.weight, layer.bias))
    expected = (torch.tensor(X) @ weight + bias).reshape(4, 3, 2).amax(1)
    (expected**2).sum().backward()
    value, gradients = nnx.value_and_grad(lambda model, x: nnx.namespace_of(model(x)).sum(model(x) ** 2))(
        layer, make(X, "float64")
    )
    np.testing.assert_allclose(nnx.to_numpy(value), (expected**2).sum().item(), rtol=1e-12)
    np.testing.assert_allclose(nnx.to_numpy(gradients["weight"]), weight.grad.numpy(), rtol=1e-10)
    np.testing.assert_allclose(nnx.to_numpy(gradients["bias"]), bias.grad.numpy(), rtol=1e-10)


def test_maxout_can_be_relu_and_the_absolute_value():
    layer = nnx.Maxout(3, 3, rng=nnx.Generator(0), dtype="float64")
    for other, expected in [(np.zeros((3, 3)), np.maximum(X, 0)), (-np.eye(3), abs(X))]:
        layer.weight = np.concatenate([np.eye(3), other], axis=1)
        np.testing.assert_array_equal(layer(X), expected)


def test_equal_pieces_share_the_gradient():
    layer = nnx.Maxout(3, 2, weight_init=nnx.init.ones, dtype="float64")
    _, gradients = nnx.value_and_grad(lambda model, x: nnx.namespace_of(model(x)).sum(model(x)))(layer, X)
    np.testing.assert_allclose(gradients["bias"], [2, 2, 2, 2])


@each
def test_gradients_of_first_and_second_order(name, device):
    check_gradients(LAYERS[name](dtype="float64"), X, device=device)


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backends_agree(name, dtype, flags):
    check_backends(LAYERS[name](dtype=dtype), X.astype(dtype), backends=flags)


@each
@pytest.mark.parametrize("leading", [(), (0,), (5,), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_dtype_and_device(name, leading, dtype, device, xp, make):
    y = LAYERS[name](dtype=dtype, device=device)(make(np.zeros((*leading, 3)), dtype))
    assert y.shape == (*leading, 3 if "PReLU" in name else 2)
    assert y.dtype == getattr(xp, dtype)
    assert nnx.backend.device_of(y) == device


def test_parameters():
    assert nnx.PReLU().slope.tolist() == [0.25]
    assert nnx.PReLU(3).slope.tolist() == [0.25] * 3
    layer = nnx.Maxout(3, 2, pieces=4, rng=nnx.Generator(0))
    assert {name: a.shape for name, a in layer.parameters().items()} == {"weight": (3, 8), "bias": (8,)}
    assert not layer.bias.any()
    assert list(nnx.Maxout(3, 2, bias=False).parameters()) == ["weight"]


def test_each_piece_has_the_initial_weights_of_a_dense_layer():
    layer, one = nnx.Maxout(300, 200, pieces=3, rng=nnx.Generator(0)), nnx.Generator(0)
    expected = [nnx.init.glorot_uniform((300, 200), rng=one) for _ in range(3)]
    np.testing.assert_array_equal(layer.weight, np.concatenate(expected, axis=1))


@pytest.mark.parametrize("name", list(LAYERS)[1:])
def test_the_wrong_number_of_features(name, make, device):
    for shape in [(4, 2), (3, 4), ()]:
        with pytest.raises(nnx.ShapeError) as caught:
            LAYERS[name](device=device)(make(np.zeros(shape)))
        assert str(caught.value) == f"{name} expected input of shape (..., 3), got {shape}"


@each
@pytest.mark.parametrize("dtype", ["int64", "float64", "bool"])
def test_the_wrong_dtype(name, dtype, make, device):
    with pytest.raises(nnx.DTypeError, match=rf"has .*float32 parameters and expected .* that dtype, got .*{dtype}"):
        LAYERS[name](device=device)(make(np.zeros((4, 3)), dtype))


@each
def test_what_is_no_array(name):
    with pytest.raises(nnx.DTypeError, match=r"expected an array, got list: make one with nnx.asarray"):
        LAYERS[name]()([[1.0, 2.0, 3.0]])


@each
def test_an_array_of_another_library(name, flags):
    for flag, other in pairwise(flags):
        with pytest.raises(nnx.MixedLibrariesError, match="two libraries"):
            LAYERS[name](device=flag)(nnx.asarray(X, device=other, dtype="float32"))


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "3", None, True])
def test_there_must_be_features_and_pieces(wrong):
    with pytest.raises(nnx.ArgumentError, match="the number of features of PReLU must be a whole number"):
        nnx.PReLU(wrong)
    for arguments, what in [((wrong, 2), "in_features"), ((3, wrong), "out_features")]:
        with pytest.raises(nnx.ArgumentError, match=f"{what} of Maxout must be a whole number of at least 1"):
            nnx.Maxout(*arguments)
    with pytest.raises(nnx.ArgumentError, match="the number of pieces of Maxout must be a whole number"):
        nnx.Maxout(3, 2, pieces=wrong)


def test_text_and_operations():
    for name, layer in LAYERS.items():
        assert repr(layer()) == name
    assert nnx.PReLU().operations((4, 3), (4, 3)) == 12
    assert maxout().operations((4, 3), (4, 2)) == 8 * (2 * 6 + 1)
    assert maxout(pieces=3, bias=False).operations((4, 3), (4, 2)) == 8 * (3 * 5 + 2)
