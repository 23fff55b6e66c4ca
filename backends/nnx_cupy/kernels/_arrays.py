"""What arrays must be for a kernel to take them, and how many of their elements it reads at once."""

from __future__ import annotations

from math import prod
from typing import Any

from nnx._typing import Array, DType
from nnx.ops._window import Windows
from nnx_cupy.kernels._source import floating

BYTES = 16
"""The most that a thread of a GPU reads at once."""


def alike(first: Array, *others: Array) -> bool:
    """Whether all have one dtype, and kernels are compiled for it."""
    dtype: DType = first.dtype
    return floating(dtype) and all(other.dtype == dtype for other in others)


def whole(xp: Any, array: Array) -> Array:
    """``array`` in the order of its elements, copied where it is not."""
    return array if array.flags.c_contiguous else xp.ascontiguousarray(array)


def rows_of(x: Array) -> Array:
    """The leading axes flattened into one."""
    return x if x.ndim == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1])


def vector(length: int, *arrays: Array) -> int:
    """How many elements side by side are read at once, of rows of that length that follow one another.

    Args:
        length: of a row; the vectors do not cross from one to the next.
        arrays: contiguous and of one dtype, at addresses that may be odd.
    """
    itemsize: int = arrays[0].dtype.itemsize
    size = BYTES // itemsize
    while length % size or any(array.data.ptr % (size * itemsize) for array in arrays):
        size //= 2
    return size


def summed_in(xp: Any, dtype: DType) -> DType:
    """The dtype that sums of elements of ``dtype`` are kept in: ``C`` in the kernels."""
    return xp.float64 if dtype == xp.float64 else xp.float32


def numbers(w: Windows, channels: int) -> tuple[int, ...]:
    """What kernels take as ``WINDOWS``, see ``windows.cuh``."""
    return (*w.size, channels, *w.kernel, *w.stride, *w.dilation, *w.before, *w.out)
