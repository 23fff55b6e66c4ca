"""The stand-in for ``cupyx``: pinned arrays, and what nnx might call of the rest."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from cupy import _state, cuda


def empty_pinned(shape: Any, dtype: Any = float, order: str = "C") -> np.ndarray:
    """``cupyx.empty_pinned``."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    memory = cuda.alloc_pinned_memory(count * dtype.itemsize)
    return np.frombuffer(memory, dtype, count).reshape(shape, order=order)


def zeros_pinned(shape: Any, dtype: Any = float, order: str = "C") -> np.ndarray:
    """``cupyx.zeros_pinned``."""
    made = empty_pinned(shape, dtype, order)
    made[...] = 0
    return made


def empty_like_pinned(a: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> np.ndarray:
    """``cupyx.empty_like_pinned``."""
    return empty_pinned(a.shape if shape is None else shape, a.dtype if dtype is None else dtype)


def zeros_like_pinned(a: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> np.ndarray:
    """``cupyx.zeros_like_pinned``."""
    return zeros_pinned(a.shape if shape is None else shape, a.dtype if dtype is None else dtype)


class DeviceSynchronized(RuntimeError):
    """``cupyx.DeviceSynchronized``."""


@contextlib.contextmanager
def allow_synchronize(allow: bool) -> Any:
    """``cupyx.allow_synchronize``."""

    def refuse(what: str) -> None:
        raise DeviceSynchronized("Device synchronization was detected: " + what)

    if allow:
        yield
        return
    _state.local.listeners.append(refuse)
    try:
        yield
    finally:
        _state.local.listeners.remove(refuse)
