"""How much memory a GPU has, and what is said when it has too little."""

from __future__ import annotations

import gc
from typing import Any

from nnx._errors import OutOfMemoryError
from nnx._typing import Memory

ALLOCATION_FAILED = 2
"""``cudaErrorMemoryAllocation``, which CuPy has no name for outside its own C code."""


def memory(number: int) -> Memory:
    """Free and total memory of a GPU. Memory that CuPy's pool holds and nobody uses is free."""
    import cupy

    pool = cupy.get_default_memory_pool()
    with cupy.cuda.Device(number):
        free, total = cupy.cuda.runtime.memGetInfo()
        free += pool.free_bytes()
        limit = pool.get_limit()
        if limit:
            free = min(free, max(0, limit - pool.used_bytes()))
    return Memory(int(free), int(total))


def is_lack(error: BaseException) -> bool:
    """Whether CUDA or CuPy raised ``error`` for lack of device memory."""
    import cupy

    if isinstance(error, cupy.cuda.memory.OutOfMemoryError):
        return True
    return isinstance(error, cupy.cuda.runtime.CUDARuntimeError) and error.status == ALLOCATION_FAILED


class Reserve:
    """Asks CUDA for memory, as the allocator of a pool whose memory a graph uses: ``MemoryPool(Reserve())``.

    A pool that lacks memory gives up what is free in it and asks again, and so it does at its limit; but the work that
    has been captured uses just that. Here CuPy's pool of all gives up what nobody uses, and if that does not help, the
    pool is told of an error for which it gives up nothing. The limit is that of both pools together.
    """

    def __init__(self) -> None:
        self._size = 0

    def pool(self) -> Any:
        """A pool of this memory, for the current GPU."""
        import cupy

        pool = cupy.cuda.MemoryPool(self)
        pool.set_limit(size=0)
        return pool

    def __call__(self, size: int) -> Any:
        """New memory, a ``MemoryPointer``; ``cupy.cuda.memory.OutOfMemoryError`` if there is too little."""
        import cupy

        found = self._found(size)
        if found is None:
            gc.collect()
            cupy.get_default_memory_pool().free_all_blocks()
            found = self._found(size)
        if found is None:
            raise cupy.cuda.memory.OutOfMemoryError(size, self._size, cupy.get_default_memory_pool().get_limit())
        self._size += size
        return found

    def _found(self, size: int) -> Any:
        import cupy

        common = cupy.get_default_memory_pool()
        limit = common.get_limit()
        if limit and common.total_bytes() + self._size + size > limit:
            return None
        try:
            return cupy.cuda.MemoryPointer(cupy.cuda.Memory(size), 0)
        except cupy.cuda.runtime.CUDARuntimeError as error:
            if not is_lack(error):
                raise
            return None


def explained(error: BaseException, number: int) -> OutOfMemoryError:
    """What is raised in place of an error for which :func:`is_lack` holds."""
    import cupy

    wanted = getattr(error, "_size", None)  # a CUDA function asks for memory without saying how much
    free, total = memory(number)
    pool = cupy.get_default_memory_pool()
    with cupy.cuda.Device(number):
        held, used, limit = pool.total_bytes(), pool.used_bytes(), pool.get_limit()
    asked = f"{_size(wanted)} were asked for" if wanted else "a function of CUDA asked for more"
    limited = (
        f", and may hold no more than {_size(limit)} (cupy's set_limit, or CUPY_GPU_MEMORY_LIMIT)" if limit else ""
    )
    return OutOfMemoryError(
        f"cuda:{number} has too little memory: {asked}, and {_size(free)} of {_size(total)} are free, perhaps in "
        f"pieces; CuPy's pool holds {_size(held)}, of which {_size(used)} are in use{limited}. Make the batches or "
        "the model smaller, use a lower precision, drop arrays that are no longer needed, or end other programs that "
        "use the GPU (`nvidia-smi` lists them)"
    )


def _size(n: int) -> str:
    """Bytes, in a unit that can be read, and exactly: ``"1.5 GiB (1,610,612,736 bytes)"``."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if n >= 1 << power:
            return f"{n / (1 << power):.1f} {unit} ({n:,} bytes)"
    return f"{n:,} bytes"
