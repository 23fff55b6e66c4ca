"""Pooling layers."""

from __future__ import annotations

import numpy as np
import pytest

import nnx

X = np.arange(2 * 5 * 6 * 3, dtype="float32").reshape(2, 5, 6, 3)
LAYERS = {
    "MaxPool2d(2)": lambda: nnx.MaxPool2d(2),
    "MaxPool2d((2, 3), stride=1, padding=1)": lambda: nnx.MaxPool2d((2, 3), 1, 1),
    "AvgPool2d(3, stride=2)": lambda: nnx.AvgPool2d(3, 2),
    "AvgPool2d(3, padding='same', count_include_pad=False)": lambda: nnx.AvgPool2d(
        3, padding="same", count_include_pad=False
    ),
    "GlobalAvgPool2d()": lambda: nnx.GlobalAvgPool2d(),
}


@pytest.mark.parametrize("name", LAYERS)
def test_text_and_device(name, make, device):
    layer = LAYERS[name]()
    assert repr(layer) == name
    y = layer(make(X))
    assert nnx.backend.device_of(y) == device
    assert y.dtype == make(X).dtype


@pytest.mark.parametrize(
    ("layer", "op"),
    [
        (nnx.MaxPool2d(2), nnx.ops.max_pool2d(X, kernel_size=2)),
        (nnx.MaxPool2d((2, 3), 1, 1), nnx.ops.max_pool2d(X, kernel_size=(2, 3), stride=1, padding=1)),
        (nnx.AvgPool2d(3, 2, 1), nnx.ops.avg_pool2d(X, kernel_size=3, stride=2, padding=1)),
        (
            nnx.AvgPool2d(3, 2, 1, count_include_pad=False),
            nnx.ops.avg_pool2d(X, kernel_size=3, stride=2, padding=1, count_include_pad=False),
        ),
        (nnx.GlobalAvgPool2d(), X.mean(axis=(1, 2))),
    ],
)
def test_they_are_their_ops(layer, op):
    np.testing.assert_allclose(layer(X), op, rtol=1e-6)


def test_operations():
    assert nnx.MaxPool2d(2).operations((2, 5, 6, 3), (2, 2, 3, 3)) == 36 * 3
    assert nnx.AvgPool2d((2, 3)).operations((2, 5, 6, 3), (2, 2, 2, 3)) == 24 * 5
    assert nnx.GlobalAvgPool2d().operations((2, 5, 6, 3), (2, 3)) == 180


@pytest.mark.parametrize("kind", [nnx.MaxPool2d, nnx.AvgPool2d])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "kernel_size must be a whole number of at least 1, got 0"),
        ((2, 0), "stride must be .*, got 0"),
        ((2, 1, -1), "padding is .* got -1"),
        ((2, 1, 2), "Pool2d would have windows that lie in the padding altogether"),
        ((2, 1, ((0, 0), (0, 2))), "windows that lie in the padding altogether.* 0 × 2 after"),
    ],
)
def test_numbers_that_make_no_sense(kind, arguments, message):
    with pytest.raises(nnx.ArgumentError, match=message):
        kind(*arguments)


@pytest.mark.parametrize("layer", [nnx.MaxPool2d(2), nnx.AvgPool2d(2), nnx.GlobalAvgPool2d()])
def test_bad_input(layer):
    with pytest.raises(nnx.ShapeError, match=r"expected images of shape \(batch, height, width, channels\)"):
        layer(X[0])
    with pytest.raises(nnx.ShapeError, match="an image of 1 × 0|at least one pixel"):
        layer(X[:, :1, :0])
    with pytest.raises(nnx.DTypeError, match="expected an array, got list"):
        layer([1.0])
