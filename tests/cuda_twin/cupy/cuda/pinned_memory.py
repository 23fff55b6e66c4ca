"""``cupy.cuda.pinned_memory``: memory of the host that copies do not wait for."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from cupy import _transfers

_ranges: dict[int, int] = {}
"""Where pinned memory lies: start and end."""


class PinnedMemoryPointer:
    """``cupy.cuda.PinnedMemoryPointer``: has the buffer protocol, through ``_bytes``."""

    def __init__(self, size: int) -> None:
        self._bytes = np.full(size, 0x5A, np.uint8)
        self.ptr = self._bytes.ctypes.data
        _ranges[self.ptr] = self.ptr + size
        weakref.finalize(self._bytes, _given_back, self.ptr)

    def __int__(self) -> int:
        return self.ptr

    def size(self) -> int:
        return self._bytes.size


def _given_back(start: int) -> None:
    _transfers.freed(start, _ranges.pop(start))


class PinnedBuffer(np.ndarray):
    """What ``alloc_pinned_memory`` answers: bytes, which ``numpy.frombuffer`` takes."""

    mem: Any
    ptr: int


def alloc_pinned_memory(size: int) -> Any:
    """``cupy.cuda.alloc_pinned_memory``."""
    size = max(512, 1 << (size - 1).bit_length()) if size else 512
    pointer = PinnedMemoryPointer(size)
    buffer = pointer._bytes.view(PinnedBuffer)
    buffer.mem, buffer.ptr = pointer, pointer.ptr
    return buffer


def is_pinned(host: Any) -> bool:
    """Whether all of a NumPy array lies in pinned memory."""
    if not isinstance(host, np.ndarray) or not host.flags.forc:
        return False
    start = host.ctypes.data
    return any(low <= start and start + host.nbytes <= high for low, high in _ranges.copy().items())


class PinnedMemoryPool:
    """``cupy.cuda.PinnedMemoryPool``."""

    def __init__(self, allocator: Any = None) -> None:
        pass

    def malloc(self, size: int) -> Any:
        return alloc_pinned_memory(size)

    def free_all_blocks(self) -> None:
        """Nothing is kept."""

    def n_free_blocks(self) -> int:
        return 0


default_pool = PinnedMemoryPool()
