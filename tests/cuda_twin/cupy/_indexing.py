"""Indexing. CuPy's integer arrays wrap round where NumPy's raise; masks wait for the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from cupy import _state
from cupy._array import ndarray
from cupy._operate import change, operate


def get(x: ndarray, key: Any) -> ndarray:
    key, advanced = prepare(x, key)
    if not any(part is Ellipsis for part in key):
        key = (*key, ...)  # then an element is a view, too
    if not advanced:  # a view, for which nothing is launched: any device may be current
        current, _state.local.device = _state.local.device, x._device
        try:
            return operate(lambda host, *key: host[key], x, *key)
        finally:
            _state.local.device = current
    return operate(lambda host, *key: host[wrapped(host, key)].copy(), x, *key)


def set(x: ndarray, key: Any, value: Any) -> None:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    key, advanced = prepare(x, key)
    if isinstance(value, np.ndarray | list | tuple):
        if not advanced:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        value = _cupy().array(value, dtype=x.dtype)
    if isinstance(value, ndarray):
        while value.ndim > x.ndim and value.shape[0] == 1:
            value = value[0]
    elif not isinstance(value, bool | int | float | complex | np.generic):
        raise TypeError(f"Unsupported type {type(value)}")
    change(_assign, x, value, *key)


def _assign(host: np.ndarray, value: Any, *key: Any) -> None:
    if not isinstance(value, np.ndarray | np.generic):  # out-of-range Python numbers are cast as C does
        value = np.asarray(value).astype(host.dtype)
    elif value.dtype.kind == "c" and host.dtype.kind != "c":
        raise TypeError(f"Cannot cast array data from {value.dtype} to {host.dtype}")
    host[wrapped(host, key)] = value


def prepare(x: ndarray, key: Any) -> tuple[tuple[Any, ...], bool]:
    """The parts of an index, with arrays on the device; whether there are arrays."""
    parts, advanced = [], False
    for part in key if isinstance(key, tuple) else (key,):
        if part is None or part is Ellipsis or isinstance(part, slice):
            parts.append(_plain(part) if isinstance(part, slice) else part)
            continue
        if not isinstance(part, ndarray):
            if np.isscalar(part) and not isinstance(part, bool | np.bool_):
                if isinstance(part, float | complex | str):
                    raise IndexError("only integers, slices, ellipsis, newaxis and arrays are valid indices")
                parts.append(int(part))
                continue
            if not isinstance(part, bool | np.bool_ | list | tuple | np.ndarray):
                raise IndexError(
                    "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean "
                    "arrays are valid indices"
                )
            empty = isinstance(part, list | tuple) and not len(part)
            part = _cupy().array(part, dtype=np.int32 if empty else None)
        if part.dtype.kind not in "biu":
            raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})")
        if part.dtype.kind == "b":
            _state.synchronise("an index that is a mask")
        parts.append(part)
        advanced = True
    return tuple(parts), advanced


def _plain(part: slice) -> slice:
    """A bound that is an array is read, as CuPy does it."""
    bounds = (part.start, part.stop, part.step)
    return slice(*(int(bound) if isinstance(bound, ndarray) else bound for bound in bounds))


def wrapped(host: np.ndarray, key: tuple[Any, ...]) -> Any:
    """Integer arrays modulo the length of their axis, as CuPy's kernels take them."""
    masks = [k for k in key if isinstance(k, np.ndarray) and k.dtype == np.dtype(bool)]
    taken = sum(k is not None and k is not Ellipsis for k in key) + sum(mask.ndim - 1 for mask in masks)
    axis, parts = 0, []
    for part in key:
        if part is Ellipsis:
            axis += host.ndim - taken
        elif isinstance(part, np.ndarray) and part.dtype != bool:
            if axis < host.ndim and host.shape[axis]:
                part = part.astype(np.int64) % host.shape[axis]
            axis += 1
        elif part is not None:
            axis += part.ndim if isinstance(part, np.ndarray) else 1
        parts.append(part)
    return tuple(parts)


def _cupy() -> Any:
    import cupy

    return cupy
