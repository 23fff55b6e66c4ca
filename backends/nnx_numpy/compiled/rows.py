"""Adjoints of reading rows or elements by their numbers: what was read twice gets a sum.

Gradients are added one after the other, in the order in which they lie, so that equal arguments give equal bits.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from nnx._typing import Array, Kernel
from nnx_numpy import embedding, gather
from nnx_numpy.compiled._loop import loop, served

INTP = np.dtype(np.intp)


@loop
def _add_rows(sums: Array, rows: Array, index: Array) -> bool:
    """Add row j to that of number ``index[j]``; whether all numbers are in range, from the end where negative."""
    count = sums.shape[0]
    for j in range(index.size):
        i = index[j]
        if i < 0:
            i += count
        if i < 0 or i >= count:
            return False
        total, row = sums[i], rows[j]
        for k in range(row.size):
            total[k] += row[k]
    return True


@loop
def _add_elements(sums: Array, rows: Array, index: Array) -> bool:
    """Add elements within each row, as ``_add_rows`` adds rows."""
    count = sums.shape[1]
    for j in range(rows.shape[0]):
        total, row, numbers = sums[j], rows[j], index[j]
        for k in range(row.size):
            i = numbers[k]
            if i < 0:
                i += count
            if i < 0 or i >= count:
                return False
            total[i] += row[k]
    return True


def embedding_weight(xp: Any, g: Array, weight_shape: tuple[int, ...], ids: Array) -> Array:
    """Add row by row, in order."""
    if served(g.dtype, g):
        sums = np.zeros(weight_shape, g.dtype)
        if _add_rows(sums, g.reshape(ids.size, weight_shape[1]), _numbers(ids).reshape(ids.size)):
            return sums
    return embedding.embedding_weight(xp, g, weight_shape, ids)


def summed_rows(xp: Any, g: Array, n: int, index: Array) -> Array:
    """Add row by row, in order."""
    if served(g.dtype, g):
        sums = np.zeros((n, *g.shape[1:]), g.dtype)
        length = prod(g.shape[1:])
        if _add_rows(sums.reshape(n, length), g.reshape(index.size, length), _numbers(index)):
            return sums
    return embedding.summed_rows(xp, g, n, index)


def gather_x(xp: Any, g: Array, x_shape: tuple[int, ...], ids: Array) -> Array:
    """Add element by element, in order."""
    if served(g.dtype, g):
        sums = np.zeros(x_shape, g.dtype)
        rows = prod(x_shape[:-1])
        shape = rows, ids.shape[-1]
        if _add_elements(sums.reshape(rows, x_shape[-1]), g.reshape(shape), _numbers(ids).reshape(shape)):
            return sums
    return gather.gather_x(xp, g, x_shape, ids)


def _numbers(ids: Array) -> Array:
    """Numbers of one dtype, contiguous, aligned and not read-only: one variant of a loop for all."""
    return ids if ids.dtype == INTP and ids.flags.carray else np.array(ids, INTP, order="C")


KERNELS: dict[str, Kernel] = {
    "embedding_weight": embedding_weight,
    "gather_x": gather_x,
    "summed_rows": summed_rows,
}
