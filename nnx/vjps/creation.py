"""The functions that make arrays from none: their results are constants.

``full``, ``full_like`` and ``linspace`` may be given tracked numbers, and are linear in them. The dtype of the result
is then that of these numbers, where none is asked for. An array in the place of a number is broadcast:
the shape of ``full`` ends in its shape, that of ``linspace`` is ``(num, *shape)``.
"""

from __future__ import annotations

from operator import index
from typing import Any

from nnx._errors import DTypeError
from nnx._typing import Array, DType, Namespace, NativeDevice
from nnx.backend import is_array, is_float
from nnx.tape.namespace import Composition, carries
from nnx.vjps._rule import is_complex, raw


def _full(
    xp: Namespace,
    shape: int | tuple[int, ...],
    fill_value: Array,
    *,
    dtype: DType | None = None,
    device: NativeDevice | None = None,
) -> Array:
    value = xp.asarray(fill_value, dtype=dtype, device=device)
    y = xp.empty(shape, dtype=value.dtype, device=xp.device_of(value))
    y[...] = value
    return y


def _full_like(
    xp: Namespace, x: Array, /, fill_value: Array, *, dtype: DType | None = None, device: NativeDevice | None = None
) -> Array:
    dtype, device = (x.dtype if dtype is None else dtype), (xp.device_of(x) if device is None else device)
    return _full(xp, x.shape, fill_value, dtype=dtype, device=device)


def _linspace(
    xp: Namespace,
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: DType | None = None,
    device: NativeDevice | None = None,
    endpoint: bool = True,
) -> Array:
    """start + (stop - start) t, for t from 0 to 1."""
    num, endpoint = index(num), bool(endpoint)
    if carries((dtype, device), constant=True):
        raise DTypeError("linspace() got an array as its dtype or device")
    start, stop = (xp.asarray(end) if isinstance(end, (list, tuple)) else end for end in (start, stop))
    ends = [end for end in (start, stop) if is_array(end)]
    if not ends:  # num was a tracked constant
        return xp.linspace(start, stop, num, dtype=dtype, device=device, endpoint=endpoint)
    device = xp.device_of(ends[0]) if device is None else device
    common = xp.result_type(start, stop)
    if not is_float(raw(xp), common):
        common = xp.asarray(0.0, device=device).dtype
    start, stop = (xp.asarray(end, dtype=common, device=device) for end in (start, stop))
    like = xp.real(xp.zeros((), dtype=common, device=device)) if is_complex(xp, common) else start
    t = xp.linspace(0.0, 1.0, num, dtype=like.dtype, device=device, endpoint=endpoint)
    t = xp.reshape(t, (num,) + (1,) * max(start.ndim, stop.ndim))
    y = start * (1 - t) + stop * t
    return y if dtype is None else xp.astype(y, dtype, copy=False)


CREATION: dict[str, Composition | None] = {
    **dict.fromkeys("arange empty empty_like eye from_dlpack ones ones_like zeros zeros_like".split()),
    "full": _full,
    "full_like": _full_like,
    "linspace": _linspace,
}
