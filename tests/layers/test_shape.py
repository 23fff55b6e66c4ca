"""Layers that only change shapes."""

from __future__ import annotations

import numpy as np
import pytest

import nnx


@pytest.mark.parametrize(
    ("shape", "flat"),
    [((2, 3, 4), (2, 12)), ((2,), (2, 1)), ((0, 3, 2), (0, 6)), ((2, 0, 3), (2, 0)), ((2, 3), (2, 3))],
)
def test_flatten(shape, flat, make):
    x = make(np.arange(np.prod(shape)).reshape(shape))
    y = nnx.Flatten()(x)
    assert y.shape == flat
    np.testing.assert_array_equal(nnx.to_numpy(y), nnx.to_numpy(x).reshape(flat))


def test_a_number_has_no_batch():
    with pytest.raises(nnx.ShapeError, match=r"expected an array of shape \(batch, ...\), got shape \(\)"):
        nnx.Flatten()(np.asarray(1.0))


def test_text():
    assert repr(nnx.Flatten()) == "Flatten()"
