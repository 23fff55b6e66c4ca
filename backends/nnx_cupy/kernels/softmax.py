"""Softmax and its logarithm, each row read once. Along another axis than the last, copies that have it last."""

from __future__ import annotations

from typing import Any

from nnx._typing import Array, Kernel
from nnx.ops.softmax import log_softmax_forward as any_log_softmax
from nnx.ops.softmax import log_softmax_x as any_log_softmax_x
from nnx.ops.softmax import softmax_forward as any_softmax
from nnx.ops.softmax import softmax_x as any_softmax_x
from nnx_cupy.kernels._arrays import whole
from nnx_cupy.kernels._rows import cut
from nnx_cupy.kernels._source import Source, floating

SOURCE = Source("softmax", "teams")


def softmax_forward(xp: Any, x: Array, *, axis: int = -1) -> Array:
    """One launch."""
    if not x.size or not x.ndim or not floating(x.dtype):
        return any_softmax(xp, x, axis=axis)
    return _along(xp, axis, "softmax", False, x)


def softmax_x(xp: Any, g: Array, y: Array, axis: int = -1) -> Array:
    """One launch."""
    if not _served(g, y):
        return any_softmax_x(xp, g, y, axis)
    return _along(xp, axis, "softmax_adjoint", False, g, y)


def log_softmax_forward(xp: Any, x: Array, *, axis: int = -1) -> Array:
    """One launch."""
    if not x.size or not x.ndim or not floating(x.dtype):
        return any_log_softmax(xp, x, axis=axis)
    return _along(xp, axis, "softmax", True, x)


def log_softmax_x(xp: Any, g: Array, y: Array, axis: int = -1) -> Array:
    """One launch."""
    if not _served(g, y):
        return any_log_softmax_x(xp, g, y, axis)
    return _along(xp, axis, "softmax_adjoint", True, g, y)


def _served(g: Array, y: Array) -> bool:
    return bool(g.size and g.ndim) and g.dtype == y.dtype and g.shape == y.shape and floating(g.dtype)


def _along(xp: Any, axis: int, kernel: str, logarithm: bool, *arrays: Array) -> Array:
    """The result of a kernel on the rows of arrays of one shape and dtype."""
    last = axis in (-1, arrays[0].ndim - 1)
    if not last:
        arrays = tuple(xp.moveaxis(a, axis, -1) for a in arrays)
    shape, dtype = arrays[0].shape, arrays[0].dtype
    columns = shape[-1]
    rows = arrays[0].size // columns
    result = xp.empty(shape, dtype=dtype)
    arguments = (*(whole(xp, a) for a in arrays), result, rows, columns, logarithm)
    cut(rows, columns).launch(SOURCE, kernel, dtype, *arguments)
    return result if last else xp.moveaxis(result, -1, axis)


KERNELS: dict[str, Kernel] = {
    "log_softmax_forward": log_softmax_forward,
    "log_softmax_x": log_softmax_x,
    "softmax_forward": softmax_forward,
    "softmax_x": softmax_x,
}
