"""How the rows of a matrix are shared out among the threads of a GPU; the Python side of ``teams.cuh``."""

from __future__ import annotations

import functools
from typing import Any

from nnx._typing import DType
from nnx_cupy.kernels import _source
from nnx_cupy.kernels._source import Source

THREADS = 128
"""Threads of a block that has several rows, a team for each."""

LONG_THREADS = 1024
"""Threads of a block that has one row, however long; the most that a block can have."""

MOST_BLOCKS = 1 << 14
"""Some waves of blocks on any GPU, and few enough that one block can add what each of them has found."""

FEW = 4096
"""Elements that one block works through in no more time than it takes to start another kernel."""


class Cut:
    """How a matrix is cut.

    Args:
        suffix: of the kernel's name, ``"_long"`` where rows are.
        blocks: the number of blocks.
        threads: of each.
        wide: whether indices have 64 bits.
        defines: the macros of ``teams.cuh``.
    """

    __slots__ = ("_found", "blocks", "defines", "suffix", "threads", "wide")

    def __init__(self, suffix: str, blocks: int, threads: int, wide: bool, **defines: int) -> None:
        self.suffix, self.blocks, self.threads, self.wide, self.defines = suffix, blocks, threads, wide, defines
        self._found: dict[Any, Any] = {}

    def launch(self, source: Source, kernel: str, dtype: DType, *arguments: Any, **defines: str) -> None:
        """Launch a kernel, or the one for long rows that is named after it."""
        key = source, kernel, dtype, *defines.values()
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = source(kernel + self.suffix, dtype, self.wide, **self.defines, **defines)
        found((self.blocks,), (self.threads,), arguments)


@functools.lru_cache(4096)
def cut(rows: int, columns: int, gather: bool = False) -> Cut:
    """Cut a matrix, by its shape alone.

    Args:
        rows, columns: its shape, neither of them 0.
        gather: one block is wanted where there are few elements, which spares the addition of what several find.
    """
    lanes, items = team(columns)
    wide = rows * columns >= _source.WIDE
    if not lanes:
        return Cut("_long", min(rows, MOST_BLOCKS), LONG_THREADS, wide)
    few = gather and rows * lanes * items <= FEW
    threads = LONG_THREADS if few and lanes <= 32 and rows * lanes > THREADS else max(THREADS, lanes)
    blocks = 1 if few else -(-rows * lanes // threads)
    return Cut("", min(blocks, MOST_BLOCKS), threads, wide, LANES=lanes, ITEMS=items, THREADS=threads)


def team(columns: int) -> tuple[int, int]:
    """How many threads share a row, and how many elements of it each of them holds; 0 where it is too long for that.

    Up to 1024 elements a row has a part of a warp or all of it; up to 16384, a block.
    """
    if columns <= 32:
        return power(columns), 1
    if columns <= 1024:
        return 32, power(-(-columns // 32))
    if columns <= 16384:
        lanes = 256 if columns <= 4096 else 1024
        return lanes, max(8, power(-(-columns // lanes)))
    return 0, 0


def power(n: int) -> int:
    """The least power of two that is not below ``n``."""
    return 1 << (n - 1).bit_length()
