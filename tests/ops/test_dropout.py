"""The op of dropout, and its masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.ops import dropout
from nnx.ops.dropout import drop_threshold, keep_mask
from nnx.testing import check_backends, check_gradients

KEY = (12345, -678)


@pytest.fixture
def mask(make, xp):
    """The mask of a step of the stream ``KEY``, on the host."""

    def mask(shape, rate, step=0, key=KEY):
        like = make(np.zeros(shape))
        return nnx.to_numpy(keep_mask(xp, make(key, "int32"), make([step], "int32"), rate, like))

    return mask


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_that_is_kept(rate, mask):
    n = 100_000
    kept = int(mask((n,), rate).sum())
    assert abs(kept - (1 - rate) * n) < 4.5 * math.sqrt(n * rate * (1 - rate))  # once in 150,000 keys


def test_neighbours_are_independent(mask):
    keep = mask((400, 250), 0.5).astype(float) * 2 - 1
    for shifted in (keep[1:, :] * keep[:-1, :], keep[:, 1:] * keep[:, :-1]):
        assert abs(shifted.mean()) < 4.5 / math.sqrt(shifted.size)


def test_the_mask_never_changes(mask):
    """These bits are what a seed means: if they change, so does every training run with dropout."""
    assert mask((4, 6), 0.5).astype(int).tolist() == [
        [0, 1, 1, 0, 1, 0],
        [1, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1, 1],
    ]


def test_steps_and_keys_give_masks_of_their_own(mask):
    first = mask((1000,), 0.5)
    assert (mask((1000,), 0.5) == first).all()
    for other in (mask((1000,), 0.5, step=1), mask((1000,), 0.5, key=(12345, -677)), mask((1000,), 0.5, key=(1, -678))):
        assert abs(int((other == first).sum()) - 500) < 4.5 * math.sqrt(250)


@pytest.mark.parametrize("shape", [(), (7,), (2, 0), (3, 5)])
def test_a_mask_depends_on_the_count_of_elements_alone(shape, mask):
    keep = mask(shape, 0.5)
    assert keep.shape == shape
    np.testing.assert_array_equal(keep.ravel(), mask((16,), 0.5)[: keep.size])


@given(rate=st.floats(0, 1, exclude_max=True))
def test_the_threshold_keeps_the_right_share_of_words(rate):
    kept = 2**31 - drop_threshold(rate)  # of the words from -2**31 to 2**31 - 1
    assert abs(kept / 2**32 - (1 - rate)) <= 2**-32


def test_what_is_kept_is_scaled_and_the_gradient_has_the_same_mask(make, mask):
    x, key, step = make(np.full((50,), 3.0)), make(KEY, "int32"), make([0], "int32")
    value, pull = nnx.vjp(lambda x: dropout(x, key, step, rate=0.25), x)
    keep = mask((50,), 0.25)
    np.testing.assert_allclose(nnx.to_numpy(value), keep * np.float32(4), rtol=1e-6)
    (gradient,) = pull(make(np.full((50,), 6.0)))
    np.testing.assert_allclose(nnx.to_numpy(gradient), keep * np.float32(8), rtol=1e-6)


def test_gradients_of_first_and_second_order(device):
    x = np.random.default_rng(0).standard_normal((4, 5))
    key, step = np.asarray(KEY, dtype="int32"), np.asarray([3], dtype="int32")
    check_gradients(lambda x, key, step: dropout(x * x, key, step, rate=0.4), x, key, step, device=device)


@pytest.mark.parametrize("shape", [(), (0,), (7, 3)])
def test_backends_have_the_same_values_to_the_last_bit(shape, flags):
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    key, step = np.asarray(KEY, dtype="int32"), np.asarray([3], dtype="int32")
    check_backends(
        lambda x, key, step: dropout(x, key, step, rate=0.4), x, key, step, backends=flags, rtol=0.0, atol=0.0
    )


@pytest.mark.parametrize("shape", [(), (0,), (3, 5)])
def test_dtype_device_and_shape_are_kept(shape, normal, make, assert_kept):
    key, step = make(KEY, "int32"), make([0], "int32")
    assert assert_kept(lambda x: dropout(x, key, step, rate=0.5), normal(*shape)).shape == shape
