"""Page-locked host memory, from which and to which the GPU copies by itself.

What is relied on, of CuPy 14: ``alloc_pinned_memory`` answers buffers of a pool, rounded up to a power of two, and
takes them back when nobody refers to them; it does not know that a copy is under way. Hence each buffer is kept
until the event that was recorded behind its copy is done.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from nnx_cupy.memory import ALLOCATION_FAILED

CHUNK = 1 << 24
"""Bytes that are copied at once: a greater array is cut, so that the pool need not hold page-locked memory of its size,
and the host fills one buffer while the GPU reads another."""

UNDER_WAY = 1 << 30
"""Bytes of buffers whose copies have been queued and are not done. With more, the host waits for the oldest copy."""

_lock = threading.Lock()
_kept: list[tuple[Any, np.ndarray]] = []


def pinned(shape: tuple[int, ...], dtype: Any) -> np.ndarray | None:
    """A NumPy array in page-locked memory; ``None`` if the host has no more of it."""
    import cupy

    release()
    count = math.prod(shape)
    if not count:
        return np.empty(shape, dtype)
    try:
        buffer = cupy.cuda.alloc_pinned_memory(count * dtype.itemsize)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if error.status != ALLOCATION_FAILED:
            raise
        return None
    return np.frombuffer(buffer, dtype, count).reshape(shape)


def keep(event: Any, *buffers: np.ndarray) -> None:
    """Keep buffers until ``event``, which was recorded behind their copies, is done."""
    with _lock:
        _kept.extend((event, buffer) for buffer in buffers)


def release() -> None:
    """Give back the buffers whose copies are done."""
    with _lock:
        _kept[:] = [each for each in _kept if not each[0].done]
        excess = sum(buffer.nbytes for _, buffer in _kept) - UNDER_WAY
        oldest = _kept[0][0] if excess > 0 else None
    if oldest is not None:
        oldest.synchronize()
        release()


def marked(stream: Any) -> Any:
    """An event that is done when ``stream`` has done all that has been asked of it."""
    import cupy

    event = cupy.cuda.Event(disable_timing=True)
    event.record(stream)
    return event
