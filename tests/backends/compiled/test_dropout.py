from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from nnx.ops.dropout import drop_threshold
from nnx.ops.dropout import dropout_forward as reference
from nnx.random import threefry2x32
from nnx_numpy.compiled import dropout
from nnx_numpy.compiled.dropout import LARGE, PART, dropout_forward

KEY, STEP = np.asarray([-123456789, 987654321], np.int32), np.asarray([-7], np.int32)


def same_bits(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [0.0, 1e-9, 0.3, 0.5, 0.999])
def test_every_bit_is_that_of_the_reference(dtype, rate):
    rng = np.random.default_rng(2)
    for shape in [(1,), (2,), (31,), (32, 32), (33, 11), (3, 5, 7, 11), (1000,)]:
        x = rng.standard_normal(shape).astype(dtype)
        same_bits(dropout_forward(np, x, KEY, STEP, rate=rate), reference(np, x, KEY, STEP, rate=rate))


def test_zeros_keep_their_sign_and_what_is_infinite_is_nan_where_it_is_dropped():
    x = np.resize(np.asarray([-0.0, np.inf, -np.inf, 1.0, -1.0, 0.0], np.float32), 300)
    with np.errstate(invalid="ignore"):
        y, mask = reference(np, x, KEY, STEP, rate=0.5)
    found = dropout_forward(np, x, KEY, STEP, rate=0.5)
    np.testing.assert_array_equal(found[0], y)
    np.testing.assert_array_equal(np.signbit(found[0][~np.isnan(y)]), np.signbit(y[~np.isnan(y)]))
    same_bits(found[1:], [mask])


@pytest.mark.parametrize("size", [LARGE, LARGE + 1, 2 * PART + 77])
def test_parts_begin_with_the_block_that_is_theirs(size):
    x = np.ones(size, np.float32)
    same_bits(dropout_forward(np, x, KEY, STEP, rate=0.3), reference(np, x, KEY, STEP, rate=0.3))


def test_parts_in_another_order_give_the_same(monkeypatch):
    x = np.ones((3, LARGE // 2), np.float32)
    expected = dropout_forward(np, x, KEY, STEP, rate=0.3)

    def backwards(loop, size, part):
        for start in reversed(range(0, size, part)):
            loop(start, min(start + part, size))

    monkeypatch.setattr(dropout, "spread", backwards)
    same_bits(dropout_forward(np, x, KEY, STEP, rate=0.3), expected)


@pytest.mark.parametrize("first", [2**31 - 5, 2**32 - 5])
def test_counters_wrap_around(first):
    x, blocks = np.ones(21, np.float32), np.arange(first, first + 11).astype(np.uint32).view(np.int32)
    y, mask = np.empty_like(x), np.empty_like(x)
    least = drop_threshold(0.5)
    dropout._dropout(x, int(KEY[0]), int(KEY[1]), int(STEP[0]), first, least, 2.0, y, mask)
    words = np.stack(threefry2x32(np, (KEY[:1], KEY[1:]), (blocks, np.zeros_like(blocks) + STEP)), axis=1)
    np.testing.assert_array_equal(mask, 2 * (words.reshape(-1)[:21] >= least))
    np.testing.assert_array_equal(y, mask)


def test_a_key_of_another_dtype_or_an_array_of_none_is_left_to_numpy():
    x = np.ones(10, np.float16)
    same_bits(dropout_forward(np, x, KEY, STEP, rate=0.5), reference(np, x, KEY, STEP, rate=0.5))
    wide = dropout_forward(np, np.ones(10), KEY.astype(np.int64), STEP.astype(np.int64), rate=0.5)
    same_bits(wide, reference(np, np.ones(10), KEY, STEP, rate=0.5))
