"""Activations beyond the cases of tests/ops/test_kernels.py: low types, odd addresses, extremes; and dropout."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import nnx
from nnx.ops.dropout import dropout_forward as reference_dropout
from nnx_cupy.kernels import _map, dropout
from nnx_cupy.kernels.activation import KERNELS

ml_dtypes = pytest.importorskip("ml_dtypes")

relu_forward, sigmoid_forward = KERNELS["relu_forward"], KERNELS["sigmoid_forward"]
RNG = np.random.default_rng(0)
DTYPES = [np.dtype(ml_dtypes.bfloat16), *map(np.dtype, ("float16", "float32", "float64"))]
SIZES = [0, 1, 7, 8, 9, 1000, 70_001]  # of elements, of runs and of neither


def references():
    """By name, the functions that the kernels replace."""
    for op in (value for value in vars(nnx.ops).values() if hasattr(value, "reference")):
        yield op.reference.__name__, op.reference
        yield from ((adjoint.name, adjoint.formula) for adjoint in op.rule.derivatives.values())


REFERENCES = dict(references())
VALUES = {
    "sigmoid_x": (0, 1),
    "tanh_x": (-1, 1),
    "relu_x": (0, 3),
    "relu6_x": (0, 6),
    "softplus_x": (0, 3),
    "log_sigmoid_x": (-3, 0),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_values(gpu, name, dtype):
    """Each is the function of float64 numbers, rounded: what is computed with has more digits than what is stored."""
    import array_api_compat.numpy as xp

    parameters = inspect.signature(KERNELS[name]).parameters
    count = 2 if "g" in parameters else 1
    for size in SIZES:
        hosts = [(3 * RNG.standard_normal(size)).astype(dtype) for _ in range(count)]
        if name in VALUES:  # adjoints that ask for y in place of x
            hosts[1] = RNG.uniform(*VALUES[name], size).astype(dtype)
        found = KERNELS[name](gpu.namespace, *(nnx.asarray(h, device=gpu) for h in hosts))
        expected = REFERENCES[name](xp, *(h.astype("float64") for h in hosts))
        eps = float(ml_dtypes.finfo(dtype).eps)
        assert nnx.to_numpy(found).dtype == dtype
        np.testing.assert_allclose(nnx.to_numpy(found).astype("float64"), expected, rtol=16 * eps, atol=16 * eps)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("start", [1, 2, 4])
def test_parts_of_arrays(gpu, dtype, start):
    """What begins amid an array lies at no multiple of 16 bytes."""
    x = RNG.standard_normal(100).astype(dtype)
    part = nnx.asarray(x, device=gpu)[start:]
    np.testing.assert_array_equal(nnx.to_numpy(relu_forward(gpu.namespace, part)), np.maximum(x[start:], 0))


def test_strides(gpu):
    x = nnx.asarray(RNG.standard_normal((6, 8, 10)), device=gpu)
    for part in (x[::2], x[..., ::-1], x.T, x[:, 3], x[:, None], gpu.namespace.broadcast_to(x[:1], (4, 8, 10))):
        host = nnx.to_numpy(part)
        np.testing.assert_array_equal(nnx.to_numpy(relu_forward(gpu.namespace, part)), np.maximum(host, 0))


@pytest.mark.parametrize("name", [name for name in KERNELS if name.endswith("_forward")])
def test_a_nan_stays_one(gpu, name):
    x = nnx.asarray(np.asarray([np.nan, 1.0], "float32"), device=gpu)
    assert np.isnan(nnx.to_numpy(KERNELS[name](gpu.namespace, x))).tolist() == [True, False]


def test_far_ends_of_the_sigmoid(gpu):
    x = np.asarray([-np.inf, -1e30, -80, 80, 1e30, np.inf], "float32")
    found = nnx.to_numpy(sigmoid_forward(gpu.namespace, nnx.asarray(x, device=gpu)))
    np.testing.assert_allclose(found, [0, 0, np.exp(-80.0), 1, 1, 1], rtol=1e-6)


def test_wide_indices(gpu, monkeypatch):
    monkeypatch.setattr(_map, "WIDE", 1)
    x = RNG.standard_normal(1001).astype("float32")
    np.testing.assert_array_equal(
        nnx.to_numpy(relu_forward(gpu.namespace, nnx.asarray(x, device=gpu))), np.maximum(x, 0)
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wide", [False, True])
def test_dropout_masks_are_those_of_the_host(gpu, dtype, size, wide, monkeypatch):
    import array_api_compat.numpy as xp

    if wide:
        monkeypatch.setattr(dropout, "WIDE", 0)
    for rate, step in [(0.0, 0), (0.1, -5), (0.5, 2**31 - 1), (0.99, 3)]:
        key = RNG.integers(-(2**31), 2**31, 2, dtype=np.int32)
        x = (1 + RNG.random(size + 1)).astype(dtype)
        ones, count = np.ones(size, "float64"), np.asarray([step], "int32")
        kept = reference_dropout(xp, ones, key, count, rate=rate)[1] > 0
        for start in (0, 1):  # where pairs of elements lie evenly, and where they do not
            part = nnx.asarray(x, device=gpu)[start : start + size]
            y, mask = dropout.dropout_forward(
                gpu.namespace, part, *(nnx.asarray(a, device=gpu) for a in (key, count)), rate=rate
            )
            factor = (kept / (1 - rate)).astype(dtype)
            np.testing.assert_array_equal(nnx.to_numpy(mask), factor)
            np.testing.assert_array_equal(nnx.to_numpy(y), x[start : start + size] * factor)


def test_wrong_arguments_raise_as_those_of_the_reference_do(gpu):
    x = nnx.asarray(np.ones(3, "float32"), device=gpu)
    with pytest.raises(TypeError, match="slope"):
        nnx.ops.elu(x, slope=2.0)
    with pytest.raises(TypeError, match="alpha"):
        nnx.ops.relu(x, alpha=2.0)
    with pytest.raises(nnx.ArgumentError, match="alpha of celu"):
        nnx.ops.celu(x, alpha=0.0)
    with pytest.raises(nnx.ArgumentError, match="low of hard_tanh"):
        nnx.ops.hard_tanh(x, low=1.0, high=1.0)


def test_mixed_dtypes_are_left_to_the_reference(gpu):
    g, x = (nnx.asarray(np.ones(3, dtype), device=gpu) for dtype in ("float64", "float32"))
    assert KERNELS["tanh_x"](gpu.namespace, g, x).dtype == gpu.namespace.float64
