"""Rows and elements that are read by their numbers, and the adjoints, which add up what was read twice.

The adjoints put the numbers into order and add what has one number piece by piece: no atomic additions, so that equal
arguments give equal bits, and no look at the numbers from the host.
"""

from __future__ import annotations

from importlib import import_module
from math import prod
from typing import Any

from nnx._typing import Array, Kernel
from nnx.vjps import _rows as reference
from nnx_cupy.kernels._arrays import alike, summed_in, vector, whole
from nnx_cupy.kernels._source import THREADS, WIDE, Source, blocks_for

embedding, gather = (import_module(f"nnx.ops.{name}") for name in ("embedding", "gather"))  # nnx.ops has the ops
SOURCE, TAKE = Source("rows"), Source("take", "vectors")

LABELS = {"int32": "int", "int64": "long long"}
"""The C++ types of the numbers that kernels read; those of other dtypes are cast."""

SPAN, LANES, WARP = 16, 8, 32
"""As in ``rows.cu``."""

RANKED = 8192
"""Numbers that are put into order by comparing each with each, in one launch; a sort of more of them takes several."""

SHORT = 256
"""Numbers of a row that are compared with each other where they are added, with no order made before."""

MOST = 65535
"""Blocks along the second axis of a grid, at most."""


def embedding_forward(xp: Any, weight: Array, ids: Array) -> Array:
    """One launch; an id that is out of range makes its row NaN."""
    if len(weight.shape) != 2 or not alike(weight) or ids.dtype.kind not in "iu":
        return embedding.embedding_forward(xp, weight, ids)
    rows, features = weight.shape
    y = xp.empty((*ids.shape, features), dtype=weight.dtype)
    if not y.size:
        return y
    weight, ids = whole(xp, weight), _numbers(xp, ids)
    size = vector(features, weight, y)
    wide = max(y.size, weight.size) >= WIDE
    kernel = TAKE("take_rows", y.dtype, wide, VECTOR=size, LABEL=LABELS[ids.dtype.name])
    count = y.size // size
    kernel((blocks_for(count),), (THREADS,), (weight, ids, y, count, features // size, rows))
    return y


def embedding_weight(xp: Any, g: Array, weight_shape: tuple[int, ...], ids: Array) -> Array:
    """As ``summed_rows``."""
    return summed_rows(xp, g.reshape(ids.size, weight_shape[1]), weight_shape[0], ids.reshape(-1))


def summed_rows(xp: Any, g: Array, n: int, index: Array) -> Array:
    """Add the rows of one number in the order in which they lie; what is out of range adds nothing."""
    if not alike(g) or index.dtype.kind not in "iu":
        return reference.summed_rows(xp, g, n, index)
    return _summed(xp, g, (n, *g.shape[1:]), index, index.size, n)


def gather_forward(xp: Any, x: Array, ids: Array) -> Array:
    """One launch. A number below 0 counts from the end of its row; one that is out of range reads NaN."""
    if not alike(x) or ids.dtype.kind not in "iu" or not ids.ndim or x.shape[:-1] != ids.shape[:-1]:
        return gather.gather_forward(xp, x, ids)
    y = xp.empty(ids.shape, dtype=x.dtype)
    if y.size:
        x, ids = whole(xp, x), _numbers(xp, ids)
        kernel = SOURCE("gather_elements", x.dtype, max(x.size, y.size) >= WIDE, LABEL=LABELS[ids.dtype.name])
        kernel((blocks_for(y.size),), (THREADS,), (x, ids, y, y.size, ids.shape[-1], x.shape[-1]))
    return y


def gather_x(xp: Any, g: Array, x_shape: tuple[int, ...], ids: Array) -> Array:
    """Compare the numbers of a row with each other where they are few; else as ``summed_rows``, of single elements."""
    width, n = ids.shape[-1], x_shape[-1]
    if not alike(g) or ids.dtype.kind not in "iu" or g.shape != ids.shape or prod(x_shape[:-1]) * width != g.size:
        return gather.gather_x(xp, g, x_shape, ids)
    if width > SHORT:
        return _summed(xp, g.reshape(-1), tuple(x_shape), ids, width, n)
    sums = xp.zeros(x_shape, dtype=g.dtype)
    if g.size and n:
        ids = _numbers(xp, ids)
        kernel = SOURCE("add_elements", g.dtype, max(g.size, sums.size) >= WIDE, LABEL=LABELS[ids.dtype.name])
        kernel((blocks_for(g.size),), (THREADS,), (whole(xp, g), ids, sums, g.size, width, n))
    return sums


def _numbers(xp: Any, numbers: Array) -> Array:
    """Numbers of a dtype that kernels read."""
    return whole(xp, numbers if numbers.dtype.name in LABELS else numbers.astype(xp.int64))


def _summed(xp: Any, g: Array, shape: tuple[int, ...], numbers: Array, width: int, table: int) -> Array:
    """Rows of ``g``, added where their numbers say; ``width`` numbers each share a table of ``table`` rows."""
    sums = xp.zeros(shape, dtype=g.dtype)
    count = numbers.size
    if not g.size or not sums.size:
        return sums
    g, numbers, features = whole(xp, g), _numbers(xp, numbers), g.size // count
    rows = sums.size // features
    wide = max(g.size, sums.size) >= WIDE
    label = LABELS[numbers.dtype.name]
    keys = xp.empty(count, dtype=xp.int64 if wide else xp.int32)
    if count <= RANKED:
        order = xp.empty(count, dtype=xp.int64)
        kernel = SOURCE("rank_keys", g.dtype, wide, LABEL=label)
        kernel((blocks_for(count * WARP),), (THREADS,), (numbers, keys, order, count, width, table, rows))
    else:
        kernel = SOURCE("make_keys", g.dtype, wide, LABEL=label)
        kernel((blocks_for(count),), (THREADS,), (numbers, keys, count, width, table, rows))
        order = xp.argsort(keys, stable=True)
    pieces = -(-count // SPAN)
    parts = xp.empty((pieces, 2, features), dtype=summed_in(xp, g.dtype))
    x = min(1 << (features - 1).bit_length(), THREADS // 2)  # a block has half of the usual threads, of many registers
    y = THREADS // 2 // x
    kernel = SOURCE("add_rows", g.dtype, wide, LABEL=label)
    grid = -(-pieces // y), min(-(-features // x), MOST)
    kernel(grid, (x, y), (g, keys, order, sums, parts, count, features, rows))
    if pieces > 1:
        kernel = SOURCE("join_rows", g.dtype, wide, LABEL=label)
        grid = pieces - 1, min(-(-features // WARP), MOST)
        kernel(grid, (WARP, LANES), (keys, order, sums, parts, count, features, rows))
    return sums


KERNELS: dict[str, Kernel] = {
    "embedding_forward": embedding_forward,
    "embedding_weight": embedding_weight,
    "gather_forward": gather_forward,
    "gather_x": gather_x,
    "summed_rows": summed_rows,
}
