from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from nnx._errors import LabelError
from nnx.ops.softmax import log_softmax_forward as reference_log_softmax
from nnx.ops.softmax import softmax_cross_entropy_forward as reference
from nnx.ops.softmax import softmax_forward as reference_softmax
from nnx_numpy import kernels as native
from nnx_numpy.compiled import softmax
from nnx_numpy.compiled.softmax import (
    BLOCK,
    LARGE,
    SHORT,
    log_softmax_forward,
    log_softmax_x,
    softmax_cross_entropy_forward,
    softmax_forward,
    softmax_x,
)

rng = np.random.default_rng(3)
SHAPES = [(1, 1), (3, SHORT - 1), (3, SHORT), (BLOCK + 5, 3), (3, 70, 41), (2, BLOCK + 1), (5, LARGE // 5 + 1)]


def draw(*shape, dtype="float32", classes=None):
    return rng.integers(0, classes, shape) if classes else (3 * rng.standard_normal(shape)).astype(dtype)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_single_precision_is_as_good_as_that_of_the_numpy_kernel(shape, mean):
    z, labels = draw(*shape), draw(*shape[:-1], classes=shape[-1])
    exact = reference(np, z.astype(np.float64), labels, mean=mean)
    found = softmax_cross_entropy_forward(np, z, labels, mean=mean)
    others = native.softmax_cross_entropy_forward(np, z, labels, mean=mean)
    for a, b, e in zip(found, others, exact, strict=True):
        assert a.dtype == np.float32
        assert a.shape == e.shape
        unit = np.spacing(np.float32(np.abs(e).max()))
        assert np.abs(a - e).max() <= np.abs(b - e).max() + 2 * unit


@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_and_its_logarithm_to_the_last_places(shape):
    z = draw(*shape)
    y, exact = softmax_forward(np, z), reference_softmax(np, z.astype(np.float64))
    np.testing.assert_allclose(y, exact, rtol=2e-6)
    log_y, exact = log_softmax_forward(np, z), reference_log_softmax(np, z.astype(np.float64))
    np.testing.assert_allclose(log_y, exact, rtol=3e-7, atol=3e-7 * np.abs(exact).max())
    g = draw(*shape)
    wide, y = g.astype(np.float64), y.astype(np.float64)
    expected = y * (wide - (wide * y).sum(-1, keepdims=True))
    np.testing.assert_allclose(softmax_x(np, g, y.astype(np.float32)), expected, atol=2e-6)
    expected = wide - wide.sum(-1, keepdims=True) * np.exp(log_y.astype(np.float64))
    np.testing.assert_allclose(log_softmax_x(np, g, log_y), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("classes", [5, 100, 1000])
def test_large_logits_lose_nothing_to_the_order_of_sums(classes):
    z, labels = np.round(draw(20, classes)), draw(20, classes=classes)
    for offset in (2.0**23, -(2.0**23)):
        for kernel in (softmax_forward, log_softmax_forward):
            np.testing.assert_array_equal(kernel(np, z + np.float32(offset)), kernel(np, z))
        moved = softmax_cross_entropy_forward(np, z + np.float32(offset), labels)
        for a, b in zip(moved, softmax_cross_entropy_forward(np, z, labels), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("classes", [5, 100])
def test_logits_of_minus_infinity_have_no_share(classes):
    z, labels = draw(4, classes), np.zeros(4, np.int64)
    z[:, 3:] = -np.inf
    loss, slope = softmax_cross_entropy_forward(np, z, labels)
    expected = reference(np, z[:, :3].astype(np.float64), labels)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-6, atol=3e-7)
    np.testing.assert_allclose(slope[:, :3], expected[1], rtol=1e-5, atol=3e-7)
    np.testing.assert_array_equal(slope[:, 3:], 0)
    np.testing.assert_array_equal(softmax_forward(np, z)[:, 3:], 0)
    np.testing.assert_array_equal(log_softmax_forward(np, z)[:, 3:], -np.inf)


@pytest.mark.parametrize("classes", [5, 100])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
def test_nan_and_infinity_spoil_their_own_row_only(classes, bad):
    z, labels = draw(3, classes), draw(3, classes=classes)
    clean = softmax_cross_entropy_forward(np, z, labels)
    z[1, 2] = bad
    loss, slope = softmax_cross_entropy_forward(np, z, labels)
    assert np.isnan(loss[1])
    assert np.isnan(slope[1, 2])
    for a, b in zip((loss, slope), clean, strict=True):
        np.testing.assert_array_equal(a[::2], b[::2])
    for kernel, count in ((softmax_forward, 1), (log_softmax_forward, 1)):
        assert np.isnan(kernel(np, z)).any(axis=1).sum() == count
    assert np.isnan(softmax_cross_entropy_forward(np, np.full((1, classes), -np.inf), labels[:1])[0])


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint64"])
def test_a_label_out_of_range_is_an_error_that_names_the_range(dtype):
    z = draw(4, 10)
    wrong = [10, np.iinfo(dtype).max] + ([-1, np.iinfo(dtype).min] if dtype.startswith("i") else [])
    for label in wrong:
        labels = np.asarray([1, 2, 0, label], dtype)
        low, high = min(0, label), max(2, label)
        with pytest.raises(LabelError, match=f"labels from 0 to 9 were expected.*got labels from {low} to {high}"):
            softmax_cross_entropy_forward(np, z, labels)


@pytest.mark.parametrize("mean", [False, True])
def test_a_label_out_of_range_in_one_of_several_parts(mean):
    z, labels = draw(LARGE // 8, 8), draw(LARGE // 8, classes=8)
    labels[-7] = 8
    with pytest.raises(LabelError, match="got labels from 0 to 8"):
        softmax_cross_entropy_forward(np, z, labels, mean=mean)


@pytest.mark.parametrize("labels", [np.arange(12)[::2], np.arange(6, dtype=">i4"), np.arange(6, dtype=np.uint16)])
def test_labels_of_any_integer_dtype_and_layout(labels):
    z = draw(6, 12)
    for a, b in zip(softmax_cross_entropy_forward(np, z, labels), reference(np, z, labels.astype(int)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_parts_in_another_order_give_the_same(monkeypatch):
    z, labels = draw(LARGE // 4 + 3, 5), draw(LARGE // 4 + 3, classes=5)
    kernels = (lambda: softmax_cross_entropy_forward(np, z, labels, mean=True), lambda: (softmax_forward(np, z),))
    expected = [kernel() for kernel in kernels]

    def backwards(loop, size, part):
        assert part < size
        for start in reversed(range(0, size, part)):
            loop(start, min(start + part, size))

    monkeypatch.setattr(softmax, "spread", backwards)
    for kernel, before in zip(kernels, expected, strict=True):
        for a, b in zip(kernel(), before, strict=True):
            np.testing.assert_array_equal(a, b)
