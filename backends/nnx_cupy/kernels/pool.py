"""Pooling, a launch each. The adjoints gather, so that nothing is set to zero before, and sums have an order."""

from __future__ import annotations

from typing import Any

from nnx._typing import Array, Kernel
from nnx.ops import pool as reference
from nnx.ops._window import Windows
from nnx.ops.pool import pool_windows
from nnx_cupy.kernels._arrays import alike, numbers, vector, whole
from nnx_cupy.kernels._source import THREADS, WIDE, Source, blocks_for

SOURCE = Source("pool", "vectors", "windows")


def max_pool2d_forward(xp: Any, x: Array, *, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Array:
    """Each thread reads a window, in some channels."""
    w = pool_windows("max_pool2d()", x.shape, kernel_size, stride, padding)
    if not alike(x):
        return reference.max_pool2d_forward(xp, x, kernel_size=kernel_size, stride=stride, padding=padding)
    return _launch(xp, "max_pool", w, w.out, x)


def max_pool2d_x(
    xp: Any, g: Array, x: Array, y: Array, kernel_size: Any, stride: Any = None, padding: Any = 0
) -> Array:
    """Each element asks the windows that it lies in whether it is the first that is y."""
    w = pool_windows("max_pool2d()", x.shape, kernel_size, stride, padding)
    if not alike(g, x, y) or not g.shape == y.shape == (x.shape[0], *w.out, x.shape[3]):
        return reference.max_pool2d_x(xp, g, x, y, kernel_size, stride, padding)
    return _launch(xp, "max_pool_x", w, w.size, g, x, y)


def avg_pool2d_forward(
    xp: Any,
    x: Array,
    *,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    count_include_pad: bool = True,
) -> Array:
    """Each thread reads a window, in some channels."""
    w = pool_windows("avg_pool2d()", x.shape, kernel_size, stride, padding)
    if not alike(x):
        return reference.avg_pool2d_forward(
            xp, x, kernel_size=kernel_size, stride=stride, padding=padding, count_include_pad=count_include_pad
        )
    return _launch(xp, "avg_pool", w, w.out, x, options=(bool(count_include_pad),))


def avg_pool2d_x(
    xp: Any,
    g: Array,
    x_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    count_include_pad: bool = True,
) -> Array:
    """Each element collects the shares of the windows that it lies in."""
    w = pool_windows("avg_pool2d()", x_shape, kernel_size, stride, padding)
    if not alike(g) or g.shape != (x_shape[0], *w.out, x_shape[3]):
        return reference.avg_pool2d_x(xp, g, x_shape, kernel_size, stride, padding, count_include_pad)
    return _launch(xp, "avg_pool_x", w, w.size, g, options=(bool(count_include_pad),))


def _launch(
    xp: Any, kernel: str, w: Windows, size: tuple[int, ...], *arrays: Array, options: tuple[bool, ...] = ()
) -> Array:
    """What a kernel makes of arrays of one dtype; ``size`` is the height and width of the result."""
    batch, *_, channels = arrays[0].shape
    dtype = arrays[0].dtype
    result = xp.empty((batch, *size, channels), dtype=dtype)
    if not result.size:
        return result
    arrays = tuple(whole(xp, array) for array in arrays)
    side = vector(channels, *arrays, result)
    wide = max(result.size, *(array.size for array in arrays)) >= WIDE
    count = result.size // side
    found = SOURCE(kernel, dtype, wide, VECTOR=side)
    found((blocks_for(count),), (THREADS,), (*arrays, result, count, *options, *numbers(w, channels // side)))
    return result


KERNELS: dict[str, Kernel] = {
    "avg_pool2d_forward": avg_pool2d_forward,
    "avg_pool2d_x": avg_pool2d_x,
    "max_pool2d_forward": max_pool2d_forward,
    "max_pool2d_x": max_pool2d_x,
}
