"""Arrays from numbers, from the host and from nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cupy import _state
from cupy._array import ndarray
from cupy._operate import change, fresh_array, operate
from cupy._transfers import Incoming
from cupy._ufunc import BFLOAT16


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    from cupy.cuda.pinned_memory import is_pinned

    if isinstance(obj, ndarray):
        if obj._device != _state.local.device:
            obj = obj.copy()
        made = obj if dtype is None or obj.dtype == np.dtype(dtype) else obj.astype(dtype)
        if copy and made is obj:
            made = operate(lambda x: x.copy(order), obj)
        elif order in ("C", "F"):
            made = operate(lambda x: np.asarray(x, order=order), made)
        return made if made.ndim >= ndmin else made.reshape((1,) * (ndmin - made.ndim) + made.shape)
    if isinstance(obj, list | tuple) and any(isinstance(x, ndarray) for x in _flat(obj)):
        return operate(lambda *x: np.array(x if len(x) else [], dtype=dtype, ndmin=ndmin), *obj)
    host = np.array(obj, dtype=dtype, order=order, ndmin=ndmin)
    if host.dtype.kind not in "biufc" and host.dtype != BFLOAT16:
        raise ValueError(f"Unsupported dtype {host.dtype}")
    if host.ndim and not is_pinned(obj):  # a number goes along as an argument of a kernel
        _state.forbid("a copy from pageable memory of the host")
    if host.ndim and blocking:
        _state.synchronise("cupy.array(blocking=True)")
    if _state.capture() is None:
        if host.ndim and is_pinned(obj):
            _state.stream()._transfers.append(Incoming(obj, keep=obj))
        return fresh_array(host)
    made = ndarray(host.shape, host.dtype)
    source = obj if host.ndim else host
    change(lambda x: np.copyto(x, source, casting="unsafe"), made)
    return made


def _flat(tree: Any) -> Any:
    for x in tree:
        if isinstance(x, list | tuple):
            yield from _flat(x)
        else:
            yield x


def asarray(
    a: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None, blocking: bool = False
) -> ndarray:
    if copy is False and not (isinstance(a, ndarray) and (dtype is None or a.dtype == np.dtype(dtype))):
        raise ValueError("Unable to avoid copy while creating an array as requested.")
    return array(a, dtype, bool(copy), order or "K", blocking=blocking)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    return operate(lambda x: np.ascontiguousarray(x, dtype), asarray(a))


def asfortranarray(a: Any, dtype: Any = None) -> ndarray:
    return operate(lambda x: np.asfortranarray(x, dtype), asarray(a))


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> Any:
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a, order=order)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, float if dtype is None else dtype, order=order)


def _filled(shape: Any, value: Any, dtype: Any, order: str) -> ndarray:
    made = ndarray(shape, dtype, order=order)
    change(lambda x: x.fill(value), made)
    return made


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return _filled(shape, 0, float if dtype is None else dtype, order)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return _filled(shape, 1, float if dtype is None else dtype, order)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    if isinstance(fill_value, np.ndarray) and fill_value.ndim:
        raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
    made = ndarray(shape, np.asarray(getattr(fill_value, "_host", fill_value)).dtype if dtype is None else dtype)
    if isinstance(fill_value, ndarray):
        made[...] = fill_value
    else:
        made.fill(fill_value)
    return made


def _like(make: Callable[..., ndarray]) -> Callable[..., ndarray]:
    def like(a: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
        if not isinstance(a, ndarray):
            raise TypeError(f"Unsupported type {type(a)}")
        # The twin's are contiguous, where CuPy's have the order of `a`
        return make(a.shape if shape is None else shape, a.dtype if dtype is None else dtype)

    return like


empty_like, zeros_like, ones_like = _like(empty), _like(zeros), _like(ones)


def full_like(
    a: ndarray, fill_value: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    return full(a.shape if shape is None else shape, fill_value, a.dtype if dtype is None else dtype)


def from_dlpack(array: Any, *, device: Any = None, copy: Any = None) -> ndarray:
    if isinstance(array, ndarray):
        return array
    raise TypeError(
        "CPU arrays cannot be directly imported to CuPy. Use `cupy.array(numpy.from_dlpack(input))` instead."
    )


def diag(v: Any, k: int = 0) -> ndarray:
    return operate(lambda x: np.diag(x, k), v if isinstance(v, ndarray) else array(v))


asanyarray = asarray
