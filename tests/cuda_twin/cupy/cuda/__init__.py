"""``cupy.cuda``."""

from __future__ import annotations

from cupy._memory import (
    Memory,
    MemoryPointer,
    MemoryPool,
    get_allocator,
    set_allocator,
    using_allocator,
)
from cupy._stream import Event, ExternalStream, Graph, Stream, get_current_stream, get_elapsed_time
from cupy.cuda import device, graph, memory, pinned_memory, runtime, stream
from cupy.cuda.device import Device, get_device_id
from cupy.cuda.pinned_memory import PinnedMemoryPointer, PinnedMemoryPool, alloc_pinned_memory

__all__ = [
    "Device",
    "Event",
    "ExternalStream",
    "Graph",
    "Memory",
    "MemoryPointer",
    "MemoryPool",
    "PinnedMemoryPointer",
    "PinnedMemoryPool",
    "Stream",
    "alloc",
    "alloc_pinned_memory",
    "device",
    "get_allocator",
    "get_current_stream",
    "get_device_id",
    "get_elapsed_time",
    "graph",
    "is_available",
    "memory",
    "pinned_memory",
    "runtime",
    "set_allocator",
    "stream",
    "using_allocator",
]


def is_available() -> bool:
    """``cupy.cuda.is_available``."""
    return runtime.getDeviceCount() > 0


def alloc(size: int) -> MemoryPointer:
    """``cupy.cuda.alloc``."""
    return get_allocator()(size)


def get_local_runtime_version() -> int:
    """``cupy.cuda.get_local_runtime_version``."""
    return runtime.runtimeGetVersion()
