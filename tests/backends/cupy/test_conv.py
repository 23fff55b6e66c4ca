"""Convolution on CUDA: geometry and types against torch on the CPU, tiles, and how many launches there are."""

from __future__ import annotations

import contextlib
from math import prod
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import nnx
from nnx.ops.conv import conv_windows
from nnx_cupy.kernels import conv

ml_dtypes = pytest.importorskip("ml_dtypes")

LOW = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def normal(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def arrays_of(size, kernel, batch, inputs, outputs, options, dtype=np.float64):
    """x, the weight, the bias and G."""
    x, weight = normal(batch, *size, inputs, dtype=dtype), normal(*kernel, inputs, outputs, dtype=dtype, seed=1)
    out = conv_windows(x.shape, weight.shape, *given_numbers(options)).out
    return x, weight, normal(outputs, dtype=dtype, seed=2), normal(batch, *out, outputs, dtype=dtype, seed=3)


def given_numbers(options):
    return [options.get(name, default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))]


def by_torch(x, weight, bias, g, options):
    """y, and the gradients by x and by the weight, in float64."""
    torch = pytest.importorskip("torch")
    w = conv_windows(x.shape, weight.shape, *given_numbers(options))
    around = [n for pair in zip(w.before[::-1], w.after[::-1], strict=True) for n in pair]
    x, weight, bias, g = (torch.tensor(a.astype(np.float64), requires_grad=True) for a in (x, weight, bias, g))
    y = torch.nn.functional.conv2d(
        torch.nn.functional.pad(x.permute(0, 3, 1, 2), around),
        weight.permute(3, 2, 0, 1).contiguous(),
        bias,
        stride=w.stride,
        dilation=w.dilation,
    ).permute(0, 2, 3, 1)
    y.backward(g)
    return y.detach().numpy(), x.grad.numpy(), weight.grad.numpy()


def by_kernels(gpu, x, weight, bias, g, options):
    """The same of the kernels, in the arrays' dtype."""
    xp, numbers, shapes = gpu.namespace, given_numbers(options), (x.shape, weight.shape)
    x, weight, bias, g = map(gpu.from_host, (x, weight, bias, g))
    y = conv.conv2d_forward(xp, x, weight, bias, **options)
    results = y, conv.conv2d_x(xp, g, weight, shapes[0], *numbers), conv.conv2d_weight(xp, g, x, shapes[1], *numbers)
    assert all(result.dtype == x.dtype for result in results)
    return [nnx.to_numpy(result) for result in results]


@contextlib.contextmanager
def changed(**constants):
    """Bounds of the kernels' file, for the length of a block."""
    with contextlib.ExitStack() as stack:
        for name, value in constants.items():
            stack.enter_context(mock.patch.object(conv, name, value))
        yield


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
ends = st.tuples(st.integers(0, 4), st.integers(0, 4))


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=pairs,
    batch=st.integers(1, 4),
    channels=st.sampled_from([(1, 1), (2, 3), (4, 1), (3, 4), (8, 2)]),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.one_of(st.tuples(ends, ends), st.sampled_from(["same", "valid", 1])),
    dilation=pairs,
    tile=st.sampled_from([1, 700, 4000, conv.TILE]),
    wide=st.booleans(),
)
@example((9, 5), (3, 1), 2, (2, 3), (2, 1), ((3, 0), (0, 2)), (2, 1), 500, True)
@example((1, 1), (1, 1), 1, (1, 1), (4, 4), ((3, 3), (3, 3)), (1, 1), 1, False)
@example((1, 1), (1, 1), 1, (1, 1), (1, 1), 1, (1, 1), conv.TILE, False)  # windows that read nothing but padding
def test_any_geometry_in_tiles_of_any_size(gpu, size, kernel, batch, channels, stride, padding, dilation, tile, wide):
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    with contextlib.suppress(nnx.ShapeError):
        hosts = arrays_of(size, kernel, batch, *channels, options)
    assume("hosts" in locals())
    with changed(TILE=tile, WIDE=0 if wide else conv.WIDE):
        found = by_kernels(gpu, *hosts, options)
    for a, b in zip(found, by_torch(*hosts, options), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("low", LOW)
@pytest.mark.parametrize("tile", [2000, conv.TILE])
def test_low_types_are_added_up_in_float32(gpu, low, tile):
    options = {"padding": 1, "stride": (1, 2)}
    hosts = arrays_of((20, 12), (3, 3), 6, 8, 16, options, LOW[low])
    with changed(TILE=tile):
        found = by_kernels(gpu, *hosts, options)
    eps = float(ml_dtypes.finfo(LOW[low]).eps)
    for a, b in zip(found, by_torch(*hosts, options), strict=True):
        scale = np.sqrt(np.mean(b**2))
        assert np.abs(a.astype(np.float64) - b).max() < 4 * eps * max(scale, np.abs(b).max())


@pytest.mark.parametrize("size", [(4, 4), (17, 5)])
def test_a_tile_has_no_more_than_its_bytes(size):
    w = conv_windows((3, *size, 2), (3, 2, 2, 1), 1, 1, 1)
    line = prod(w.kernel) * 2 * 8
    for most in (1, 3 * w.out[1], 2 * prod(w.out)):
        with changed(TILE=most * line):
            parts = conv._parts(w, 3, line)
        reach = 3 * w.out[1]  # a line of x is read by as many lines of windows as the kernel has lines
        assert max(part.rows for part in parts) <= max(most, reach)
        assert sum(part.rows for part in parts) >= 3 * prod(w.out)


def test_arrays_of_two_dtypes_are_left_to_the_reference(gpu):
    x, weight, bias, g = arrays_of((4, 4), (2, 2), 2, 3, 2, {})
    y = conv.conv2d_forward(gpu.namespace, gpu.from_host(x), gpu.from_host(weight.astype(np.float32)))
    expected, *_ = by_torch(x, weight.astype(np.float32), 0 * bias, g, {})
    np.testing.assert_allclose(nnx.to_numpy(y), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "kernel", "options", "launches"),
    [
        ((28, 28), (3, 3), {"padding": 1}, (3, 2, 2)),
        ((14, 14), (3, 3), {"padding": "same"}, (3, 2, 2)),
        ((7, 7), (1, 1), {}, (2, 1, 1)),  # no copies
        ((7, 7), (7, 7), {}, (2, 1, 1)),
        ((7, 7), (1, 1), {"stride": 2}, (3, 2, 2)),
    ],
)
def test_the_launches_are_few_and_never_wait(gpu, size, kernel, options, launches):
    twin = pytest.importorskip("cupy.twin")
    x, weight, bias, g = map(gpu.from_host, arrays_of(size, kernel, 4, 4, 8, options, np.float32))
    numbers, xp = given_numbers(options), gpu.namespace
    calls = (
        lambda: conv.conv2d_forward(xp, x, weight, bias, **options),
        lambda: conv.conv2d_x(xp, g, weight, x.shape, *numbers),
        lambda: conv.conv2d_weight(xp, g, x, weight.shape, *numbers),
    )
    for call, expected in zip(calls, launches, strict=True):
        with twin.synchronisations() as count:
            call()
        assert (count.launches, len(count)) == (expected, 0)


@pytest.mark.parametrize("tile", [900, conv.TILE])
def test_a_captured_convolution_computes_the_same(gpu, tile):
    graph, options = pytest.importorskip("nnx_cupy.graph"), {"padding": 1, "stride": 2}
    hosts, others = (arrays_of((6, 9), (3, 2), batch, 2, 3, options) for batch in (4, 4))
    others = [a[::-1].copy() for a in others]
    xp, numbers = gpu.namespace, given_numbers(options)

    def step(arrays):
        x, weight, bias, g = arrays
        y = conv.conv2d_forward(xp, x, weight, bias, **options)
        return y, conv.conv2d_x(xp, g, weight, x.shape, *numbers), conv.conv2d_weight(xp, g, x, weight.shape, *numbers)

    with changed(TILE=tile):
        arrays, inputs = [[gpu.from_host(a) for a in each] for each in (hosts, others)]
        step(arrays)
        captured = graph.Graph(step, arrays, range(4))(inputs)
        for a, b in zip(captured, step(inputs), strict=True):
            np.testing.assert_array_equal(nnx.to_numpy(a), nnx.to_numpy(b))
