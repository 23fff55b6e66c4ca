"""Functions of the standard for which array-api-compat assigns by masks, which waits for the device."""

from __future__ import annotations

import math
from typing import Any

from nnx._typing import Array


def clip(x: Array, /, min: float | Array | None = None, max: float | Array | None = None) -> Array:
    """``x``, and where it lies outside of the bounds the bound: min(max(x, lower), upper), in the dtype of ``x``."""
    import cupy

    if x.dtype.kind == "V":  # bfloat16, of which CuPy has no clip
        return clip(x.astype(cupy.float32), min, max).astype(x.dtype)
    lower, upper = _bound(x, min), _bound(x, max)
    if all(bound is None or isinstance(bound, x.dtype.type) for bound in (lower, upper)):
        if lower is None and upper is None:
            return x.copy()
        return cupy.clip(x, lower, upper)  # one pass; where the bounds are the wrong way round, the upper one
    y = x if lower is None else cupy.maximum(x, lower)
    return y if upper is None else cupy.minimum(y, upper)


def _bound(x: Array, bound: Any) -> Any:
    """A bound as a scalar or an array of the dtype of ``x``; integers have their greatest and least for one beyond."""
    import cupy

    if bound is None:
        return None
    if isinstance(bound, cupy.ndarray):
        return bound.astype(x.dtype, copy=False)
    if x.dtype.kind in "iu":
        limits = cupy.iinfo(x.dtype)
        return x.dtype.type(limits.min if bound < limits.min else limits.max if bound > limits.max else bound)
    if math.isnan(bound):
        return cupy.full((), bound, dtype=x.dtype)  # which clip passes over, and maximum does not
    return x.dtype.type(bound)


def sign(x: Array, /) -> Array:
    """-1, 0 or 1, and NaN where ``x`` is NaN; of complex numbers x / \\|x\\|."""
    import cupy

    if x.dtype.kind == "c":
        zero = x == 0
        return cupy.where(zero, x, x / cupy.where(zero, 1.0, cupy.abs(x)).astype(x.dtype))
    y = cupy.sign(x)
    return cupy.where(cupy.isnan(x), x, y) if x.dtype.kind in "fV" else y  # CuPy's sign of NaN is 0
