"""Pooling, a window at a time, in vectors of channels.

LLVM makes no vectors of comparisons over a number of channels that it does not know, so that those are written here.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from nnx._typing import Array, Kernel
from nnx.ops._window import Windows
from nnx.ops.pool import pool_windows
from nnx_numpy import pool as native
from nnx_numpy.compiled._loop import loop, served
from nnx_numpy.compiled._simd import WIDTH, Vectors, cgutils, data, intrinsic
from nnx_numpy.compiled._threads import spread

NARROW = 16
"""Bytes of vectors for fewer channels."""

PART = 1 << 18
"""Elements of x in a part: some 100 µs."""


def max_pool2d_forward(xp: Any, x: Array, *, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Array:
    """Read each window once."""
    size = _vector_of(x)
    if not size:
        return native.max_pool2d_forward(xp, x, kernel_size=kernel_size, stride=stride, padding=padding)
    w = pool_windows("max_pool2d()", x.shape, kernel_size, stride, padding)
    y = np.empty((x.shape[0], *w.out, x.shape[3]), x.dtype)
    numbers = _numbers(w)
    _spread(lambda start, stop: write_maxima(x, y, numbers, size, start, stop), x)
    return y


def max_pool2d_x(
    xp: Any, g: Array, x: Array, y: Array, kernel_size: Any, stride: Any = None, padding: Any = 0
) -> Array:
    """Read each window once, and write what it gets while its elements lie in the cache."""
    w = pool_windows("max_pool2d()", x.shape, kernel_size, stride, padding)
    size = _vector_of(x, g, y)
    if not size or not g.shape == y.shape == (x.shape[0], *w.out, x.shape[3]):
        return native.max_pool2d_x(xp, g, x, y, kernel_size, stride, padding)
    gradient = np.empty(x.shape, g.dtype)
    numbers = _numbers(w)
    _spread(lambda start, stop: write_shares(g, x, y, gradient, numbers, size, start, stop), x)
    return gradient


def _vector_of(x: Array, *others: Array) -> int:
    """Bytes of the vectors that the channels of these arrays are cut into; 0 if loops do not take them."""
    if x.ndim != 4 or not served(x.dtype, x, *others):
        return 0
    size = x.shape[3] * x.itemsize
    return 0 if not size or size % NARROW else NARROW if size % WIDTH else WIDTH


def _numbers(w: Windows) -> tuple[int, ...]:
    return *w.kernel, *w.stride, *w.before


def _spread(images: Callable[[int, int], None], x: Array) -> None:
    batch, height, width, channels = x.shape
    part = max(1, PART // (height * width * channels))
    if part >= batch:
        images(0, batch)
    else:
        spread(images, batch, part)


def _maximum(size: int) -> Any:
    @intrinsic
    def maximum(
        typing: Any, x: Any, at: Any, lines: Any, columns: Any, pitch: Any, pixel: Any, y: Any, y_at: Any
    ) -> Any:
        """y = max of x at ``at + i·pitch + j·pixel`` for i < lines, j < columns; NaN if one of these is."""

        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            vectors = Vectors(context, b, x.dtype, size)
            x_data, at, lines, columns, pitch, pixel, y_data, y_at = data(context, b, signature, args)
            top = cgutils.alloca_once_value(b, vectors.read(x_data, at))
            with cgutils.for_range(b, lines) as i, cgutils.for_range(b, columns) as j:
                new = vectors.read(x_data, b.add(at, b.add(b.mul(i.index, pitch), b.mul(j.index, pixel))))
                old = b.load(top)
                keep = b.and_(b.fcmp_unordered("<=", new, old), b.fcmp_ordered("ord", new, new))
                b.store(b.select(keep, old, new), top)
            vectors.write(b.load(top), y_data, y_at)
            return context.get_dummy_value()

        n = types.intp
        return types.void(x, n, n, n, n, n, y, n), emit

    return maximum


def _share(size: int) -> Any:
    @intrinsic
    def share(
        typing: Any,
        x: Any,
        gradient: Any,
        at: Any,
        lines: Any,
        columns: Any,
        pitch: Any,
        pixel: Any,
        y: Any,
        g: Any,
        y_at: Any,
        lost: Any,
        closed: Any,
        adds: Any,
    ) -> Any:
        """G at the first tap where x is y, 0 at the others; ``adds``: to what is there.

        ``lost``: the window has padding before its first tap, which is where -∞ is found first. ``closed``: its last
        tap is there, and gets what no other does, since y is NaN.
        """

        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            vectors = Vectors(context, b, x.dtype, size)
            x_data, into, at, lines, columns, pitch, pixel, y_data, g_data, y_at, lost, closed, adds = data(
                context, b, signature, args
            )
            zero, least = vectors.zero, vectors.full(ir.Constant(vectors.kind.element, -inf))
            y = vectors.read(y_data, y_at)
            elsewhere = b.and_(vectors.full(lost), b.fcmp_ordered("==", y, least))
            rest = cgutils.alloca_once_value(b, b.select(elsewhere, zero, vectors.read(g_data, y_at)))
            last = b.sub(b.mul(lines, columns), lines.type(1))
            with cgutils.for_range(b, lines) as i, cgutils.for_range(b, columns) as j:
                place = b.add(at, b.add(b.mul(i.index, pitch), b.mul(j.index, pixel)))
                final = b.icmp_signed("==", b.add(b.mul(i.index, columns), j.index), last)
                hit = b.fcmp_ordered("==", vectors.read(x_data, place), y)
                hit = b.or_(hit, vectors.full(b.and_(closed, final)))
                part = b.select(hit, b.load(rest), zero)
                b.store(b.select(hit, zero, b.load(rest)), rest)
                with b.if_else(adds) as (then, otherwise):
                    with then:
                        vectors.write(b.fadd(vectors.read(into, place), part), into, place)
                    with otherwise:
                        vectors.write(part, into, place)
            return context.get_dummy_value()

        n, bit = types.intp, types.boolean
        return types.void(x, gradient, n, n, n, n, n, y, g, n, bit, bit, bit), emit

    return share


maximum_wide, maximum_narrow = _maximum(WIDTH), _maximum(NARROW)
share_wide, share_narrow = _share(WIDTH), _share(NARROW)


@loop
def write_maxima(x: Array, y: Array, numbers: tuple[int, ...], size: int, start: int, stop: int) -> None:
    """The maxima of images ``start`` to ``stop``."""
    taps_down, taps_right, down, right, top, left = numbers
    height, width, channels = x.shape[1:]
    lines, columns = y.shape[1:3]
    x_flat, y_flat, pitch = x.reshape(-1), y.reshape(-1), width * channels
    lane = size // x.itemsize
    for n in range(start, stop):
        for p in range(lines):
            h = max(p * down - top, 0)
            some = min(p * down - top + taps_down, height) - h
            for q in range(columns):
                w = max(q * right - left, 0)
                few = min(q * right - left + taps_right, width) - w
                at, to = (n * height + h) * pitch + w * channels, ((n * lines + p) * columns + q) * channels
                for c in range(0, channels, lane):
                    if size == WIDTH:
                        maximum_wide(x_flat, at + c, some, few, pitch, channels, y_flat, to + c)
                    else:
                        maximum_narrow(x_flat, at + c, some, few, pitch, channels, y_flat, to + c)


@loop
def write_shares(
    g: Array, x: Array, y: Array, gradient: Array, numbers: tuple[int, ...], size: int, start: int, stop: int
) -> None:
    """The gradient by images ``start`` to ``stop``."""
    taps_down, taps_right, down, right, top, left = numbers
    height, width, channels = x.shape[1:]
    lines, columns = y.shape[1:3]
    x_flat, y_flat, g_flat, into = x.reshape(-1), y.reshape(-1), g.reshape(-1), gradient.reshape(-1)
    pitch, lane = width * channels, size // x.itemsize
    adds = down < taps_down or right < taps_right
    reach_down, reach_right = (lines - 1) * down + taps_down - top, (columns - 1) * right + taps_right - left
    gaps = adds or down > taps_down or right > taps_right or reach_down < height or reach_right < width
    for n in range(start, stop):
        if gaps:
            into[n * height * pitch : (n + 1) * height * pitch] = 0
        for p in range(lines):
            h = p * down - top
            first, some = max(h, 0), min(h + taps_down, height) - max(h, 0)
            for q in range(columns):
                w = q * right - left
                few = min(w + taps_right, width) - max(w, 0)
                at = (n * height + first) * pitch + max(w, 0) * channels
                to = ((n * lines + p) * columns + q) * channels
                lost, closed = h < 0 or w < 0, h + taps_down <= height and w + taps_right <= width
                for c in range(0, channels, lane):
                    share = (
                        x_flat,
                        into,
                        at + c,
                        some,
                        few,
                        pitch,
                        channels,
                        y_flat,
                        g_flat,
                        to + c,
                        lost,
                        closed,
                        adds,
                    )
                    if size == WIDTH:
                        share_wide(*share)
                    else:
                        share_narrow(*share)


KERNELS: dict[str, Kernel] = {"max_pool2d_forward": max_pool2d_forward, "max_pool2d_x": max_pool2d_x}
