"""Elements of each row, by their numbers."""

from __future__ import annotations

import numpy as np
import pytest

import nnx
from nnx.ops import gather
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)
X = rng.standard_normal((2, 3, 5))
IDS = rng.integers(0, 5, (2, 3, 7))  # some more than once


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_values_and_gradients_are_those_of_torch(axes, assert_as_torch):
    torch = pytest.importorskip("torch")
    rows = (0,) * (3 - axes)
    assert_as_torch(gather, lambda x, ids: torch.gather(x, -1, ids), X[rows], IDS[rows])


def test_gradients_of_first_and_second_order(device):
    check_gradients(lambda x, ids: gather(x, ids) ** 3, X, IDS, device=device)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backends_agree(dtype, flags):
    check_backends(gather, X.astype(dtype), IDS, backends=flags)


@pytest.mark.parametrize("shape", [(0, 3), (2, 3), (3,)])
def test_dtype_device_and_shape_are_kept(shape, normal, make, assert_kept):
    ids = make(np.zeros((*shape[:-1], 2)), "int64")
    assert assert_kept(lambda x: gather(x, ids), normal(*shape)).shape == ids.shape


def test_no_numbers(make):
    x, ids = make(X[0]), make(np.zeros((3, 0)), "int64")
    value, pull = nnx.vjp(lambda x: gather(x, ids), x)
    assert value.shape == (3, 0)
    np.testing.assert_array_equal(nnx.to_numpy(pull(value)[0]), np.zeros((3, 5)))


def test_equal_arguments_give_equal_bits(make):
    x, ids = make(rng.standard_normal((4, 9))), make(rng.integers(0, 9, (4, 300)), "int64")
    g = make(rng.standard_normal((4, 300)))
    first, second = (nnx.to_numpy(nnx.vjp(lambda x: gather(x, ids), x)[1](g)[0]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
