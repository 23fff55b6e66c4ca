"""Affine maps and sums of columns beyond the cases of tests/ops/test_kernels.py: low types, sizes, launches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx_cupy.kernels import _columns, _map, _source
from nnx_cupy.kernels.linear import (
    column_sums,
    linear_bias,
    linear_forward,
    linear_relu_forward,
    linear_weight,
    linear_x,
    summed_to,
)

ml_dtypes = pytest.importorskip("ml_dtypes")

DTYPES = [np.dtype(ml_dtypes.bfloat16), *map(np.dtype, ("float16", "float32", "float64"))]
RNG = np.random.default_rng(0)


def draw(dtype, *shape):
    return RNG.standard_normal(shape).astype(dtype)


def close(found, expected, dtype, factor=4.0):
    eps = float(ml_dtypes.finfo(dtype).eps)
    found = nnx.to_numpy(found)
    assert found.dtype == dtype
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    size = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found.astype("float64"), expected, rtol=factor * eps, atol=factor * eps * size)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("columns", [1, 7, 8, 64, 100])
@pytest.mark.parametrize("bias", [False, True])
def test_forward(gpu, dtype, columns, bias):
    """Columns that are a multiple of what a thread reads at once, and columns that are none."""
    x, weight, b = draw(dtype, 3, 11, 20), draw(dtype, 20, columns), draw(dtype, columns) if bias else None
    arrays = [None if a is None else nnx.asarray(a, device=gpu) for a in (x, weight, b)]
    # the product is rounded once, then its sum with the bias
    exact = x.astype("float64") @ weight.astype("float64") + (0 if b is None else b.astype("float64"))
    close(linear_forward(gpu.namespace, *arrays), exact, dtype)
    close(linear_relu_forward(gpu.namespace, *arrays), np.maximum(exact, 0), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_adjoints(gpu, dtype):
    g, x, weight = draw(dtype, 3, 11, 6), draw(dtype, 3, 11, 20), draw(dtype, 20, 6)
    a, b, w = (nnx.asarray(host, device=gpu) for host in (g, x, weight))
    rows, wide_g = x.astype("float64").reshape(33, 20), g.astype("float64")
    close(linear_x(gpu.namespace, a, w), wide_g @ weight.astype("float64").T, dtype)
    close(linear_weight(gpu.namespace, a, b), rows.T @ wide_g.reshape(33, 6), dtype)
    close(linear_bias(gpu.namespace, a), wide_g.sum((0, 1)), dtype)


def test_nan_and_infinity_pass_the_rectifier_as_in_the_reference(gpu):
    x = np.asarray([[np.nan], [np.inf], [-np.inf], [-0.0], [-1.0]], "float32")
    arrays = [nnx.asarray(a, device=gpu) for a in (x, np.ones((1, 4), "float32"), np.zeros(4, "float32"))]
    found = nnx.to_numpy(linear_relu_forward(gpu.namespace, *arrays))
    np.testing.assert_array_equal(found, np.repeat(np.asarray([[np.nan], [np.inf], [0], [0], [0]], "float32"), 4, 1))


def test_mixed_dtypes_are_left_to_the_reference(gpu):
    x, weight = (nnx.asarray(draw(d, 3, 3), device=gpu) for d in ("float32", "float64"))
    assert linear_forward(gpu.namespace, x, weight).dtype == gpu.namespace.float64
    assert linear_x(gpu.namespace, x, weight).dtype == gpu.namespace.float64
    assert linear_weight(gpu.namespace, x, weight).dtype == gpu.namespace.float64


def test_shapes_that_do_not_fit_raise(gpu):
    """CuBLAS would read beyond the arrays."""
    x, weight, bias = (nnx.asarray(draw("float32", *s), device=gpu) for s in ((3, 4), (5, 6), (7,)))
    with pytest.raises(ValueError, match="4"):
        linear_forward(gpu.namespace, x, weight)
    with pytest.raises(ValueError, match=r"7|broadcast"):
        linear_forward(gpu.namespace, x[:, :1] @ weight[:1, :5], weight, bias)
    with pytest.raises(ValueError, match="4"):
        linear_x(gpu.namespace, x, weight)
    with pytest.raises(ValueError, match="5"):
        linear_weight(gpu.namespace, x, weight)


@given(
    rows=st.one_of(st.integers(1, 40), st.integers(1000, 1100), st.integers(4000, 9000)),
    columns=st.one_of(st.integers(1, 70), st.just(300)),
    dtype=st.sampled_from(DTYPES),
)
def test_column_sums(gpu, rows, columns, dtype):
    """One block for all rows, and several of which each has a part."""
    g = draw(dtype, rows, columns)
    found = linear_bias(gpu.namespace, nnx.asarray(g, device=gpu))
    close(found, g.astype("float64").sum(0), dtype, factor=2 if dtype.itemsize == 2 else 64)


def test_column_sums_add_low_types_in_float32(gpu):
    """4096 ones and more: in bfloat16 256 + 1 is 256."""
    ones = np.ones((5000, 3), ml_dtypes.bfloat16)
    assert nnx.to_numpy(linear_bias(gpu.namespace, nnx.asarray(ones, device=gpu))).tolist() == [4992.0] * 3  # 5000


@pytest.mark.parametrize(
    ("shape", "to"),
    [
        ((4, 3, 5), (5,)), ((4, 3, 5), (3, 5)), ((4, 3, 5), (1, 3, 5)), ((4, 3, 5), (1, 1, 5)), ((4, 3, 5), (1, 5)),
        ((4, 3, 5), ()), ((4, 3, 5), (1, 1, 1)), ((4, 3, 5), (4, 1, 5)), ((4, 3, 5), (4, 3, 1)), ((4, 3, 5), (1, 3, 1)),
        ((4, 1, 5), (1, 5)), ((0, 3), (1, 3)), ((4, 0), (0,)), ((1, 3), (1, 3)), ((6,), (1,)),
    ],
)  # fmt: skip
def test_summed_to(gpu, shape, to):
    g = RNG.standard_normal(shape)
    axes = tuple(range(len(shape) - len(to)))
    kept = g.sum(axes)
    expected = kept.sum(tuple(i for i, n in enumerate(to) if n == 1), keepdims=True) if to else kept
    close(summed_to(gpu.namespace, nnx.asarray(g, device=gpu), to), expected, np.dtype("float64"), factor=64)


def test_wide_indices(gpu, monkeypatch):
    for module in (_source, _map):
        monkeypatch.setattr(module, "WIDE", 1)
    _columns.tiles.cache_clear()
    try:
        g, x, weight, bias = (draw("float32", *s) for s in ((2000, 6), (9, 3), (3, 6), (6,)))
        arrays = [nnx.asarray(a, device=gpu) for a in (g, x, weight, bias)]
        close(column_sums(gpu.namespace, arrays[0], 2000, 6, (6,)), g.astype("f8").sum(0), np.dtype("float32"), 64)
        close(linear_forward(gpu.namespace, *arrays[1:]), x.astype("f8") @ weight + bias, np.dtype("float32"))
    finally:
        _columns.tiles.cache_clear()
