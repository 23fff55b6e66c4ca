"""Kernels of normalisation beyond the cases of tests/ops/test_kernels.py: parts, long rows, low types, precision."""

from __future__ import annotations

import contextlib
import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx import ops
from nnx.ops import norm as reference
from nnx_cupy.kernels import _columns, _rows, _source, _sums, batch_norm, layer_norm

EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-21, "float64": 2.0**-48}
DTYPES = list(EPS)
# one part and several, columns fewer than a warp has threads, and more
BATCHES = [(2, 1), (3, 40), (1000, 5), (1024, 33), (1025, 33), (3001, 3), (2500, 70), (9000, 1)]
# one thread a row, a warp, several elements a thread, a block, more than a block has in registers
EXAMPLES = [(5, 1), (9, 3), (3, 32), (2100, 33), (4, 1000), (2, 1025), (3, 5000), (2, 16384), (2, 17000)]


def number(name):
    return pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else np.dtype(name)


def drawn(rng, shape, dtype, parameters):
    """x, g, weight and bias."""
    weight, bias = (rng.standard_normal(shape[-1]).astype(number(parameters)) for _ in range(2))
    return *((rng.standard_normal(shape) + 0.5).astype(number(dtype)) for _ in range(2)), weight, bias


@contextlib.contextmanager
def wide_indices(wide):
    """With 64-bit indices for matrices of any size."""
    before, caches = _source.WIDE, (_rows.cut, _columns.tiles)
    _source.WIDE = 0 if wide else before
    for cache in caches:
        cache.cache_clear()
    try:
        yield
    finally:
        _source.WIDE = before
        for cache in caches:
            cache.cache_clear()


def exactly(forward, adjoints, x, g, weight, bias):
    """Results, what is saved and gradients in float64, by the references on NumPy."""
    x, g, weight, bias = (a.astype("float64") for a in (x, g, weight, bias))
    result, saved = forward(np, x, weight, bias)
    return result, saved, gradients(adjoints, np, g, saved, x.dtype, weight)


def gradients(adjoints, xp, g, saved, x_dtype, weight):
    by_x, by_weight, by_bias = adjoints
    shape = () if by_x.__name__.startswith("batch") else (weight.shape,)
    return (
        by_x(xp, g, saved, x_dtype, weight),
        by_weight(xp, g, saved, *shape, weight.dtype),
        by_bias(xp, g, saved, *shape, weight.dtype),
    )


def functions(room, kind):
    return getattr(room, f"{kind}_forward"), [getattr(room, f"{kind}_{name}") for name in ("x", "weight", "bias")]


def assert_near(found, expected, eps, scale=1.0):
    found = nnx.to_numpy(found).astype("float64")
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=16 * eps, atol=16 * eps * scale)


@given(
    kind=st.sampled_from(["batch_norm", "layer_norm"]),
    which=st.integers(0, 7),
    dtype=st.sampled_from(DTYPES),
    own=st.booleans(),
    wide=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
def test_any_shape_and_type(gpu, kind, which, dtype, own, wide, seed):
    """Statistics, what is saved and sums have the precision of float32 for low types; results are rounded to them."""
    room, shape = (batch_norm, BATCHES[which]) if kind == "batch_norm" else (layer_norm, EXAMPLES[which + 1])
    parameters = dtype if own or dtype == "float64" else "float32"
    x, g, weight, bias = hosts = drawn(np.random.default_rng(seed), shape, dtype, parameters)
    exact, exact_saved, exact_gradients = exactly(*functions(reference, kind), *hosts)
    eps, fine = EPS[dtype], min(EPS[dtype], EPS["float32"])
    x, g, weight, bias = (nnx.asarray(a, device=gpu) for a in hosts)
    forward, adjoints = functions(room, kind)
    with wide_indices(wide):
        found, saved = forward(gpu.namespace, x, weight, bias)
        found_gradients = gradients(adjoints, gpu.namespace, g, saved, x.dtype, weight)
    found, exact = (found, exact) if kind == "batch_norm" else ((found,), (exact,))
    assert [a.dtype for a in (found[0], *found_gradients)] == [x.dtype, x.dtype, weight.dtype, weight.dtype]
    spread = np.abs(exact_saved[1]).max()
    assert_near(found[0], exact[0], eps, 4 * max(1, spread))
    for a, b in zip((*found[1:], *saved), (*exact[1:], *exact_saved), strict=True):
        assert str(a.dtype) == ("float64" if dtype == "float64" else "float32")
        assert_near(a, b, fine, 4 * max(1, spread))
    by_x, *sums = zip(found_gradients, exact_gradients, strict=True)
    assert_near(*by_x, eps, 4 * max(1, np.abs(by_x[1]).max(), spread))
    added = np.abs(hosts[1].astype("float64")).sum(axis=0).max() * max(1, spread)
    for a, b in sums:  # the error of a sum is measured by what has been added
        assert_near(a, b, EPS[parameters], fine / EPS[parameters] * max(4, added))


@pytest.mark.parametrize("offset", [0, 100, 10_000])
@pytest.mark.parametrize("shape", [(500, 24), (4000, 24)])
def test_a_large_mean_costs_no_more_digits_than_x_has(gpu, shape, offset):
    """The differences from it are what is computed with."""
    x = (np.random.default_rng(0).standard_normal(shape) + offset).astype("float32")
    on_gpu = nnx.asarray(x, device=gpu)
    (_, mean, var), (normal, _) = batch_norm.batch_norm_forward(gpu.namespace, on_gpu)
    (_, exact_mean, exact_var), (exact, _) = reference.batch_norm_forward(np, x.astype("float64"))
    unit = np.spacing(np.float32(offset + 1))
    np.testing.assert_allclose(nnx.to_numpy(mean), exact_mean, rtol=1e-7, atol=unit)
    np.testing.assert_allclose(nnx.to_numpy(var), exact_var, rtol=1e-5)
    np.testing.assert_allclose(nnx.to_numpy(normal), exact, rtol=1e-5, atol=1e-5)
    for rows in (on_gpu, on_gpu.T):
        normal, inverse = layer_norm.layer_norm_forward(gpu.namespace, rows)[1]
        exact, exact_inverse = reference.layer_norm_forward(np, nnx.to_numpy(rows).astype("float64"))[1]
        np.testing.assert_allclose(nnx.to_numpy(normal), exact, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(nnx.to_numpy(inverse), exact_inverse, rtol=1e-5)


def test_parts_with_means_of_their_own_are_put_together(gpu):
    rows = 30_000
    x = np.random.default_rng(0).standard_normal((rows, 4)) + np.linspace(-50, 2000, rows)[:, None]
    for dtype, precision in (("float32", 1e-6), ("float64", 1e-13)):
        data = x.astype(dtype)
        (_, mean, var), _ = batch_norm.batch_norm_forward(gpu.namespace, nnx.asarray(data, device=gpu))
        np.testing.assert_allclose(nnx.to_numpy(mean), data.astype("float64").mean(axis=0), rtol=precision)
        np.testing.assert_allclose(nnx.to_numpy(var), data.astype("float64").var(axis=0), rtol=precision)


@pytest.mark.parametrize("rows", [70, 3000])
def test_equal_values_give_zero_and_nan_stays_in_its_channel(gpu, rows):
    x = np.random.default_rng(0).standard_normal((rows, 5)).astype("float32")
    x[:, 1], x[3, 4] = 0.1, np.nan
    x[5] = 1e10  # of which no mean is exact
    given = nnx.asarray(x, device=gpu)
    (y, mean, var), _ = batch_norm.batch_norm_forward(gpu.namespace, nnx.asarray(np.delete(x, 5, axis=0), device=gpu))
    y, mean, var = map(nnx.to_numpy, (y, mean, var))
    np.testing.assert_array_equal(y[:, 1], 0)
    assert var[1] == 0
    assert np.isnan(y[:, 4]).all()
    assert np.isnan([mean[4], var[4]]).all()
    assert np.isfinite(y[:, :4]).all()
    y = nnx.to_numpy(layer_norm.layer_norm_forward(gpu.namespace, given)[0])
    assert np.isnan(y[3]).all()
    assert np.isfinite(np.delete(y, 3, axis=0)).all()


@pytest.mark.parametrize("missing", [(), ("weight",), ("bias",), ("weight", "bias")])
@pytest.mark.parametrize("shape", [(6, 40), (2, 700, 4)])
def test_without_weight_or_bias(gpu, shape, missing):
    x, g, *parameters = drawn(np.random.default_rng(1), shape, "float32", "float32")
    weight, bias = (None if n in missing else p for n, p in zip(("weight", "bias"), parameters, strict=True))
    for kind, room in (("batch_norm", batch_norm), ("layer_norm", layer_norm)):
        forward, (by_x, *_) = functions(room, kind)
        on_gpu = [None if a is None else nnx.asarray(a, device=gpu) for a in (x, weight, bias)]
        y, saved = forward(gpu.namespace, *on_gpu)
        exact, (exact_by_x, *_) = functions(reference, kind)
        expected, exact_saved = exact(np, x, weight, bias)
        y, expected = (y[0], expected[0]) if kind == "batch_norm" else (y, expected)
        np.testing.assert_allclose(nnx.to_numpy(y), expected, rtol=1e-4, atol=1e-5)
        found = by_x(gpu.namespace, nnx.asarray(g, device=gpu), saved, x.dtype, on_gpu[1])
        np.testing.assert_allclose(
            nnx.to_numpy(found), exact_by_x(np, g, exact_saved, x.dtype, weight), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("dtype", "parameters"), [("float32", "float64"), ("float64", "float32"), ("float32", "float16")]
)
def test_a_mixture_of_types_is_the_reference_s(gpu, dtype, parameters):
    x, g, weight, bias = (
        nnx.asarray(a, device=gpu) for a in drawn(np.random.default_rng(2), (6, 5), dtype, parameters)
    )
    for kind, room in (("batch_norm", batch_norm), ("layer_norm", layer_norm)):
        results = []
        for place in (room, reference):
            forward, adjoints = functions(place, kind)
            y, saved = forward(gpu.namespace, x, weight, bias)
            results.append(
                (y[0] if kind == "batch_norm" else y, *gradients(adjoints, gpu.namespace, g, saved, x.dtype, weight))
            )
        for a, b in zip(*results, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(nnx.to_numpy(a), nnx.to_numpy(b), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
@pytest.mark.parametrize("rows", [50, 3000])
def test_the_adjoints_share_one_pass_for_the_sums(gpu, monkeypatch, kind, rows):
    room = batch_norm if kind == "batch_norm" else layer_norm
    passes, both = [], _sums.both_sums
    for place in (_sums, batch_norm):
        monkeypatch.setattr(place, "both_sums", lambda *args, **options: passes.append(1) or both(*args, **options))
    hosts = drawn(np.random.default_rng(3), (rows, 6), "float32", "float32")
    x, g, weight, bias = (nnx.asarray(a, device=gpu) for a in hosts)
    forward, adjoints = functions(room, kind)
    expected = [np.asarray(a) for a in exactly(*functions(reference, kind), *hosts)[2]]
    _, saved = forward(gpu.namespace, x, weight, bias)
    for _ in range(2):  # as by a pull-back that is called again with the same gradient
        passes.clear()
        shared = gradients(adjoints, gpu.namespace, g, tuple(saved), x.dtype, weight)
        assert len(passes) == (1 if kind == "layer_norm" or rows > _columns.WHOLE else 0)
        for a, b in zip(shared, expected, strict=True):
            np.testing.assert_allclose(nnx.to_numpy(a), b, rtol=1e-4, atol=2e-4)
        shared[1][...] = 0  # a gradient belongs to whom it was given
        shared[2][...] = 0
    other = gradients(adjoints, gpu.namespace, 2 * g, saved, x.dtype, weight)
    for a, b in zip(other, expected, strict=True):
        np.testing.assert_allclose(nnx.to_numpy(a), 2 * b, rtol=1e-4, atol=4e-4)
    shape = () if kind == "batch_norm" else (weight.shape,)
    adjoints[1](gpu.namespace, g, saved, *shape, weight.dtype)  # which leaves the sum of g
    assert id(saved[0]) in _sums._kept
    del saved, other, shared
    gc.collect()
    assert not _sums._kept  # sums go with what they are of


def test_launches_and_waits_of_a_step(gpu):
    twin = pytest.importorskip("cupy.twin", reason="launches are counted on the CPU twin only")
    for kind, rows, launches in (("batch_norm", 50, 2), ("batch_norm", 3000, 6), ("layer_norm", 50, 3)):
        x, g, weight, bias = (
            nnx.asarray(a, device=gpu) for a in drawn(np.random.default_rng(4), (rows, 6), "float32", "float32")
        )
        forward, adjoints = functions(batch_norm if kind == "batch_norm" else layer_norm, kind)
        with twin.synchronisations() as waits:
            _, saved = forward(gpu.namespace, x, weight, bias)
            gradients(adjoints, gpu.namespace, g, saved, x.dtype, weight)
            assert waits == 0
        assert waits.launches == launches


def test_sums_do_not_depend_on_the_order_of_blocks(gpu, monkeypatch):
    pytest.importorskip("cupy.twin", reason="blocks run in a given order on the CPU twin only")
    x, g, weight, bias = (
        nnx.asarray(a, device=gpu) for a in drawn(np.random.default_rng(5), (2500, 40), "float32", "float32")
    )

    def results():
        found = []
        for kind, room in (("batch_norm", batch_norm), ("layer_norm", layer_norm)):
            forward, adjoints = functions(room, kind)
            y, saved = forward(gpu.namespace, x, weight, bias)
            found += [*(y if kind == "batch_norm" else (y,)), *saved]
            found += gradients(adjoints, gpu.namespace, g, saved, x.dtype, weight)
        return [nnx.to_numpy(a) for a in found]

    before = results()
    monkeypatch.setenv("CUPY_TWIN_ORDER", "reverse")
    monkeypatch.setenv("CUPY_TWIN_GUARD", "1")
    for a, b in zip(results(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rows", [50, 3000])
def test_eps_may_be_an_int(gpu, rows):
    x = nnx.asarray(np.random.default_rng(7).standard_normal((rows, 4)).astype("float32"), device=gpu)
    for kind, room in (("batch_norm", batch_norm), ("layer_norm", layer_norm)):
        forward, _ = functions(room, kind)
        _, (normal, _) = forward(gpu.namespace, x, eps=1)
        _, (same, _) = forward(gpu.namespace, x, eps=1.0)
        np.testing.assert_array_equal(nnx.to_numpy(normal), nnx.to_numpy(same))
        expected = functions(reference, kind)[0](np, nnx.to_numpy(x), eps=1)[1][0]
        np.testing.assert_allclose(nnx.to_numpy(normal), expected, rtol=1e-4, atol=1e-5)


def test_second_derivatives_go_through_the_references(gpu):
    """What is saved is a tuple to them as well."""
    x, _, weight, bias = (
        nnx.asarray(a, device=gpu) for a in drawn(np.random.default_rng(6), (7, 4), "float64", "float64")
    )
    hosts = [nnx.to_numpy(a) for a in (x, weight, bias)]

    def penalty(x, weight, bias):
        xp = nnx.namespace_of(x, weight)
        inner = nnx.grad(lambda z: nnx.namespace_of(z).sum(ops.layer_norm(z, weight, bias) ** 3))(x)
        return xp.sum(inner * inner)

    found = nnx.grad(penalty)(x, weight, bias)
    np.testing.assert_allclose(nnx.to_numpy(found), nnx.grad(penalty)(*hosts), rtol=1e-8)
