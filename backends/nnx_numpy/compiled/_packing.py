"""Copies between matrices and vectors, and of lines with padding."""

from __future__ import annotations

from nnx._typing import Array
from nnx_numpy.compiled._loop import loop
from nnx_numpy.compiled._simd import WIDTH
from nnx_numpy.compiled._tiles import copy_vector


@loop
def pack(source: Array, first: int, panels: Array) -> None:
    """Columns of a matrix in vectors: panels[v, row, k] = source[row, first + v·lanes + k].

    Beyond the last column there is anything: it ends in columns of the result that nobody reads.
    """
    rows, columns = source.shape
    vectors, most, lane = panels.shape
    flat, into = source.reshape(-1), panels.reshape(-1)
    for v in range(vectors):
        column = first + v * lane
        for row in range(rows):
            at = row * columns + column
            if at + lane <= flat.size:
                copy_vector(into, (v * most + row) * lane, flat, at)
            else:
                for k in range(columns - column):
                    panels[v, row, k] = source[row, column + k]


@loop
def unpack(source: Array, into: Array) -> None:
    """The first columns of a matrix of whole vectors; what a vector has beyond them, the next row writes over."""
    rows, columns = into.shape
    step, lane = source.shape[1], WIDTH // source.itemsize
    flat, to = source.reshape(-1), into.reshape(-1)
    for row in range(rows):
        if row * columns + step <= to.size:
            for at in range(0, step, lane):
                copy_vector(to, row * columns + at, flat, row * step + at)
        else:
            for k in range(columns):
                into[row, k] = source[row, k]


@loop
def copy_padded(x: Array, n: int, top: int, left: int, into: Array) -> None:
    """Lines of image n from ``top`` on, ``left`` zeros before each; zeros behind, and for lines that are not there."""
    height, width = x.shape[1], x.shape[2] * x.shape[3]
    for h in range(into.shape[0]):
        line = into[h].reshape(-1)
        line[:] = 0
        if 0 <= top + h < height:
            inner, source = line[left * x.shape[3] :], x[n, top + h].reshape(-1)
            for k in range(width):
                inner[k] = source[k]
