"""Kernels of softmax beyond the cases of tests/ops/test_kernels.py: long rows, low types, extremes, wide indices."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.ops.softmax import log_softmax_forward as reference_log_softmax
from nnx.ops.softmax import log_softmax_x as reference_log_softmax_x
from nnx.ops.softmax import softmax_cross_entropy_forward as reference
from nnx.ops.softmax import softmax_forward as reference_softmax
from nnx.ops.softmax import softmax_x as reference_softmax_x
from nnx_cupy.kernels import _rows, _source
from nnx_cupy.kernels.cross_entropy import softmax_cross_entropy_forward
from nnx_cupy.kernels.softmax import log_softmax_forward, log_softmax_x, softmax_forward, softmax_x

EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-22, "float64": 2.0**-50}
# one thread a row, part of a warp, a warp, several elements a thread, a block, more than a block has in registers
COLUMNS = [1, 3, 32, 33, 1000, 1025, 5000, 16384, 16385, 20000]
FEW = [3, 40, 1100, 17000]
DTYPES = list(EPS)


def draw(rng, dtype, *shape):
    """Random numbers of a dtype, as that and as float64."""
    x = 3 * rng.standard_normal(shape)
    if dtype == "bfloat16":
        x = x.astype(pytest.importorskip("ml_dtypes").bfloat16)
    x = x.astype(dtype) if dtype != "bfloat16" else x
    return x, x.astype("float64")


@contextlib.contextmanager
def wide_indices(wide):
    """With 64-bit indices for matrices of any size."""
    before = _source.WIDE
    _rows.cut.cache_clear()
    _source.WIDE = 0 if wide else before
    try:
        yield
    finally:
        _source.WIDE = before
        _rows.cut.cache_clear()


def call(gpu, kernel, *arrays, **options):
    """The results of a kernel in float64, whose dtypes have been compared with that of the first array."""
    arrays = [nnx.asarray(a, device=gpu) if isinstance(a, np.ndarray) else a for a in arrays]
    results = kernel(gpu.namespace, *arrays, **options)
    results = results if isinstance(results, tuple) else (results,)
    assert {r.dtype for r in results} == {arrays[0].dtype}
    hosts = [nnx.to_numpy(r).astype("float64") for r in results]
    return hosts if len(hosts) > 1 else hosts[0]


@given(
    rows=st.integers(1, 9),
    columns=st.sampled_from(COLUMNS),
    dtype=st.sampled_from(DTYPES),
    wide=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
def test_rows_of_any_length_and_type(gpu, rows, columns, dtype, wide, seed):
    rng = np.random.default_rng(seed)
    (x, exact_x), (g, exact_g), eps = draw(rng, dtype, rows, columns), draw(rng, dtype, rows, columns), EPS[dtype]
    with wide_indices(wide):
        y, log_y = call(gpu, softmax_forward, x), call(gpu, log_softmax_forward, x)
        np.testing.assert_allclose(y, reference_softmax(np, exact_x), rtol=16 * eps, atol=1e-7)
        np.testing.assert_allclose(log_y, reference_log_softmax(np, exact_x), rtol=16 * eps, atol=4 * eps)
        p = draw(rng, dtype, rows, columns)[0] if dtype == "bfloat16" else y.astype(dtype)
        for kernel, exact, value in (
            (softmax_x, reference_softmax_x, p),
            (log_softmax_x, reference_log_softmax_x, (-np.abs(x)).astype(x.dtype)),
        ):
            found, expected = call(gpu, kernel, g, value), exact(np, exact_g, value.astype("float64"))
            np.testing.assert_allclose(found, expected, rtol=16 * eps, atol=16 * eps * np.abs(expected).max())


@given(
    rows=st.sampled_from([1, 2, 7, 300]),
    columns=st.sampled_from(COLUMNS),
    dtype=st.sampled_from(DTYPES),
    ids=st.sampled_from(["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]),
    mean=st.booleans(),
    wide=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
def test_cross_entropy_of_any_shape_and_type(gpu, rows, columns, dtype, ids, mean, wide, seed):
    rows = rows if columns <= 1100 else min(rows, 7)
    rng, eps = np.random.default_rng(seed), EPS[dtype]
    z, exact_z = draw(rng, dtype, rows, columns)
    labels = rng.integers(0, min(columns, np.iinfo(ids).max), rows).astype(ids)
    with wide_indices(wide):
        loss, slope = call(gpu, softmax_cross_entropy_forward, z, labels, mean=mean)
    expected = reference(np, exact_z, labels.astype("int64"), mean=mean)
    assert loss.shape == expected[0].shape
    np.testing.assert_allclose(loss, expected[0], rtol=16 * eps, atol=4 * eps)
    np.testing.assert_allclose(slope, expected[1], rtol=16 * eps, atol=4 * eps / (rows if mean else 1))


@pytest.mark.parametrize("columns", FEW)
def test_masked_logits_and_what_spoils_a_row(gpu, columns):
    z = draw(np.random.default_rng(0), "float32", 7, columns)[0]
    z[0, 1:] = -np.inf
    z[1, :2] = -np.inf
    z[2, 1] = np.nan
    z[3, columns - 1] = np.inf
    z[4] = -np.inf
    z[5] += 1e4
    labels = np.asarray([0, 0, 0, 1, 0, 2, 1])
    with np.errstate(invalid="ignore"):
        expected = [reference_softmax(np, z), reference_log_softmax(np, z), *reference(np, z, labels)]
    found = [call(gpu, softmax_forward, z), call(gpu, log_softmax_forward, z)]
    found += call(gpu, softmax_cross_entropy_forward, z, labels)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
    assert np.isnan(found[0][2:5]).all()
    assert np.isfinite(found[0][[0, 1, 5, 6]]).all()
    np.testing.assert_array_equal(found[0][0], np.arange(columns) == 0)
    assert found[2][1] == np.inf  # the loss of a label that is masked


@pytest.mark.parametrize("columns", FEW)
@pytest.mark.parametrize("ids", ["int8", "int32", "int64", "uint64"])
def test_a_label_out_of_range_makes_its_own_loss_nan(gpu, columns, ids):
    z = draw(np.random.default_rng(0), "float32", 4, columns)[0]
    bounds = np.iinfo(ids)
    wrong = [w for w in (-1, columns, bounds.min, bounds.max) if bounds.min <= w <= bounds.max]
    for label in (w for w in wrong if not 0 <= w < columns):
        labels = np.asarray([1, 0, label, 2], ids)
        loss, slope = call(gpu, softmax_cross_entropy_forward, z, labels)
        np.testing.assert_array_equal(np.isnan(loss), [False, False, True, False])
        np.testing.assert_allclose(slope.sum(axis=1), [0, 0, 1, 0], atol=1e-5)
        assert np.isnan(call(gpu, softmax_cross_entropy_forward, z, labels, mean=True)[0])


@pytest.mark.parametrize("shape", [(5, 3), (3, 2000), (30_000, 3), (700, 40), (2, 17_000)])
def test_the_mean_is_that_of_the_losses(gpu, shape):
    """By the block that computes them, or by another kernel."""
    rng = np.random.default_rng(1)
    z, labels = draw(rng, "float32", *shape)[0], rng.integers(0, shape[1], shape[0])
    loss, slope = call(gpu, softmax_cross_entropy_forward, z, labels)
    mean, share = call(gpu, softmax_cross_entropy_forward, z, labels, mean=True)
    assert mean.shape == ()
    np.testing.assert_allclose(mean, loss.mean(), rtol=1e-6)
    np.testing.assert_allclose(share, slope / shape[0], rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, -2, -3])
def test_any_axis(gpu, axis):
    x, exact = draw(np.random.default_rng(2), "float32", 4, 5, 6)
    np.testing.assert_allclose(call(gpu, softmax_forward, x, axis=axis), reference_softmax(np, exact, axis=axis), 1e-5)
    expected = reference_log_softmax_x(np, exact, exact, axis)
    np.testing.assert_allclose(call(gpu, log_softmax_x, x, x, axis), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axis", [3, -4])
def test_an_axis_that_is_none_is_an_error(gpu, axis):
    x = nnx.asarray(np.zeros((4, 5, 6), "float32"), device=gpu)
    with pytest.raises(Exception, match="axis"):
        softmax_forward(gpu.namespace, x, axis=axis)


def test_nothing_waits_for_the_device(gpu):
    twin = pytest.importorskip("cupy.twin", reason="waits are counted on the CPU twin only")
    rng = np.random.default_rng(3)
    for shape, launches in (((64, 10), 1), ((3000, 10), 2)):
        z = nnx.asarray(draw(rng, "float32", *shape)[0], device=gpu)
        labels = nnx.asarray(rng.integers(0, shape[1] + 1, shape[0]), device=gpu)
        with twin.synchronisations() as waits:
            softmax_cross_entropy_forward(gpu.namespace, z, labels, mean=True)
            assert waits == 0
        assert waits.launches == launches


def test_sums_do_not_depend_on_the_order_of_blocks(gpu, monkeypatch):
    pytest.importorskip("cupy.twin", reason="blocks run in a given order on the CPU twin only")
    rng = np.random.default_rng(4)
    z, labels = draw(rng, "float32", 3000, 37)[0], rng.integers(0, 37, 3000)
    before = call(gpu, softmax_cross_entropy_forward, z, labels, mean=True)
    monkeypatch.setenv("CUPY_TWIN_ORDER", "reverse")
    monkeypatch.setenv("CUPY_TWIN_GUARD", "1")
    for a, b in zip(call(gpu, softmax_cross_entropy_forward, z, labels, mean=True), before, strict=True):
        np.testing.assert_array_equal(a, b)
