"""Launches of kernels that compute element by element; the Python side of ``map.cuh``."""

from __future__ import annotations

from typing import Any

from nnx._typing import Array
from nnx_cupy.kernels._arrays import BYTES, alike, whole
from nnx_cupy.kernels._source import WIDE, Source, blocks_for


def mapped(xp: Any, source: Source, kernel: str, *arrays: Array, options: tuple[Any, ...] = ()) -> Array | None:
    """What a kernel makes of arrays of one shape and dtype: a new array, or ``None`` if it does not take these.

    Args:
        xp: the namespace of the arrays.
        source: where the kernel is.
        kernel: its name. It takes the arrays, the result, the number of elements and the options.
        arrays: in any memory layout.
        options: further arguments, floats and bools.
    """
    first = arrays[0]
    shape, dtype = first.shape, first.dtype
    if not alike(*arrays) or any(other.shape != shape for other in arrays[1:]):
        return None
    result, n = xp.empty(shape, dtype=dtype), first.size
    if n:
        arrays = tuple([whole(xp, a) for a in arrays])
        over(source, kernel, dtype, n, (*arrays, result, n, *options))
    return result


def over(source: Source, kernel: str, dtype: Any, n: int, arguments: tuple[Any, ...]) -> None:
    """Launch a kernel over ``n`` elements, as many a thread as it reads at once."""
    threads = 256 if n >= WIDE or n > 1 << 16 else 128
    each = BYTES // dtype.itemsize
    source(kernel, dtype, n >= WIDE)((blocks_for(-(-n // each), threads),), (threads,), arguments)
