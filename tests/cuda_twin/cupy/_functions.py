"""The functions of ``cupy`` that differ from NumPy's, or wait for the device at times."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from cupy import _state
from cupy._array import ndarray
from cupy._creation import array
from cupy._operate import change, operate
from cupy._ufunc import BFLOAT16
from cupy._wrap import into, narrow_like, widened


def _index(x: Any) -> ndarray | int:
    if isinstance(x, ndarray | int | np.integer):
        return x
    return array(x, dtype=int)


def take(a: ndarray, indices: Any, axis: int | None = None, out: ndarray | None = None) -> ndarray:
    result = operate(lambda x, i: np.take(x, i, axis=axis, mode="wrap"), a, _index(indices))
    if out is None:
        return result
    into(out, result)
    return out


def take_along_axis(a: ndarray, indices: ndarray, axis: int | None) -> ndarray:
    if indices.dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    return operate(
        lambda x, i: np.take_along_axis(
            x, i.astype(np.int64) % max(1, x.size if axis is None else x.shape[axis]), axis
        ),
        a,
        indices,
    )


def put(a: ndarray, ind: Any, v: Any, mode: str = "wrap") -> None:
    change(lambda x, i, v: np.put(x, i, v, mode), a, _index(ind), v)


def put_along_axis(arr: ndarray, indices: ndarray, values: Any, axis: int | None) -> None:
    change(lambda x, i, v: np.put_along_axis(x, i, v, axis), arr, indices, values)


def copyto(dst: ndarray, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    if not isinstance(dst, ndarray):
        raise TypeError(f"Unsupported type {type(dst)}")
    mask = True if where is None else where
    change(lambda x, y, mask: np.copyto(x, y, casting=casting, where=mask), dst, src, mask)


def putmask(a: ndarray, mask: ndarray, values: Any) -> None:
    change(lambda x, m, v: np.putmask(x, m, v), a, mask, values)


def fill_diagonal(a: ndarray, val: Any, wrap: bool = False) -> None:
    change(lambda x, v: np.fill_diagonal(x, v, wrap), a, val)


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        _state.synchronise("cupy.where(condition)")
        return operate(np.nonzero, condition)
    types = [getattr(z, "dtype", None) or z for z in (x, y)]
    dtype = np.result_type(*types)
    return operate(lambda c, x, y: np.where(c.astype(bool), _cast(x, dtype), _cast(y, dtype)), condition, x, y)


def _cast(x: Any, dtype: Any) -> Any:
    return np.asarray(x).astype(dtype, copy=False)


def repeat(a: ndarray, repeats: Any, axis: int | None = None) -> ndarray:
    if isinstance(repeats, ndarray):
        _state.synchronise("cupy.repeat with an array of counts")
    return operate(lambda x, n: np.repeat(x, n, axis), a, repeats)


def average(
    a: ndarray, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    if weights is not None:
        _state.synchronise("cupy.average with weights")
    return operate(lambda x, w: np.average(x, axis, w, returned, keepdims=keepdims), a, weights)


def concatenate(tup: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> ndarray:
    _small_copies(tup)
    if not tup:
        raise ValueError("Cannot concatenate from empty tuple")
    result = operate(lambda *x: np.concatenate(x, axis, dtype=dtype, casting=casting), *tup)
    if out is None:
        return result
    into(out, result)
    return out


def stack(tup: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> ndarray:
    _small_copies(tup)
    result = operate(lambda *x: np.stack(x, axis, dtype=dtype, casting=casting), *tup)
    if out is None:
        return result
    into(out, result)
    return out


def _small_copies(arrays: Any) -> None:
    """More than 8 small arrays of a dtype are copied by one kernel, whose table of addresses comes from the host."""
    for x in arrays:
        if not isinstance(x, ndarray):
            raise TypeError("Only cupy arrays can be concatenated")
    small = sum(x.nbytes for x in arrays) < 2 * 1024 * 1024 * len(arrays)
    if len(arrays) > 8 and small and len({x.dtype for x in arrays}) == 1:
        _state.forbid("a concatenation of more than 8 arrays, which copies a table of addresses from the host")


def sort(a: ndarray, axis: int | None = -1, kind: Any = None) -> ndarray:
    _sortable(a, kind, "sort")
    return operate(lambda x: np.sort(x, axis, kind="stable"), a)


def argsort(a: ndarray, axis: int | None = -1, kind: Any = None) -> ndarray:
    _sortable(a, kind, "argsort")
    return operate(lambda x: np.argsort(x, axis, kind="stable"), a)


def _sortable(a: ndarray, kind: Any, name: str) -> None:
    if kind not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")
    if a.dtype == BFLOAT16:
        raise TypeError(f"cupy.{name} does not support bfloat16")


def searchsorted(a: ndarray, v: Any, side: str = "left", sorter: Any = None) -> ndarray:
    if not isinstance(a, ndarray) or not isinstance(v, ndarray):
        raise NotImplementedError("Only int or ndarray are supported for a and v")
    return operate(lambda a, v, s: np.searchsorted(a, v, side, s), a, v, sorter)


def clip(a: Any, a_min: Any, a_max: Any, out: Any = None) -> ndarray:
    if a_min is None and a_max is None:
        raise ValueError("array_clip: must set either max or min")
    result = operate(lambda x, low, high: _clipped(x, low, high), a, a_min, a_max)
    if out is None:
        return result
    into(out, result)
    return out


def _clipped(x: Any, low: Any, high: Any) -> Any:
    return narrow_like(np.clip(*widened((x, low, high))), (x, low, high))


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    if num > 1 and (isinstance(start, ndarray) or isinstance(stop, ndarray)):
        _state.synchronise("cupy.linspace between arrays, which asks whether they are equal")
    return operate(lambda a, b: np.linspace(a, b, int(num), endpoint, retstep, dtype, axis), start, stop)


def broadcast_arrays(*args: Any) -> list[ndarray]:
    shape = np.broadcast_shapes(*(x.shape for x in args))
    return [operate(lambda x: np.broadcast_to(x, shape), x) for x in args]


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> ndarray:
    return operate(lambda a, b: np.asarray(np.array_equal(a, b, equal_nan)), a1, a2)


def array_equiv(a1: Any, a2: Any) -> ndarray:
    return operate(lambda a, b: np.asarray(np.array_equiv(a, b)), a1, a2)


def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> ndarray:
    return operate(lambda a, b: np.asarray(np.allclose(a, b, rtol, atol, equal_nan)), a, b)


def get_array_module(*args: Any) -> Any:
    import cupy

    return cupy if any(isinstance(x, ndarray) for x in args) else np


def is_available() -> bool:
    return _state.DEVICES > 0


def memoize(for_each_device: bool = False) -> Callable[..., Any]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        by_device: dict[Any, Any] = {}

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            key = (_state.local.device if for_each_device else None, args)
            if key not in by_device:
                by_device[key] = function(*args)
            return by_device[key]

        return call

    return decorate


concat = concatenate
