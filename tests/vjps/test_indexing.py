"""Indices: what an element that is selected many times, or a key of several kinds, gives back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx


def total(f):
    """The gradient of Σ f(xp, x), in a tuple."""

    def scalar(*arrays):
        xp = nnx.namespace_of(*arrays)
        return xp.sum(f(xp, *arrays))

    return lambda *arrays: nnx.grad(scalar, argnums=range(len(arrays)))(*arrays)


X = np.asarray([-1.0, 0.0, 2.0])


ROWS, LINE = np.asarray([[0, 2, 0], [-1, 0, 0]]), np.asarray([1, -3, 1])
REPEATING = {
    "list": [0, 0, 2],
    "tuple in a tuple": ((0, 0),),
    "range": range(2),
    "one array": ROWS,
    "an array and all after it": (LINE, ...),
    "an array and whole axes": (1, LINE, slice(None)),
    "all, then an array": (..., LINE),
    "an array, then a slice": (LINE, slice(None, None, -1)),
    "a slice, then an array": (slice(1, None), LINE),
    "arrays that broadcast": (ROWS, LINE),
    "arrays around a slice": (ROWS, slice(None), LINE),
    "an array, a new axis, a number": (ROWS, None, 1),
    "a new axis in front": (None, LINE),
    "a number in an array": (np.asarray(1), ROWS),
    "a mask and an array": (np.asarray([True, False, True]), np.asarray([0, 0])),
    "none at all": np.asarray([], dtype=int),
    "no rows, in lines": (np.zeros((2, 0), dtype=int), slice(0, 1)),
}


@pytest.mark.parametrize("key", REPEATING.values(), ids=REPEATING)
def test_what_an_index_repeats_is_added(key):
    x = np.random.default_rng(0).normal(size=(3, 3, 4))
    weights = np.random.default_rng(1).normal(size=x[key].shape)
    (g,) = total(lambda xp, x: x[key] * weights)(x)
    expected = np.zeros(x.shape)
    np.add.at(expected, key, weights)
    assert_allclose(g, expected, rtol=1e-14, atol=1e-15)
    (h,) = total(lambda xp, x: x[key] ** 3 * weights)(x)
    assert_allclose(h, 3 * x**2 * expected, rtol=1e-13, atol=1e-15)


def test_many_rows_of_few_numbers(make):
    rng = np.random.default_rng(0)
    index, weights = rng.integers(0, 7, size=500), rng.normal(size=(500, 3))
    expected = np.zeros((8, 3))
    np.add.at(expected, index, weights)
    x, index, weights = make(np.ones((8, 3)), "float64"), make(index, "int64"), make(weights, "float64")
    by_column = lambda xp, x: xp.stack([x[index, j] for j in range(3)], axis=1)  # noqa: E731
    for f in (lambda xp, x: xp.take(x, index, axis=0), by_column):
        (g,) = total(lambda xp, x, f=f: f(xp, x) * weights)(x)
        assert_allclose(nnx.to_numpy(g), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("index", "options"), [(ROWS, {"axis": 1}), (np.asarray(2), {"axis": 0}), (ROWS, {})], ids=str)
def test_what_a_library_takes_beyond_the_standard(index, options):
    x = np.random.default_rng(0).normal(size=(3, 3))
    (g,) = total(lambda xp, x: xp.take(x, index, **options) ** 2)(x)
    counts = np.zeros(x.shape)
    np.add.at(counts.reshape(-1) if not options else np.moveaxis(counts, options["axis"], 0), index, 1.0)
    assert_allclose(g, 2 * x * counts, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_indices_of_few_bits(dtype):  # which not every library takes
    index, x = np.asarray([[100, 7, 100]], dtype=dtype), np.ones((2, 300))
    expected = np.zeros((2, 300))
    expected[0, [7, 100]] = 1, 2
    (g,) = total(lambda xp, x: xp.take(x[0, :], index[0, :]))(x)
    assert_array_equal(g, expected)
    (g,) = total(lambda xp, x: x[0, index])(x)
    assert_array_equal(g, expected)
    (g,) = total(lambda xp, x: xp.take_along_axis(x[:1, :], index, axis=1))(x)
    assert_array_equal(g, expected)


def test_a_sum_of_repeated_rows_has_no_part_in_another(make):
    index, weights = make([2, 0, 1, 0, 2], "int32"), make([np.inf, 1e-7, np.nan, 1e-7, 1e30])
    (g,) = total(lambda xp, x: xp.take(x, index) * weights)(make([1.0, 1.0, 1.0, 1.0]))
    assert g.dtype == weights.dtype
    assert_array_equal(nnx.to_numpy(g), np.asarray([2e-7, np.nan, np.inf, 0.0], dtype="float32"))


def test_lines_that_broadcast():
    x, index = np.arange(6.0).reshape(2, 3), np.asarray([[0, 0, -1, 1]])
    (g,) = total(lambda xp, x: xp.take_along_axis(x, index, axis=1))(x)
    assert_array_equal(g, [[2, 1, 1], [2, 1, 1]])
    (g,) = total(lambda xp, x: xp.take_along_axis(x, np.asarray([[0], [2], [2]]), axis=1))(x[:1])
    assert_array_equal(g, [[1, 0, 2]])


def test_equal_elements_are_sorted_in_their_order(make):
    for descending, expected in ((False, [2, 0, 1, 3]), (True, [0, 2, 3, 1])):
        weights = make([0.0, 1.0, 2.0, 3.0])
        (g,) = total(lambda xp, x, d=descending, w=weights: xp.sort(x, descending=d) * w)(make([3.0, 0.0, 0.0, 3.0]))
        assert_array_equal(nnx.to_numpy(g), expected)


def test_an_index_of_a_tracked_array(make):
    (g,) = total(lambda xp, x: x[x > 0] * x[0])(make(X))
    assert_array_equal(nnx.to_numpy(g), [2, 0, -1])


@pytest.mark.parametrize(
    "key", [slice(None, None, -1), slice(2, 0, -2), (slice(None), slice(None, None, -2), None)], ids=str
)
def test_a_negative_step(key):
    x = np.arange(12.0).reshape(4, 3) if isinstance(key, tuple) else X
    weights = np.random.default_rng(0).normal(size=x[key].shape)
    (g,) = total(lambda xp, x: x[key] * weights)(x)
    expected = np.zeros(x.shape)
    expected[key[:2] if isinstance(key, tuple) else key] = weights[..., 0] if isinstance(key, tuple) else weights
    assert_array_equal(g, expected)


def test_an_index_of_a_number_in_an_array(make):
    (g,) = total(lambda xp, x: x[xp.argmax(x)])(make(X))
    assert_array_equal(nnx.to_numpy(g), [0, 0, 1])
    (g,) = total(lambda xp, x: x[1, xp.argmin(x[0, :])])(make([X, X]))
    assert_array_equal(nnx.to_numpy(g), [[0, 0, 0], [1, 0, 0]])


def test_under_a_compiler():
    jax = pytest.importorskip("jax")

    def loss(x, i):
        xp = nnx.namespace_of(x)
        y = x[i] + xp.take(x, i[0, :], axis=0)
        along = xp.take_along_axis(x, xp.argsort(x, axis=0), axis=0)
        return xp.sum(y * y) + xp.sum(xp.sort(x, axis=1) ** 2) + xp.sum(along**3)

    gradient = nnx.grad(loss)
    x = jax.numpy.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    i = jax.numpy.asarray([[0, 3, -1], [0, 0, 2]])
    assert_allclose(jax.jit(gradient)(x, i), gradient(x, i), rtol=1e-12)
    assert_allclose(gradient(np.asarray(x), np.asarray(i)), gradient(x, i), rtol=1e-12)
