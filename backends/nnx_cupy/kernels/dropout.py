"""Dropout: random words, mask and product in one launch; the key and the step are read on the device."""

from __future__ import annotations

from typing import Any

from nnx._typing import Array, Kernel
from nnx.ops.dropout import drop_threshold
from nnx.ops.dropout import dropout_forward as reference_forward
from nnx.ops.dropout import dropout_x as reference_x
from nnx_cupy.kernels._arrays import whole
from nnx_cupy.kernels._map import mapped
from nnx_cupy.kernels._source import WIDE, Source, blocks_for, floating

SOURCE = Source("dropout", "map")


def dropout_forward(xp: Any, x: Array, key: Array, step: Array, *, rate: float) -> tuple[Array, Array]:
    """Answer y, and keep / (1 - rate) for the adjoint."""
    least, dtype, n = drop_threshold(rate), x.dtype, x.size
    if not floating(dtype) or key.dtype != xp.int32 or step.dtype != xp.int32:
        return reference_forward(xp, x, key, step, rate=rate)
    y, mask = xp.empty(x.shape, dtype=dtype), xp.empty(x.shape, dtype=dtype)
    if n:
        x, key = whole(xp, x), whole(xp, key)
        arguments = (x, key, step, y, mask, n, least, float(1 / (1 - rate)))
        SOURCE("dropout_forward", dtype, n >= WIDE)((blocks_for((n + 1) // 2),), (256,), arguments)
    return y, mask


def dropout_x(xp: Any, g: Array, saved: Array) -> Array:
    """One launch."""
    gradient = mapped(xp, SOURCE, "dropout_x", g, saved)
    return reference_x(xp, g, saved) if gradient is None else gradient


KERNELS: dict[str, Kernel] = {"dropout_forward": dropout_forward, "dropout_x": dropout_x}
