"""Pooling on CUDA: windows of any kind against the reference and torch, ties, NaN and infinities, low types."""

from __future__ import annotations

from unittest import mock

import array_api_compat.numpy as host_xp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import nnx
from nnx.ops import pool as reference
from nnx.ops.pool import pool_windows
from nnx_cupy.kernels import pool

ml_dtypes = pytest.importorskip("ml_dtypes")

LOW = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
ends = st.tuples(st.integers(0, 2), st.integers(0, 2))


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.sampled_from([1, 2, 3, 4, 8]),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.one_of(st.none(), st.tuples(st.integers(1, 5), st.integers(1, 5))),
    padding=st.one_of(st.tuples(ends, ends), st.sampled_from(["same", "valid"])),
    inside=st.booleans(),
    wide=st.booleans(),
    strange=st.sampled_from([None, np.nan, -np.inf, np.inf]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_windows(gpu, size, channels, kernel, stride, padding, inside, wide, strange, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (2, *size, channels)).astype(np.float64)  # so that there are ties
    if strange is not None:
        x[rng.random(x.shape) < 0.5] = strange
    try:
        w = pool_windows("pool", x.shape, kernel, stride, padding)
    except (nnx.ShapeError, nnx.ArgumentError):
        assume(False)
    g, options = rng.standard_normal((2, *w.out, channels)), (kernel, stride, padding)
    named = {"kernel_size": kernel, "stride": stride, "padding": padding}
    y = reference.max_pool2d_forward(host_xp, x, **named)
    finite = np.where(np.isfinite(x), x, 0.0)
    expected = [
        y,
        reference.max_pool2d_x(host_xp, g, x, y, *options),
        reference.avg_pool2d_forward(host_xp, finite, **named, count_include_pad=not inside),
        reference.avg_pool2d_x(host_xp, g, x.shape, *options, not inside),
    ]
    shape, xp = x.shape, gpu.namespace
    x, y, g, finite = map(gpu.from_host, (x, y, g, finite))
    with mock.patch.object(pool, "WIDE", 0 if wide else pool.WIDE):
        found = [
            pool.max_pool2d_forward(xp, x, **named),
            pool.max_pool2d_x(xp, g, x, y, *options),
            pool.avg_pool2d_forward(xp, finite, **named, count_include_pad=not inside),
            pool.avg_pool2d_x(xp, g, shape, *options, not inside),
        ]
    for a, b in zip(map(nnx.to_numpy, found), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_values_and_gradients_are_those_of_torch(gpu, kind, kernel, stride, padding):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).integers(-2, 3, (2, 9, 8, 4)).astype(np.float64)
    tensor = torch.tensor(x, requires_grad=True)
    pooled = getattr(torch.nn.functional, f"{kind}_pool2d")(tensor.permute(0, 3, 1, 2), kernel, stride, padding)
    y = pooled.permute(0, 2, 3, 1)
    g = np.random.default_rng(1).standard_normal(tuple(y.shape))
    y.backward(torch.tensor(g))

    xp, named = gpu.namespace, {"kernel_size": kernel, "stride": stride, "padding": padding}
    x, g = gpu.from_host(x), gpu.from_host(g)
    found = getattr(pool, f"{kind}_pool2d_forward")(xp, x, **named)
    saved = (x, found) if kind == "max" else (x.shape,)
    gradient = getattr(pool, f"{kind}_pool2d_x")(xp, g, *saved, kernel, stride, padding)
    np.testing.assert_allclose(nnx.to_numpy(found), y.detach().numpy(), rtol=1e-14)
    np.testing.assert_allclose(nnx.to_numpy(gradient), tensor.grad.numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("low", LOW)
@pytest.mark.parametrize("channels", [3, 4, 8])
def test_low_types(gpu, low, channels):
    rng, xp, given_numbers = np.random.default_rng(0), gpu.namespace, (3, 2, 1)
    x = rng.standard_normal((2, 7, 8, channels)).astype(LOW[low])
    named = dict(zip(("kernel_size", "stride", "padding"), given_numbers, strict=True))
    y = pool.max_pool2d_forward(xp, gpu.from_host(x), **named)
    wide = x.astype(np.float64)
    expected = reference.max_pool2d_forward(host_xp, wide, **named)
    np.testing.assert_array_equal(nnx.to_numpy(y).astype(np.float64), expected)

    g = rng.standard_normal(y.shape).astype(LOW[low])
    found = [
        pool.max_pool2d_x(xp, gpu.from_host(g), gpu.from_host(x), y, *given_numbers),
        pool.avg_pool2d_forward(xp, gpu.from_host(x), **named),
        pool.avg_pool2d_x(xp, gpu.from_host(g), x.shape, *given_numbers),
    ]
    exact = [
        reference.max_pool2d_x(host_xp, g.astype(np.float64), wide, expected, *given_numbers),
        reference.avg_pool2d_forward(host_xp, wide, **named),
        reference.avg_pool2d_x(host_xp, g.astype(np.float64), x.shape, *given_numbers),
    ]
    eps = float(ml_dtypes.finfo(LOW[low]).eps)
    for a, b in zip(found, exact, strict=True):  # rounded once, at the end
        assert a.dtype == LOW[low]
        np.testing.assert_allclose(nnx.to_numpy(a).astype(np.float64), b, rtol=0.51 * eps, atol=1e-6)


def test_one_launch_each_and_no_wait(gpu):
    twin = pytest.importorskip("cupy.twin")
    xp, x = gpu.namespace, gpu.from_host(np.ones((4, 28, 28, 16), np.float32))
    y = pool.max_pool2d_forward(xp, x, kernel_size=2)
    for call in (
        lambda: pool.max_pool2d_forward(xp, x, kernel_size=2),
        lambda: pool.max_pool2d_x(xp, y, x, y, 2),
        lambda: pool.avg_pool2d_forward(xp, x, kernel_size=2, padding=1, count_include_pad=False),
        lambda: pool.avg_pool2d_x(xp, y, x.shape, 2),
    ):
        with twin.synchronisations() as count:
            call()
        assert (count.launches, len(count)) == (1, 0)
