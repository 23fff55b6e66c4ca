"""Functions that array-api-compat has for CuPy too, and that must not wait for the device."""

from __future__ import annotations

import numpy as np
import pytest

import nnx

NAN, INF = float("nan"), float("inf")
FLOATS = np.array([-INF, -3.5, -1.0, -0.0, 0.0, 0.25, 2.0, INF, NAN], np.float32)


@pytest.fixture
def xp(gpu):
    with gpu:
        yield gpu.namespace


@pytest.fixture
def waits():
    import cupy

    if not hasattr(cupy, "twin"):
        pytest.skip("a GPU does not count")
    return cupy.twin.synchronisations


@pytest.mark.parametrize(
    "bounds", [(-1.0, 1.0), (None, 0.5), (0.5, None), (None, None), (2.0, -2.0), (NAN, 1.0), (0, 1)]
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_clip_of_floats(gpu, xp, bounds, dtype):
    import array_api_compat.numpy as np_

    host = FLOATS.astype(dtype)
    found = nnx.to_numpy(xp.clip(nnx.asarray(host, device=gpu), *bounds))
    assert found.dtype == host.dtype
    np.testing.assert_array_equal(found, np_.clip(host, *bounds))


@pytest.mark.parametrize("bounds", [(-2, 3), (0, 1000), (-1000, 0), (None, 2), (5, 1), (0.0, 2.7)])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
def test_clip_of_integers(gpu, xp, bounds, dtype):
    host = np.array([-100, -2, 0, 1, 2, 3, 100]).astype(dtype)
    found = nnx.to_numpy(xp.clip(nnx.asarray(host, device=gpu), *bounds))
    low, high = bounds
    expected = host.astype(int)
    expected = expected if low is None else np.maximum(expected, int(low))
    expected = np.minimum(expected, int(high))
    assert found.dtype == host.dtype
    np.testing.assert_array_equal(found, np.clip(expected, np.iinfo(dtype).min, np.iinfo(dtype).max))


def test_clip_between_arrays(gpu, xp):
    low, high = FLOATS[:, None] - 1, np.array([0.0, 1.0, NAN])
    x, a, b = (nnx.asarray(each, device=gpu) for each in (FLOATS[:, None], low, high))
    found = xp.clip(x, a, max=b)
    assert found.dtype == xp.float32
    np.testing.assert_array_equal(nnx.to_numpy(found), np.minimum(np.maximum(FLOATS[:, None], low), high))
    np.testing.assert_array_equal(nnx.to_numpy(xp.clip(x, min=a)), np.maximum(FLOATS[:, None], low))


def test_bfloat16(gpu, xp):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    host = FLOATS.astype(ml_dtypes.bfloat16)
    found = xp.clip(nnx.asarray(host, device=gpu), -1.0, 1.0)
    assert found.dtype == host.dtype
    np.testing.assert_array_equal(nnx.to_numpy(found).astype("float32"), np.clip(FLOATS, -1, 1))


def test_sign(gpu, xp):
    np.testing.assert_array_equal(nnx.to_numpy(xp.sign(nnx.asarray(FLOATS, device=gpu))), np.sign(FLOATS))
    integers = np.array([-3, 0, 5], np.int32)
    np.testing.assert_array_equal(nnx.to_numpy(xp.sign(nnx.asarray(integers, device=gpu))), np.sign(integers))
    numbers = np.array([3 + 4j, 0, -2j, 5], np.complex64)
    found = xp.sign(nnx.asarray(numbers, device=gpu))
    assert found.dtype == xp.complex64
    np.testing.assert_allclose(nnx.to_numpy(found), [0.6 + 0.8j, 0, -1j, 1], rtol=1e-6)


def test_nothing_waits(gpu, xp, waits):
    x = nnx.asarray(FLOATS, device=gpu)
    with waits() as found:
        xp.clip(x, -1.0, 1.0)
        xp.clip(x, x, None)
        xp.sign(x)
    assert len(found) == 0, found
