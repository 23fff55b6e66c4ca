"""Convolution straight from the images, on several threads; the loops are in ``_conv_loops``.

Shapes alone decide how the work is cut, and the parts of a sum are added in order: results do not depend on threads.
What would leave vectors or tiles mostly empty goes to the NumPy kernel, which multiplies matrices.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from nnx._typing import Array, Kernel
from nnx.ops._window import Windows
from nnx.ops.conv import conv_windows
from nnx_numpy import conv as native
from nnx_numpy.compiled._conv_loops import forward_lines, weight_parts, x_lines, x_runs
from nnx_numpy.compiled._loop import loop, served
from nnx_numpy.compiled._packing import pack
from nnx_numpy.compiled._simd import lanes
from nnx_numpy.compiled._threads import spread
from nnx_numpy.compiled._tiles import VECTORS

PART = 5_000_000
"""Products of a call of a loop, at least: some 50 µs."""

TINY = 4096
"""Products so few that calls take longer."""

LARGE = 1 << 16
"""Numbers of a weight that it takes longer to pack than to multiply with a few windows."""

CALLS = 32
"""Calls that a convolution is cut into, at most; a quarter of that by the weight, where each has a sum of its own."""

BAND = 256
"""Windows whose products with G are added in registers."""

COPIED = 1024
"""Windows for which lines of images with padding are copied at once."""

GROUP = 64 * BAND
"""Windows of a part: so that no sum has many terms one after another, which would cost precision."""


def conv2d_forward(
    xp: Any,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    """Sums over the taps begin with the bias, and end in y."""
    w = conv_windows(x.shape, weight.shape, stride, padding, dilation)
    (batch, *_), dtype, outputs = x.shape, x.dtype, weight.shape[3]
    products = batch * prod(w.out) * weight.size
    few = batch * prod(w.out) < 32 and weight.size > LARGE
    poor = products > TINY and (outputs < lanes(dtype) // 4 or w.out[1] < 3 or few)
    if poor or not products or not served(dtype, x, weight, bias) or (bias is not None and bias.shape != (outputs,)):
        return native.conv2d_forward(xp, x, weight, bias, stride=stride, padding=padding, dilation=dilation)
    plan = _plan(w, weight.shape[2], lanes(dtype))
    y = np.empty((batch, *w.out, outputs), dtype)
    panels = _packed(weight)
    start = np.zeros(panels.shape[0] * panels.shape[2], dtype)
    if bias is not None:
        start[:outputs] = bias

    def lines(first: int, stop: int) -> None:
        forward_lines(x, panels, start, y, plan.segments, plan.run, plan.forward, first, stop)

    _spread(lines, batch * w.out[0], products)
    return y


def conv2d_x(
    xp: Any,
    g: Array,
    weight: Array,
    x_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    """For each line of x and column of taps, products of lines of G are added where they were read."""
    w = conv_windows(x_shape, weight.shape, stride, padding, dilation)
    (down, right, channels, outputs), dtype = weight.shape, g.dtype
    lane, products = lanes(dtype), prod(g.shape[:3]) * weight.size
    few = w.dilation[1] == 1 and -(-right * channels // lane) < right * -(-channels // lane)
    poor = products > TINY and (outputs == 1 or w.out[1] == 1 or (channels < lane // 4 and not few))
    if poor or not products or not served(dtype, g, weight) or g.shape != (x_shape[0], *w.out, outputs):
        return native.conv2d_x(xp, g, weight, x_shape, stride, padding, dilation)
    gradient = np.empty(x_shape, dtype)
    if few:  # a line of taps has fewer vectors than its taps have
        matrix = np.ascontiguousarray(weight.transpose(0, 3, 1, 2))
        panels = _packed(matrix.reshape(down, 1, outputs, right * channels))
        zeros = np.zeros(VECTORS * lane, dtype)
        geometry = *w.before, *w.stride, w.dilation[0], 1, down, w.padded[1]

        def lines(first: int, stop: int) -> None:
            x_runs(g, panels, zeros, gradient, right * channels, geometry, first, stop)

    else:
        panels = np.empty((-(-channels // lane), down * right * outputs, lane), dtype)
        _pack_across(weight, panels)
        geometry = *w.before, *w.stride, *w.dilation, *w.kernel

        def lines(first: int, stop: int) -> None:
            x_lines(g, panels, gradient, geometry, first, stop)

    _spread(lines, x_shape[0] * x_shape[1], products)
    return gradient


def conv2d_weight(
    xp: Any,
    g: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    """Sums over the windows of parts of the batch, for some outputs each."""
    w = conv_windows(x.shape, weight_shape, stride, padding, dilation)
    rows, outputs, dtype = prod(weight_shape[:3]), weight_shape[3], g.dtype
    products = prod(g.shape) * rows
    poor = products > TINY and (outputs < lanes(dtype) // 4 or rows < 4)
    if poor or not products or not served(dtype, g, x) or g.shape != (x.shape[0], *w.out, outputs):
        return native.conv2d_weight(xp, g, x, weight_shape, stride, padding, dilation)
    plan = _plan(w, weight_shape[2], lanes(dtype))
    vectors = -(-outputs // lanes(dtype))
    pairs = -(-vectors // VECTORS)
    calls = max(1, min(CALLS // 4, products // PART))
    parts = max(1, calls // pairs, prod(g.shape[:3]) // GROUP)
    totals = np.zeros((parts, rows, vectors * lanes(dtype)), dtype)

    def units(first: int, stop: int) -> None:
        weight_parts(x, g, totals, plan.taps, plan.run, plan.weight, first, stop)

    spread(units, pairs * parts, -(-pairs * parts // calls))
    columns = totals[:, :, :outputs]  # beyond them there is anything
    total = columns[0] if parts == 1 else columns.sum(axis=0)
    return np.ascontiguousarray(total).reshape(weight_shape)


class Plan(NamedTuple):
    """Where a window reads, in numbers from its first on: a run of them for each line of taps, or for each tap.

    Attributes:
        taps: where the runs begin.
        run: how long they are.
        segments: where they begin, and where the part of the packed weight begins that they are multiplied with.
        forward, weight: padding before, stride, lines that a window spans, padded width, lines taken at once.
    """

    taps: Array
    run: int
    segments: Array
    forward: tuple[int, ...]
    weight: tuple[int, ...]


@functools.lru_cache(maxsize=256)
def _plan(w: Windows, channels: int, lane: int) -> Plan:
    (down, right), (dilation_down, dilation_right), width = w.kernel, w.dilation, w.padded[1]
    joined = dilation_right == 1  # the taps of a line lie side by side
    run = right * channels if joined else channels
    places = [(i * dilation_down, j * dilation_right) for i in range(down) for j in range(1 if joined else right)]
    taps = [(i * width + j) * channels for i, j in places]
    packed = [r * run * lane for r in range(len(taps))]
    geometry = *w.before, *w.stride, (down - 1) * dilation_down + 1, width
    band, copied = (max(1, windows // w.out[1]) for windows in (BAND, COPIED))
    return Plan(
        np.asarray(taps, np.int64),
        run,
        np.asarray([taps, packed], np.int64),
        (*geometry, min(copied, w.out[0])),
        (*geometry, band),
    )


def _packed(weight: Array) -> Array:
    """The last axis in vectors: (vectors, rows, lanes)."""
    rows, columns, lane = prod(weight.shape[:3]), weight.shape[3], lanes(weight.dtype)
    panels = np.empty((-(-columns // lane), rows, lane), weight.dtype)
    pack(weight.reshape(rows, columns), 0, panels)
    return panels


@loop
def _pack_across(weight: Array, panels: Array) -> None:
    """For each column of taps a matrix of (lines of taps and outputs, channels), whose columns are packed."""
    down, right, channels, outputs = weight.shape
    vectors, _, lane = panels.shape
    for v in range(vectors):
        width = min(lane, channels - v * lane)
        for j in range(right):
            for i in range(down):
                source, row = weight[i, j, v * lane : v * lane + width], (j * down + i) * outputs
                into = panels[v, row : row + outputs]
                for o in range(outputs):
                    for k in range(width):
                        into[o, k] = source[k, o]


def _spread(lines: Callable[[int, int], None], count: int, products: int) -> None:
    """Do so many lines, of so many products altogether."""
    part = max(-(-count * PART // products), -(-count // CALLS))
    if part >= count:
        lines(0, count)
    else:
        spread(lines, count, part)


KERNELS: dict[str, Kernel] = {
    "conv2d_forward": conv2d_forward,
    "conv2d_weight": conv2d_weight,
    "conv2d_x": conv2d_x,
}
