"""Rows by their numbers on CUDA: sums against float64, the order of a sum, numbers out of range, and launches."""

from __future__ import annotations

import contextlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx_cupy.kernels import rows

ml_dtypes = pytest.importorskip("ml_dtypes")

LOW = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@contextlib.contextmanager
def changed(**constants):
    """Bounds of the kernels' file, for the length of a block."""
    with contextlib.ExitStack() as stack:
        for name, value in constants.items():
            stack.enter_context(mock.patch.object(rows, name, value))
        yield


def added(g, n, index):
    """The sums in float64; numbers below 0 count from the end, and those out of range add nothing."""
    index = index.astype(np.int64)
    index = np.where(index < 0, index + n, index)
    known = (index >= 0) & (index < n)
    sums = np.zeros((n, *g.shape[1:]))
    np.add.at(sums, index[known], g[known].astype(np.float64))
    return sums


def of_kernel(gpu, g, n, index):
    return nnx.to_numpy(rows.summed_rows(gpu.namespace, gpu.from_host(g), n, gpu.from_host(index)))


@given(
    count=st.integers(0, 90),
    n=st.integers(1, 40),
    features=st.sampled_from([(), (1,), (3,), (2, 4), (70,)]),
    skew=st.floats(0, 1),
    dtype=st.sampled_from(["int8", "int32", "int64"]),
    wide=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_are_added_in_the_order_in_which_they_lie(gpu, count, n, features, skew, dtype, wide, seed):
    rng = np.random.default_rng(seed)
    index = rng.integers(-n - 2, n + 2, count).astype(dtype)
    index[rng.random(count) < skew] = n // 2  # a long run, that crosses from piece to piece
    g = rng.standard_normal((count, *features))
    with changed(WIDE=0 if wide else rows.WIDE):
        found = of_kernel(gpu, g, n, index)
        with changed(RANKED=0):
            by_sort = of_kernel(gpu, g, n, index)
    np.testing.assert_allclose(found, added(g, n, index), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found, by_sort)


def test_the_order_of_the_sort_is_stable(gpu):
    """In float32, where each order of terms that differ in size has another sum."""
    rng, index = np.random.default_rng(0), np.tile([3, 1], 40)
    g = (rng.standard_normal(80) * 10.0 ** rng.integers(-3, 4, 80)).astype(np.float32)
    for ranked in (0, rows.RANKED):
        with changed(RANKED=ranked):
            found = of_kernel(gpu, g, 5, index)
        assert np.array_equal(found, of_kernel(gpu, g, 5, index.astype(np.int8)))
        for number, terms in ((1, g[1::2]), (3, g[::2])):
            first = 0 if number == 1 else 40  # where the run begins in the sorted order
            pieces, sums = (np.arange(40) + first) // rows.SPAN, []
            for piece in np.unique(pieces):
                total = np.float32(0)
                for term in terms[pieces == piece]:
                    total += term
                sums.append(total)
            lanes = [np.float32(0)] * rows.LANES
            lanes[0] = sums[0]
            for i, part in enumerate(sums[1:]):
                lanes[i % rows.LANES] += part
            total = lanes[0]
            for lane in lanes[1:]:
                total += lane
            assert found[number] == total


@pytest.mark.parametrize("low", LOW)
def test_low_types_are_added_up_in_float32(gpu, low):
    index = np.concatenate([np.zeros(1000, np.int64), [1, 2, 2]])
    found = of_kernel(gpu, np.ones((1003, 2), LOW[low]), 4, index)
    assert found.dtype == LOW[low]  # in the type itself, a sum of ones would end at 256 or 2048
    assert found.astype(np.float64).tolist() == [[1000.0] * 2, [1.0] * 2, [2.0] * 2, [0.0] * 2]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_numbers_of_any_integer_dtype(gpu, dtype):
    xp, ids = gpu.namespace, np.asarray([[3, 0], [3, 2]], dtype)
    weight = np.arange(20.0).reshape(4, 5)
    on_gpu = gpu.from_host(ids)
    y = rows.embedding_forward(xp, gpu.from_host(weight), on_gpu)
    np.testing.assert_array_equal(nnx.to_numpy(y), weight[ids.astype(int)])
    g = np.ones((2, 2, 5))
    sums = rows.embedding_weight(xp, gpu.from_host(g), (4, 5), on_gpu)
    np.testing.assert_array_equal(nnx.to_numpy(sums)[:, 0], [1, 0, 1, 2])
    x = np.arange(8.0).reshape(2, 4)
    found = rows.gather_forward(xp, gpu.from_host(x), on_gpu)
    np.testing.assert_array_equal(nnx.to_numpy(found), np.take_along_axis(x, ids.astype(int), -1))
    back = rows.gather_x(xp, gpu.from_host(np.asarray([[1.0, 2], [3, 4]])), (2, 4), on_gpu)
    np.testing.assert_array_equal(nnx.to_numpy(back), [[2, 0, 0, 1], [0, 0, 4, 3]])


@given(
    leading=st.sampled_from([(), (1,), (3,), (2, 3)]),
    n=st.integers(1, 30),
    count=st.integers(0, 30),
    wide=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_adjoint_of_gather(gpu, leading, n, count, wide, seed):
    rng = np.random.default_rng(seed)
    g, ids = rng.standard_normal((*leading, count)), rng.integers(-n, n, (*leading, count))
    expected = np.zeros((int(np.prod(leading)), n))
    lines = len(expected), count
    for sums, row, index in zip(expected, g.reshape(lines), ids.reshape(lines), strict=True):
        np.add.at(sums, index, row)
    for short in (0, rows.SHORT):
        with changed(SHORT=short, WIDE=0 if wide else rows.WIDE):
            found = rows.gather_x(gpu.namespace, gpu.from_host(g), (*leading, n), gpu.from_host(ids))
        assert found.shape == (*leading, n)
        np.testing.assert_allclose(nnx.to_numpy(found).reshape(-1, n), expected, rtol=1e-12, atol=1e-13)


def test_what_is_out_of_range_reads_nan_and_adds_nothing(gpu):
    xp, ids = gpu.namespace, gpu.from_host(np.asarray([0, 3, -1, 2, 2**40]))
    weight = gpu.from_host(np.arange(6, dtype=np.float32).reshape(3, 2))
    y = nnx.to_numpy(rows.embedding_forward(xp, weight, ids))
    np.testing.assert_array_equal(np.isnan(y[:, 0]), [False, True, True, False, True])
    expected = nnx.ops.embedding.reference(xp, weight, ids)
    np.testing.assert_array_equal(y, nnx.to_numpy(expected))

    x = gpu.from_host(np.asarray([5.0, 6.0, 7.0]))
    np.testing.assert_array_equal(nnx.to_numpy(rows.gather_forward(xp, x, ids)), [5, np.nan, 7, 7, np.nan])
    g = gpu.from_host(np.asarray([1.0, 10.0, 100.0, 1000.0, 10000.0]))
    np.testing.assert_array_equal(nnx.to_numpy(rows.gather_x(xp, g, (3,), ids)), [1, 0, 1100])
    np.testing.assert_array_equal(nnx.to_numpy(rows.summed_rows(xp, g, 3, ids)), [1, 0, 1100])


@pytest.mark.parametrize("features", [1, 4, 6, 33])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_rows_are_copied_bit_by_bit(gpu, features, dtype):
    weight = np.random.default_rng(0).standard_normal((7, features)).astype(LOW.get(dtype, dtype))
    ids = np.asarray([[6, 0, 3], [3, 3, 1]])
    y = nnx.to_numpy(rows.embedding_forward(gpu.namespace, gpu.from_host(weight), gpu.from_host(ids)))
    assert y.dtype == weight.dtype
    assert y.tobytes() == weight[ids].tobytes()


def test_few_launches_and_no_wait(gpu):
    twin = pytest.importorskip("cupy.twin")
    xp, ids = gpu.namespace, gpu.from_host(np.arange(40, dtype=np.int64) % 7)
    g, weight = gpu.from_host(np.ones((40, 4), np.float32)), gpu.from_host(np.ones((9, 4), np.float32))
    x, labels = gpu.from_host(np.ones((40, 5), np.float32)), gpu.from_host(np.zeros((40, 1), np.int64))
    for call, launches in (
        (lambda: rows.embedding_forward(xp, weight, ids), 1),
        (lambda: rows.embedding_weight(xp, g, (9, 4), ids), 4),  # zeros, order, sums, and those across pieces
        (lambda: rows.embedding_weight(xp, g[:16], (9, 4), ids[:16]), 3),
        (lambda: rows.gather_forward(xp, x, labels), 1),
        (lambda: rows.gather_x(xp, x[:, :1], (40, 5), labels), 3),  # a copy, zeros, sums
    ):
        with twin.synchronisations() as count:
            call()
        assert (count.launches, len(count)) == (launches, 0)


@pytest.mark.parametrize("ranked", [0, rows.RANKED])
def test_a_captured_sum_is_the_same(gpu, ranked):
    graph, rng, xp = pytest.importorskip("nnx_cupy.graph"), np.random.default_rng(0), gpu.namespace

    def step(arrays):
        g, ids, weight = arrays
        return rows.embedding_weight(xp, g, weight.shape, ids), rows.embedding_forward(xp, weight, ids)

    def drawn():
        hosts = rng.standard_normal((60, 3)), rng.integers(0, 4, 60), rng.standard_normal((4, 3))
        return [gpu.from_host(host) for host in hosts]

    with changed(RANKED=ranked):
        arrays, inputs = drawn(), drawn()
        step(arrays)
        captured = graph.Graph(step, arrays, range(3))(inputs)
        for a, b in zip(captured, step(inputs), strict=True):
            np.testing.assert_array_equal(nnx.to_numpy(a), nnx.to_numpy(b))
