"""The dense layer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import nnx
from nnx.testing import check_backends, check_gradients

X = np.random.default_rng(0).standard_normal((4, 3))


def layer(**options):
    return nnx.Linear(3, 2, rng=nnx.Generator(0), **options)


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_that_of_torch(bias, device, make):
    torch = pytest.importorskip("torch")
    ours = layer(bias=bias, bias_init=nnx.init.uniform, device=device)
    theirs = torch.nn.Linear(3, 2, bias=bias)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(nnx.to_numpy(ours.weight).T))
        if bias:
            theirs.bias.copy_(torch.tensor(nnx.to_numpy(ours.bias)))
    loss = theirs(torch.tensor(X, dtype=torch.float32)).pow(2).sum()
    loss.backward()
    x = make(X)
    value, gradients = nnx.value_and_grad(lambda model, x: nnx.namespace_of(model(x)).sum(model(x) ** 2))(ours, x)
    np.testing.assert_allclose(nnx.to_numpy(value), loss.item(), rtol=1e-5)
    assert list(gradients) == ["weight", "bias"][: 1 + bias]
    np.testing.assert_allclose(nnx.to_numpy(gradients["weight"]), theirs.weight.grad.numpy().T, rtol=1e-4, atol=1e-5)
    if bias:
        np.testing.assert_allclose(nnx.to_numpy(gradients["bias"]), theirs.bias.grad.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_first_and_second_order(bias, device):
    check_gradients(layer(bias=bias, dtype="float64"), X, device=device)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backends_agree(bias, dtype, flags):
    check_backends(layer(bias=bias, dtype=dtype), X.astype(dtype), backends=flags)


@pytest.mark.parametrize("leading", [(), (0,), (5,), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_dtype_and_device(leading, dtype, device, xp, make):
    y = layer(dtype=dtype, device=device)(make(np.zeros((*leading, 3)), dtype))
    assert y.shape == (*leading, 2)
    assert y.dtype == getattr(xp, dtype)
    assert nnx.backend.device_of(y) == device


def test_parameters():
    model = layer()
    assert {name: array.shape for name, array in model.parameters().items()} == {"weight": (3, 2), "bias": (2,)}
    assert not model.bias.any()
    assert abs(model.weight).max() <= (6 / 5) ** 0.5
    assert list(layer(bias=False).parameters()) == ["weight"]


def test_initialisers_are_asked_for_both():
    model = layer(weight_init=nnx.init.ones, bias_init=nnx.init.ones)
    assert model(np.asarray([1.0, 2.0, 3.0], "float32")).tolist() == [7, 7]


def test_the_wrong_number_of_features(make, device):
    model = layer(device=device)
    for shape in [(4, 2), (3, 4), ()]:
        with pytest.raises(nnx.ShapeError, match=rf"Linear\(3, 2\) expected input .*\(\.\.\., 3\), got .*{shape}"):
            model(make(np.zeros(shape)))


@pytest.mark.parametrize("dtype", ["int64", "float64", "bool"])
def test_the_wrong_dtype(dtype, make, device):
    message = rf"Linear\(3, 2\) has .*float32 parameters and expected input of that dtype, got .*{dtype}: cast"
    with pytest.raises(nnx.DTypeError, match=message):
        layer(device=device)(make(np.zeros((4, 3)), dtype))


@pytest.mark.parametrize("x", [[[1.0, 2.0, 3.0]], 3.0, None])
def test_what_is_no_array(x):
    with pytest.raises(nnx.DTypeError, match=r"expected an array, got .*: make one with nnx.asarray"):
        layer()(x)


def test_an_array_of_another_library(flags):
    for flag, other in pairwise(flags):
        for dtype in ("float32", "float64"):  # the library is the better explanation than the dtype
            with pytest.raises(nnx.MixedLibrariesError, match="two libraries"):
                layer(device=flag)(nnx.asarray(X, device=other, dtype=dtype))


def test_an_array_on_another_device():
    pytest.importorskip("array_api_strict")
    with pytest.raises(nnx.DeviceError, match=r"two devices, strict:device\d and strict:device\d: bring"):
        layer(device="strict")(nnx.asarray(X, device="strict:device2", dtype="float32"))


@pytest.mark.parametrize(("inputs", "outputs"), [(0, 2), (3, 0), (-1, 2), ("3", 2), (3, 2.0)])
def test_features_there_must_be(inputs, outputs):
    with pytest.raises(nnx.ArgumentError, match="at least one feature on each side"):
        nnx.Linear(inputs, outputs)


def test_text_and_operations():
    assert repr(layer()) == "Linear(3, 2)"
    assert repr(layer(bias=False)) == "Linear(3, 2, bias=False)"
    assert layer().operations((4, 3), (4, 2)) == 4 * 2 * 6
    assert layer(bias=False).operations((2, 4, 3), (2, 4, 2)) == 8 * 2 * 5


def test_parameters_are_of_floats():
    with pytest.raises(nnx.DTypeError, match="random numbers need a floating-point dtype"):
        nnx.Linear(3, 2, dtype="int32")
