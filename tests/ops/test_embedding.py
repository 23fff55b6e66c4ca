"""Rows of a table, by their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.ops import embedding
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)
WEIGHT = rng.standard_normal((5, 3))
IDS = [np.asarray(ids, np.int64) for ids in (2, [0, 4, 4, 1], [[1, 1], [0, 3], [1, 4]], np.zeros((2, 0)))]
EACH = pytest.mark.parametrize("ids", IDS, ids=[str(ids.shape) for ids in IDS])


@EACH
def test_values_and_gradients_are_those_of_torch(ids, assert_as_torch):
    torch = pytest.importorskip("torch")
    assert_as_torch(embedding, lambda weight, ids: torch.nn.functional.embedding(ids, weight), WEIGHT, ids)


@EACH
def test_gradients_of_first_and_second_order(ids):  # on every backend in test_every_part.py
    check_gradients(embedding, WEIGHT, ids)


@EACH
def test_backends_agree(ids, flags):
    check_backends(embedding, WEIGHT.astype("float32"), ids, backends=flags)


@EACH
def test_dtype_device_and_shape_are_kept(ids, make, assert_kept):
    ids = make(ids, "int64")
    assert assert_kept(lambda weight: embedding(weight, ids), make(WEIGHT)).shape == (*ids.shape, 3)


@given(
    ids=st.lists(st.integers(0, 6), max_size=30),
    dtype=st.sampled_from(["int8", "uint8", "int32", "int64", "uint64"]),
)
def test_the_gradient_counts_how_often_a_row_was_read(ids, dtype):
    ids = np.asarray(ids, dtype)
    _, pull = nnx.vjp(lambda weight: embedding(weight, ids), rng.standard_normal((7, 2)))
    (gradient,) = pull(np.ones((len(ids), 2)))
    np.testing.assert_array_equal(gradient[:, 0], np.bincount(ids.astype(int), minlength=7))


def test_the_same_bits_each_time(make):
    ids, g = make(rng.integers(0, 5, 12), "int64"), make(rng.standard_normal((12, 3)))
    first, second = (nnx.to_numpy(nnx.vjp(lambda w: embedding(w, ids), make(WEIGHT))[1](g)[0]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("ids", [[0, 5], [-1, 0]])
def test_an_id_out_of_range(ids, device, make):
    weight, ids = make(WEIGHT), make(ids, "int64")
    if device.backend.readable(ids):
        low, high = nnx.to_numpy(ids).min(), nnx.to_numpy(ids).max()
        with pytest.raises(
            nnx.LabelError, match=f"ids from 0 to 4 were expected.*the 5 rows; got ids from {low} to {high}"
        ):
            embedding(weight, ids)
    else:
        assert np.isnan(nnx.to_numpy(embedding(weight, ids))).any(axis=1).sum() == 1


def test_under_a_compiler_an_id_out_of_range_is_nan():
    jax = pytest.importorskip("jax")
    y = jax.jit(embedding)(WEIGHT, np.asarray([1, 5, -1]))
    assert np.isnan(np.asarray(y)).all(axis=1).tolist() == [False, True, True]
    np.testing.assert_array_equal(np.asarray(y)[0], WEIGHT[1])


def test_bad_input():
    with pytest.raises(nnx.DTypeError, match=r"ids of an integer dtype, got float64"):
        embedding(WEIGHT, np.zeros(3))
    with pytest.raises(nnx.ShapeError, match=r"a weight of shape \(rows, features\), got shape \(5,\)"):
        embedding(WEIGHT[:, 0], np.zeros(3, int))
