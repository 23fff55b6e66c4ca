"""How the columns of a matrix are shared out among the threads of a GPU; the Python side of ``columns.cuh``."""

from __future__ import annotations

import functools
from typing import NamedTuple

from nnx_cupy.kernels import _source
from nnx_cupy.kernels._rows import power

LINES = 8
"""Rows that a thread reads at a time."""

MOST_THREADS = 1024
"""Threads of a block that has all rows."""

THREADS = 512
"""Most threads of a block that has a part of them."""

WHOLE = 1024
"""Rows up to which one block has them all, so that one kernel does what else takes three."""

MOST_BLOCKS = 1024
"""The blocks that parts are made for: about two for each of the places that a large GPU has."""


class Tiles(NamedTuple):
    """How a matrix is cut.

    Attributes:
        width: how many columns a block has.
        height: how many rows a part has.
        parts: how many parts the rows are cut into.
        blocks, threads: of the grid.
        wide: whether indices have 64 bits.
    """

    width: int
    height: int
    parts: int
    blocks: int
    threads: int
    wide: bool


@functools.lru_cache(4096)
def tiles(rows: int, columns: int) -> Tiles:
    """Cut a matrix, by its shape alone; neither number is 0."""
    width = min(32, power(columns))
    across = -(-columns // width)
    most = MOST_THREADS if rows <= WHOLE else THREADS
    parts = 1
    if rows > WHOLE:
        parts = max(1, min(-(-rows // (LINES * THREADS // width)), MOST_BLOCKS // across))
    height = -(-rows // parts)
    parts = -(-rows // height)
    threads = max(32, min(width * power(-(-height // LINES)), most))
    return Tiles(width, height, parts, parts * across, threads, rows * columns >= _source.WIDE)


@functools.lru_cache(4096)
def over_parts(parts: int, columns: int) -> tuple[int, int]:
    """Blocks and threads that put together what has been found of each part."""
    width = min(32, power(columns))
    return -(-columns // width), max(32, min(width * power(parts), MOST_THREADS))
