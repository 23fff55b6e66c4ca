"""Convolution layers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import nnx
from nnx.testing import check_backends

X = np.random.default_rng(0).standard_normal((2, 5, 6, 3))


def layer(*arguments, **options):
    return nnx.Conv2d(3, 2, *(arguments or (3,)), rng=nnx.Generator(0), **options)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), ((1, 2), (2, 0), (2, 1))])
def test_it_is_that_of_torch(bias, stride, padding, dilation):
    torch = pytest.importorskip("torch")
    options = {"stride": stride, "padding": padding, "dilation": dilation, "bias": bias}
    ours = layer((3, 2), bias_init=nnx.init.uniform, dtype="float64", **options)
    theirs = torch.nn.Conv2d(3, 2, (3, 2), dtype=torch.float64, **options)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(ours.weight).permute(3, 2, 0, 1))
        if bias:
            theirs.bias.copy_(torch.tensor(ours.bias))
    loss = theirs(torch.tensor(X).permute(0, 3, 1, 2)).pow(2).sum()
    loss.backward()
    value, gradients = nnx.value_and_grad(lambda model, x: nnx.namespace_of(model(x)).sum(model(x) ** 2))(ours, X)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-10)
    assert list(gradients) == ["weight", "bias"][: 1 + bias]
    np.testing.assert_allclose(gradients["weight"], theirs.weight.grad.permute(2, 3, 1, 0).numpy(), rtol=1e-9)
    if bias:
        np.testing.assert_allclose(gradients["bias"], theirs.bias.grad.numpy(), rtol=1e-9)


def test_backends_agree_on_a_network(flags):
    model = nnx.Sequential(layer(2), nnx.relu, nnx.MaxPool2d(2), nnx.Flatten(), nnx.Linear(8, 2, rng=nnx.Generator(1)))
    check_backends(model, X.astype("float32"), backends=flags)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_dtype_and_device(dtype, device, xp, make):
    y = layer(dtype=dtype, device=device)(make(X, dtype))
    assert y.shape == (2, 3, 4, 2)
    assert y.dtype == getattr(xp, dtype)
    assert nnx.backend.device_of(y) == device


def test_parameters():
    model = layer((3, 5), bias_init=nnx.init.ones)
    assert {name: a.shape for name, a in model.parameters().items()} == {"weight": (3, 5, 3, 2), "bias": (2,)}
    assert model.bias.tolist() == [1, 1]
    assert abs(model.weight).max() <= (6 / (15 * 5)) ** 0.5  # of the window times the channels of both sides
    assert list(layer(bias=False).parameters()) == ["weight"]


def test_images_that_do_not_fit(make, device):
    model = layer(device=device)
    for shape in [(2, 5, 6, 2), (5, 6, 3), (2, 3, 5, 6), ()]:
        with pytest.raises(nnx.ShapeError, match=rf"Conv2d\(3, 2, 3\) expected images of shape .* 3\), got .*{shape}"):
            model(make(np.zeros(shape)))
    with pytest.raises(nnx.ShapeError, match="a window of 3 × 3 does not fit into an image of 5 × 2"):
        model(make(np.zeros((1, 5, 2, 3))))


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_the_wrong_dtype(dtype, make, device):
    with pytest.raises(nnx.DTypeError, match=rf"Conv2d\(3, 2, 3\) has .*float32 parameters .*, got .*{dtype}: cast"):
        layer(device=device)(make(X, dtype))


def test_what_is_no_array():
    with pytest.raises(nnx.DTypeError, match=r"expected an array, got list: make one with nnx.asarray"):
        layer()([[1.0]])


def test_an_array_of_another_library(flags):
    for flag, other in pairwise(flags):
        with pytest.raises(nnx.MixedLibrariesError, match="two libraries"):
            layer(device=flag)(nnx.asarray(X, device=other, dtype="float32"))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 2, 3), {}, "in_channels must be a whole number of at least 1, got 0"),
        ((3, 2.0, 3), {}, "out_channels must be .*, got 2.0"),
        ((3, 2, 0), {}, "kernel_size must be .*, got 0"),
        ((3, 2, (3, 3, 3)), {}, "kernel_size is a number or a tuple of 2"),
        ((3, 2, 3), {"stride": -1}, "stride must be .*, got -1"),
        ((3, 2, 3), {"dilation": 0}, "dilation must be .*, got 0"),
        ((3, 2, 3), {"padding": "half"}, "padding is 'same', 'valid', .*, got 'half'"),
        ((3, 2, 3), {"padding": -1}, "padding is 'same', 'valid', .*, got -1"),
    ],
)
def test_numbers_that_make_no_sense(arguments, options, message):
    with pytest.raises(nnx.ArgumentError, match=message):
        nnx.Conv2d(*arguments, **options)


def test_text_and_operations():
    assert repr(layer()) == "Conv2d(3, 2, 3)"
    text = "Conv2d(3, 2, (3, 2), stride=2, padding='same', dilation=(1, 2), bias=False)"
    assert repr(layer((3, 2), stride=2, padding="same", dilation=(1, 2), bias=False)) == text
    assert layer().operations((2, 5, 6, 3), (2, 3, 4, 2)) == 48 * 2 * 27
    assert layer(bias=False).operations((2, 5, 6, 3), (2, 3, 4, 2)) == 48 * (2 * 27 - 1)
    assert nnx.summary(layer(), (2, 5, 6, 3)).rows[0].output == (2, 3, 4, 2)
