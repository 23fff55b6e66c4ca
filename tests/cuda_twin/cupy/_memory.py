"""Device memory: blocks, the arrays' leases of them, and pools whose memory is used again as CuPy's is.

Memory of the default pool is NumPy's own, and only counted. A pool of one's own keeps what is given back and hands it
out again, last in first out, so that a captured step that is launched after its memory went to somebody else computes
wrong numbers here too. What a pool has given up is marked as gone, and a graph that uses it raises.
"""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np

from cupy import _state
from cupy._errors import CUDARuntimeError, OutOfMemoryError

_lock = threading.RLock()
used = [0] * _state.DEVICES
"""Bytes in use on each device."""


class Block:
    """A piece of device memory; ``root`` is the NumPy array that owns it."""

    __slots__ = ("__weakref__", "device", "pool", "root", "size", "state", "stream")

    def __init__(self, root: np.ndarray, size: int, device: int, pool: MemoryPool | None) -> None:
        self.root, self.size, self.device = root, size, device
        self.pool = None if pool is None else weakref.ref(pool)
        self.state = "live"
        self.stream = _state.stream().ptr

    @property
    def usable(self) -> bool:
        """Whether a graph that was captured with this memory may still touch it."""
        return self.state == "live" or (self.state == "free" and self.pool is not None and self.pool() is not None)

    def give_back(self) -> None:
        pool = None if self.pool is None else self.pool()
        with _lock:
            if pool is None:
                self.give_up()
            else:
                self.state = "free"
                pool._free.setdefault((self.device, self.stream, self.size), []).append(self)

    def give_up(self) -> None:
        if self.state != "gone":
            self.state = "gone"
            used[self.device] -= self.size


class Lease:
    """What all the arrays over a block hold; the block is given back when the last of them is gone."""

    __slots__ = ("__weakref__", "block")

    def __init__(self, block: Block) -> None:
        self.block = block

    def __del__(self) -> None:
        self.block.give_back()


def rounded(size: int) -> int:
    """CuPy's pools hand out multiples of 512 bytes."""
    return -(-size // 512) * 512


def charge(size: int, limit: int = 0, held: int = 0) -> None:
    """Count ``size`` bytes on the current device, or raise as CuPy does where they are not to be had."""
    device = _state.local.device
    with _lock:
        for attempt in range(2):
            if used[device] + size <= _state.MEMORY and (not limit or held + size <= limit):
                used[device] += size
                return
            if attempt == 0:
                gc.collect()
        raise OutOfMemoryError(size, used[device], limit)


def adopt(host: np.ndarray) -> Lease:
    """The lease of what NumPy has just allocated, as memory of the default pool."""
    size = rounded(host.nbytes)
    limit, held = default_pool._limit, used[_state.local.device]
    charge(size, limit, held)
    return Lease(Block(root_of(host), size, _state.local.device, None))


def allocate(shape: tuple[int, ...], dtype: np.dtype, order: str = "C") -> tuple[np.ndarray, Lease]:
    """Memory of the current allocator, filled with garbage."""
    pool = current_pool()
    if pool is None:
        size = rounded(int(np.prod(shape, dtype=object)) * dtype.itemsize)
        charge(size, default_pool._limit, used[_state.local.device])
        host = np.empty(shape, dtype, order)
        lease = Lease(Block(host, size, _state.local.device, None))
    else:
        pointer = pool.malloc(int(np.prod(shape, dtype=object)) * dtype.itemsize)
        host = pointer.mem.view(shape, dtype, order)
        lease = pointer.mem.lease
    spoil(host)
    return host, lease


def spoil(host: np.ndarray) -> None:
    """Fill with what nobody can take for a result."""
    kind = host.dtype.kind
    if kind in "fcV" and host.dtype.names is None:
        host[...] = np.array(np.nan, host.dtype)
    elif kind == "b":
        host[...] = True
    else:
        host[...] = np.frombuffer(b"\x5a" * host.dtype.itemsize, host.dtype)[0]


def root_of(host: np.ndarray) -> np.ndarray:
    """The array that owns the memory of a view."""
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


def in_order(root: np.ndarray) -> np.ndarray:
    """An array that owns its memory, with its axes in the order of the memory."""
    return root.transpose(sorted(range(root.ndim), key=lambda i: (-root.strides[i], i)))


class Memory:
    """``cupy.cuda.Memory`` of a number of bytes, or what a pool has handed out."""

    def __init__(self, of: Lease | int) -> None:
        if isinstance(of, int):
            try:
                charge(of)
            except OutOfMemoryError:
                raise CUDARuntimeError(2) from None
            of = Lease(Block(np.empty(of, np.uint8), of, _state.local.device, None))
        self.lease = lease = of
        self.size = lease.block.size
        self.ptr = lease.block.root.ctypes.data
        self.device_id = lease.block.device

    def view(self, shape: tuple[int, ...], dtype: np.dtype, order: str = "C", offset: int = 0) -> np.ndarray:
        return np.ndarray(shape, dtype, in_order(self.lease.block.root), offset, order=order)


class MemoryPointer:
    """``cupy.cuda.MemoryPointer``."""

    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset, mem.device_id

    def __int__(self) -> int:
        return self.ptr

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)

    __radd__ = __add__

    def _bytes(self, size: int) -> np.ndarray:
        return self.mem.view((size,), np.dtype(np.uint8), offset=self.ptr - self.mem.ptr)

    def memset_async(self, value: int, size: int, stream: Any = None) -> None:
        target = self._bytes(size)
        _state.launch(lambda: target.fill(value), [])

    memset = memset_async

    def copy_from_device_async(self, src: MemoryPointer, size: int, stream: Any = None) -> None:
        target, source = self._bytes(size), src._bytes(size)
        if self.device_id != src.device_id:
            _state.forbid("a copy from another device")
        _state.launch(lambda: np.copyto(target, source), [], [self.mem.lease.block, src.mem.lease.block])

    copy_from_device = copy_from_device_async

    def copy_from_host_async(self, mem: Any, size: int, stream: Any = None) -> None:
        from cupy.cuda import runtime

        address = mem if isinstance(mem, int) else mem.value
        runtime.memcpyAsync(self.ptr, address, size, runtime.memcpyHostToDevice)

    def copy_to_host_async(self, mem: Any, size: int, stream: Any = None) -> None:
        from cupy.cuda import runtime

        address = mem if isinstance(mem, int) else mem.value
        runtime.memcpyAsync(address, self.ptr, size, runtime.memcpyDeviceToHost)


class MemoryPool:
    """``cupy.cuda.MemoryPool``: what is given back on a stream is handed out again on that stream."""

    def __init__(self, allocator: Any = None) -> None:
        self._free: dict[tuple[int, int, int], list[Block]] = {}
        self._blocks: weakref.WeakSet[Block] = weakref.WeakSet()
        self._limit = 0
        self._allocator = allocator or (lambda size: MemoryPointer(Memory(size), 0))
        weakref.finalize(self, _lose, self._free)

    def malloc(self, size: int) -> MemoryPointer:
        size = rounded(size)
        device = _state.local.device
        with _lock:
            free = self._free.get((device, _state.stream().ptr, size))
            if free:
                block = free.pop()
                block.state = "live"
                return MemoryPointer(Memory(Lease(block)), 0)
            found = _state.capture()
            if found is not None and not found.relaxed:
                found.invalid = "cudaMalloc"
                _state.capture()
            pointer = self._new(size) or self._new(size, last=True)
            block = pointer.mem.lease.block
            block.pool = weakref.ref(self)
            self._blocks.add(block)
            return pointer

    def _new(self, size: int, last: bool = False) -> MemoryPointer | None:
        """Memory of the allocator; where it has none, what is free in the pool is given up, as in CuPy."""
        try:
            if self._limit and self.total_bytes() + size > self._limit:
                raise CUDARuntimeError(2)
            return self._allocator(size)
        except CUDARuntimeError as error:
            if error.status != 2:
                raise
        if last:
            raise OutOfMemoryError(size, self.total_bytes(), self._limit)
        self.free_all_blocks()
        return None

    def free_all_blocks(self, stream: Any = None) -> None:
        with _lock:
            for key in list(self._free):
                if stream is None or key[1] == stream.ptr:
                    _give_up({key: self._free.pop(key)})

    def n_free_blocks(self) -> int:
        return sum(map(len, self._free.values()))

    def _bytes(self, state: str) -> int:
        here = _state.local.device
        return sum(block.size for block in self._blocks if block.state == state and block.device == here)

    def used_bytes(self) -> int:
        return self._bytes("live")

    def free_bytes(self) -> int:
        return self._bytes("free")

    def total_bytes(self) -> int:
        return self.used_bytes() + self.free_bytes()

    def get_limit(self) -> int:
        return self._limit

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        self._limit = int(_state.MEMORY * fraction) if fraction is not None else int(size or 0)


class DefaultPool(MemoryPool):
    """The pool of ``cupy.get_default_memory_pool()``: NumPy's own memory, which is counted."""

    def used_bytes(self) -> int:
        return used[_state.local.device]

    def free_bytes(self) -> int:
        return 0

    def malloc(self, size: int) -> MemoryPointer:
        host = np.empty(rounded(size), np.uint8)
        return MemoryPointer(Memory(adopt(host)), 0)


def _give_up(free: dict[Any, list[Block]]) -> None:
    with _lock:
        for blocks in free.values():
            for block in blocks:
                block.give_up()
        free.clear()


def _lose(free: dict[Any, list[Block]]) -> None:
    """What is free in a pool that dies. CuPy 14 never gives it back: the blocks and their arena hold each other."""
    with _lock:
        for blocks in free.values():
            for block in blocks:
                block.state = "gone"  # and stays counted
        free.clear()


class _Allocators(threading.local):
    """``using_allocator`` is per thread and device; ``set_allocator`` is for all."""

    def __init__(self) -> None:
        self.stack: list[Any] = []


_allocators = _Allocators()
_set: list[Any] = []


def current_pool() -> MemoryPool | None:
    """The pool of one's own that new arrays come from; ``None``: the default one."""
    allocator = _allocators.stack[-1] if _allocators.stack else (_set[-1] if _set else None)
    if allocator is None:
        return None
    pool = getattr(allocator, "__self__", None)
    if not isinstance(pool, MemoryPool):
        raise NotImplementedError("the twin knows no allocators but the malloc of a MemoryPool")
    return None if isinstance(pool, DefaultPool) else pool


class using_allocator:
    """``cupy.cuda.using_allocator``."""

    def __init__(self, allocator: Any = None) -> None:
        self._allocator = allocator

    def __enter__(self) -> None:
        _allocators.stack.append(self._allocator)

    def __exit__(self, *exception: Any) -> None:
        _allocators.stack.pop()


def set_allocator(allocator: Any = None) -> None:
    """``cupy.cuda.set_allocator``."""
    if _allocators.stack:
        raise ValueError("Can't change allocator on a thread-local allocator")
    _set[:] = [] if allocator is None else [allocator]


def get_allocator() -> Any:
    """``cupy.cuda.get_allocator``."""
    pool = current_pool()
    return (default_pool if pool is None else pool).malloc


default_pool = DefaultPool()
