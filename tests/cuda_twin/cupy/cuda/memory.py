"""``cupy.cuda.memory``."""

from __future__ import annotations

from cupy._errors import CUDARuntimeError, OutOfMemoryError
from cupy._memory import Memory, MemoryPointer, MemoryPool, get_allocator, set_allocator

__all__ = [
    "CUDARuntimeError",
    "Memory",
    "MemoryPointer",
    "MemoryPool",
    "OutOfMemoryError",
    "alloc",
    "get_allocator",
    "set_allocator",
]


def alloc(size: int) -> MemoryPointer:
    """``cupy.cuda.memory.alloc``."""
    return get_allocator()(size)
