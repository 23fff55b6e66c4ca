"""What the compiled adjoints of reading rows do beyond the cases of tests/ops/test_kernels.py."""

from __future__ import annotations

import numpy as np
import pytest

import nnx
from nnx.vjps._rows import summed_rows as reference

pytest.importorskip("numba")
compiled = pytest.importorskip("nnx_numpy.compiled.rows")

XP = nnx.namespace_of(np.zeros(1))


def test_rows_are_added_in_their_order():
    """To the last bit as one after the other, on whatever machine."""
    rng = np.random.default_rng(0)
    g, ids = rng.standard_normal((900, 5)).astype("float32"), rng.integers(0, 7, 900)
    expected = np.zeros((7, 5), "float32")
    for row, i in zip(g, ids, strict=True):
        expected[i] += row
    np.testing.assert_array_equal(compiled.embedding_weight(XP, g, (7, 5), ids), expected)
    np.testing.assert_array_equal(compiled.summed_rows(XP, g, 7, ids), expected)
    np.testing.assert_array_equal(compiled.gather_x(XP, g[:, 0].copy(), (7,), ids), expected[:, 0])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", ">i4"])
def test_numbers_of_any_integer_dtype(dtype):
    g, ids = np.arange(12, dtype="float32").reshape(6, 2), np.asarray([3, 0, 3, 3, 4, 0])
    expected = [[12, 14], [0, 0], [0, 0], [10, 13], [8, 9]]
    for numbers in (ids.astype(dtype), np.repeat(ids, 2).astype(dtype)[::2]):
        numbers.flags.writeable = False
        np.testing.assert_array_equal(compiled.embedding_weight(XP, g, (5, 2), numbers), expected)
        np.testing.assert_array_equal(compiled.summed_rows(XP, g, 5, numbers), expected)
    columns = np.tile(ids.astype(dtype), (2, 1))
    found = compiled.gather_x(XP, np.ascontiguousarray(g.T), (2, 5), columns)
    np.testing.assert_array_equal(found, np.asarray(expected).T)


def test_negative_numbers_count_from_the_end():
    g = np.asarray([[1.0], [2.0], [4.0]])
    ids = np.asarray([-1, 0, -3])
    np.testing.assert_array_equal(compiled.summed_rows(XP, g, 3, ids), [[6], [0], [1]])
    np.testing.assert_array_equal(compiled.summed_rows(XP, g, 3, ids), reference(XP, g, 3, ids))
    np.testing.assert_array_equal(compiled.embedding_weight(XP, g, (3, 1), ids), [[6], [0], [1]])
    np.testing.assert_array_equal(compiled.gather_x(XP, g.reshape(1, 3), (1, 3), ids.reshape(1, 3)), [[6, 0, 1]])


@pytest.mark.parametrize("number", [5, -6, 2**40, -(2**40)])
def test_a_number_out_of_range_writes_nowhere(number):
    g, ids = np.ones((2, 3), "float32"), np.asarray([0, number])
    with pytest.raises(IndexError):
        compiled.embedding_weight(XP, g, (5, 3), ids)
    with pytest.raises(IndexError):
        compiled.summed_rows(XP, g, 5, ids)


def test_an_element_out_of_range_writes_nowhere():
    with pytest.raises(IndexError):
        compiled.gather_x(XP, np.ones((2, 2), "float32"), (2, 5), np.asarray([[0, 1], [2**40, 2]]))


def test_other_dtypes_are_left_to_numpy():
    ids = np.asarray([1, 1, 0])
    for dtype in ("complex128", "float16", "int64", ">f4"):
        g = np.asarray([[1], [2], [4]], dtype)
        found = compiled.summed_rows(XP, g, 2, ids)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, [[4], [3]])


def test_indexing_and_take_are_differentiated_by_it(monkeypatch):
    from nnx.backend import kernels_of

    calls = []

    def counted(xp, g, n, index):
        calls.append(n)
        return compiled.summed_rows(xp, g, n, index)

    kernels = kernels_of(XP)
    if not isinstance(kernels, dict):
        pytest.skip("this run has no table that can be changed")
    monkeypatch.setitem(kernels, "summed_rows", counted)
    x, ids = np.zeros((4, 2), "float32"), np.asarray([1, 3, 1])
    for read in (lambda x: x[ids], lambda x: nnx.namespace_of(x).take(x, ids, axis=0)):
        _, g = nnx.value_and_grad(lambda x, read=read: nnx.namespace_of(x).sum(read(x)))(x)
        np.testing.assert_array_equal(g, [[0, 0], [2, 2], [0, 0], [1, 1]])
    assert calls == [4, 4]
