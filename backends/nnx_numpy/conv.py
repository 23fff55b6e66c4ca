"""Convolution as matrix products of tiles that stay in the cache.

What the windows of a few images read is copied into a matrix, a window a row (im2col; Chellapilla, Puri
and Simard, "High performance convolutional neural networks for document processing", 2006), and
multiplied while it lies in the cache. The adjoint by x is the same product for each phase of the stride.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nnx._typing import Array, Kernel
from nnx.ops._window import Windows
from nnx.ops.conv import conv_windows

TILE = 512 * 1024
"""Bytes of a tile's matrix, unless one row of windows has more."""


class Axis(NamedTuple):
    """Windows along an axis: window q reads at start + q·stride + i·step of the padded axis, for i below taps."""

    before: int
    after: int
    start: int
    stride: int
    step: int
    taps: int
    out: int


Axes = tuple[Axis, Axis]


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
    """Multiply tiles, and add the bias while they lie in the cache."""
    axes = _forward_axes(conv_windows(x.shape, weight.shape, stride, padding, dilation))
    dtype = np.result_type(*(a for a in (x, weight, bias) if a is not None))
    y = np.empty((x.shape[0], axes[0].out, axes[1].out, weight.shape[3]), dtype)
    _multiply(x.astype(dtype, copy=False), axes, weight.astype(dtype, copy=False), bias, y)
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
    """Elements of x in one phase of the stride are read by the same taps: for each phase, a convolution of G."""
    w = conv_windows(x_shape, weight.shape, stride, padding, dilation)
    dtype = np.result_type(g, weight)
    g, weight = g.astype(dtype, copy=False), weight.astype(dtype, copy=False)
    gradient = np.empty(x_shape, dtype)
    for (i, rows, row_taps), (j, columns, column_taps) in product(*_phases(w)):
        into = gradient[:, i :: w.stride[0], j :: w.stride[1]]
        if rows.taps and columns.taps:
            part = weight[row_taps, column_taps].transpose(0, 1, 3, 2)
            _multiply(g, (rows, columns), part, None, into)
        else:
            into[...] = 0
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
    """Add the products of tiles with their part of G."""
    axes = _forward_axes(conv_windows(x.shape, weight_shape, stride, padding, dilation))
    dtype = np.result_type(g, x)
    total = np.zeros((prod(weight_shape[:3]), weight_shape[3]), np.float32 if dtype.char == "e" else dtype)
    term = np.empty(total.shape, dtype)
    for part, tile in _tiles(x.astype(dtype, copy=False), axes):
        rows = g[part].reshape(len(tile), g.shape[3]).astype(dtype, copy=False)
        total += np.dot(tile.T, rows, out=term)
    return total.reshape(weight_shape).astype(dtype, copy=False)


@functools.lru_cache(maxsize=256)
def _forward_axes(w: Windows) -> Axes:
    rows, columns = (
        Axis(before, after, 0, s, d, k, out)
        for before, after, s, d, k, out in zip(w.before, w.after, w.stride, w.dilation, w.kernel, w.out, strict=True)
    )
    return rows, columns


@functools.lru_cache(maxsize=256)
def _phases(w: Windows) -> tuple[tuple[tuple[int, Axis, slice], ...], ...]:
    """For each axis, the phases: their first element of x, the windows over G, and the taps of the weight.

    Element h of x is read at p = before + h of the padded axis, by window q at tap i where
    p = q·stride + i·dilation. With p = m·stride + r that is q = m - (i·dilation - r) / stride, for the
    taps with i·dilation ≡ r; they are evenly spaced, and taken backwards so that q ascends.
    """
    return tuple(
        tuple(_phase(before, kernel, s, d, out, size, h) for h in range(min(s, size)))
        for before, kernel, s, d, out, size in zip(w.before, w.kernel, w.stride, w.dilation, w.out, w.size, strict=True)
    )


def _phase(before: int, kernel: int, s: int, d: int, out: int, size: int, h: int) -> tuple[int, Axis, slice]:
    m, r = divmod(before + h, s)
    taps = [i for i in range(kernel) if i * d % s == r]
    count = -(-(size - h) // s)
    if not taps:
        return h, Axis(0, 0, 0, 1, 1, 0, count), slice(0, 0)
    back = [(i * d - r) // s for i in taps]
    first, last = m - back[-1], m + count - 1 - back[0]  # windows that are read first and last
    step = back[1] - back[0] if len(back) > 1 else 1
    left, right = max(0, -first), max(0, last - out + 1)
    stop = taps[0] - 1 if taps[0] else None
    chosen = slice(taps[-1], stop, -(taps[1] - taps[0]) if len(taps) > 1 else -1)
    return h, Axis(left, right, first + left, 1, step, len(taps), count), chosen


def _multiply(x: Array, axes: Axes, weight: Array, bias: Array | None, out: Array) -> None:
    """Write the convolution of ``x`` into ``out``, which may have gaps."""
    matrix = weight.reshape(prod(weight.shape[:3]), weight.shape[3])
    line = None if bias is None else np.tile(bias, axes[1].out)  # additions to short rows cost a call each
    for part, tile in _tiles(x, axes):
        into = out[part]
        direct = into.flags.c_contiguous
        y = np.dot(tile, matrix, out=into.reshape(len(tile), matrix.shape[1]) if direct else None)
        if line is not None:
            lines = y.reshape(prod(into.shape[:2]), len(line))
            np.add(lines, line, out=lines)
        if not direct:
            into[...] = y.reshape(into.shape)


def _tiles(x: Array, axes: Axes) -> Iterator[tuple[tuple[slice, slice], Array]]:
    """The batches and rows of each tile, and what their windows read, a window a row."""
    (rows, columns), (n, height, width, channels) = axes, x.shape
    size = rows.taps * columns.taps * channels
    line = columns.out * size  # elements of a row of windows
    most = TILE // x.itemsize
    images = max(1, min(n, most // max(1, rows.out * line)))
    lines = max(1, min(rows.out, most // max(1, images * line)))
    matrix = np.empty(images * lines * line, x.dtype)
    # a copy is quick where long pieces are contiguous in both: along the channels, or for few along the windows
    upright = columns.taps * channels * 2 < columns.out
    source, inner = x, None
    if rows.before or rows.after or columns.before or columns.after:  # padded a few images at a time
        shape = images, rows.before + height + rows.after, columns.before + width + columns.after, channels
        source = np.zeros(shape, x.dtype)
        inner = source[:, rows.before : rows.before + height, columns.before : columns.before + width]
    view = _view(source, axes, upright)
    for a in range(0, n, images):
        b = min(a + images, n)
        if inner is not None:
            inner[: b - a] = x[a:b]
        first, stop = (a, b) if inner is None else (0, b - a)
        for r in range(0, rows.out, lines):
            end = min(r + lines, rows.out)
            count = (b - a) * (end - r) * columns.out
            read = view[:, :, :, first:stop, r:end] if upright else view[first:stop, r:end]
            tile = matrix[: count * size]
            np.copyto(tile.reshape(read.shape), read)
            yield (slice(a, b), slice(r, end)), (tile.reshape(size, count).T if upright else tile.reshape(count, size))


def _view(x: Array, axes: Axes, upright: bool) -> Array:
    """What the windows read, without a copy: (batch, out, out, taps, taps, channels), or the last three first."""
    (rows, columns), (n, _, _, channels) = axes, x.shape
    x = x[:, rows.start :, columns.start :]
    one, down, right, deep = x.strides
    windows = (n, rows.out, columns.out), (one, down * rows.stride, right * columns.stride)
    taps = (rows.taps, columns.taps, channels), (down * rows.step, right * columns.step, deep)
    parts = (taps, windows) if upright else (windows, taps)
    return as_strided(x, parts[0][0] + parts[1][0], parts[0][1] + parts[1][1], writeable=False)


KERNELS: dict[str, Kernel] = {
    "conv2d_forward": conv2d_forward,
    "conv2d_weight": conv2d_weight,
    "conv2d_x": conv2d_x,
}
