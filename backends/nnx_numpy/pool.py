"""Pooling, in place and without the phases of the stride, which a library without views needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import add, equal, logical_and, logical_xor, maximum, multiply

from nnx._typing import Array, Kernel
from nnx.ops._window import Windows, read
from nnx.ops.pool import pool_windows


def max_pool2d_forward(xp: Any, x: Array, *, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Array:
    """Keep the maximum in one array."""
    w = pool_windows("max_pool2d()", x.shape, kernel_size, stride, padding)
    padded = _padded(x, w)
    first, *others = w.taps()
    y = read(padded, w, first).copy()
    for tap in others:
        maximum(y, read(padded, w, tap), out=y)
    return y


def max_pool2d_x(
    xp: Any, g: Array, x: Array, y: Array, kernel_size: Any, stride: Any = None, padding: Any = 0
) -> Array:
    """Multiply G by masks, into the places of the taps.

    Departure: an infinite gradient is NaN beside the element that gets it, and the reference's is 0.
    """
    w = pool_windows("max_pool2d()", x.shape, kernel_size, stride, padding)
    padded = _padded(x, w)
    apart = w.stride == w.kernel  # each element is in one window at most
    filled = apart and all(n * s == p for n, s, p in zip(w.out, w.stride, w.padded, strict=True))
    gradient = (np.empty if filled else np.zeros)(padded.shape, g.dtype)
    *others, last = w.taps()
    free, hit, part = np.ones(y.shape, np.bool_), np.empty(y.shape, np.bool_), np.empty(y.shape, g.dtype)
    for tap in others:
        equal(read(padded, w, tap), y, out=hit)
        logical_and(hit, free, out=hit)
        logical_xor(free, hit, out=free)
        _put(read(gradient, w, tap), g, hit, None if apart else part)
    _put(read(gradient, w, last), g, free, None if apart else part)
    (top, left), (height, width) = w.before, w.size
    return gradient[:, top : top + height, left : left + width]


def _put(into: Array, g: Array, hit: Array, part: Array | None) -> None:
    if part is None:
        multiply(g, hit, out=into)
    else:
        add(into, multiply(g, hit, out=part), out=into)


def _padded(x: Array, w: Windows) -> Array:
    if not any(w.before + w.after):
        return x
    (top, left), (height, width) = w.before, w.size
    padded = np.full((x.shape[0], *w.padded, x.shape[3]), -np.inf, x.dtype)
    padded[:, top : top + height, left : left + width] = x
    return padded


KERNELS: dict[str, Kernel] = {"max_pool2d_forward": max_pool2d_forward, "max_pool2d_x": max_pool2d_x}
