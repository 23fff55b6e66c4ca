"""Affine maps: products of two matrices, with the bias and the rectifier added in place; sums of columns."""

from __future__ import annotations

from importlib import import_module
from math import prod
from typing import Any

from nnx._typing import Array, Kernel
from nnx.vjps import _rule
from nnx_cupy.blas import product
from nnx_cupy.kernels._arrays import alike, rows_of, summed_in, whole
from nnx_cupy.kernels._columns import over_parts, tiles
from nnx_cupy.kernels._map import over
from nnx_cupy.kernels._source import Source, floating

reference = import_module("nnx.ops.linear")  # the attribute `linear` of nnx.ops is the op
SOURCE = Source("linear", "map", "columns")


def linear_forward(xp: Any, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """One product, and one pass for the bias."""
    if not _served(x, weight, bias):
        return reference.linear_forward(xp, x, weight, bias)
    return _affine(xp, x, weight, bias, False)


def linear_relu_forward(xp: Any, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """One product, and one pass for the bias and the rectifier."""
    if not _served(x, weight, bias):
        return reference.linear_relu_forward(xp, x, weight, bias)
    return _affine(xp, x, weight, bias, True)


def _affine(xp: Any, x: Array, weight: Array, bias: Array | None, rectify: bool) -> Array:
    y = product(rows_of(x), weight)
    if y.size and (rectify or bias is not None):
        columns = y.shape[1]
        given = 0 if bias is None else whole(xp, bias)
        over(SOURCE, "add_bias", y.dtype, y.size, (y, given, y.size, columns, rectify))
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], weight.shape[1])


def linear_x(xp: Any, g: Array, weight: Array) -> Array:
    """Multiply by a view of the transposed weight."""
    if not _served(g, weight.T):
        return reference.linear_x(xp, g, weight)
    gradient = product(rows_of(g), weight.T)
    return gradient if g.ndim == 2 else gradient.reshape(*g.shape[:-1], weight.shape[0])


def linear_weight(xp: Any, g: Array, x: Array) -> Array:
    """Multiply by a view of the transposed input."""
    if not alike(g, x) or g.shape[:-1] != x.shape[:-1]:
        return reference.linear_weight(xp, g, x)
    return product(rows_of(x).T, rows_of(g))


def linear_bias(xp: Any, g: Array) -> Array:
    """Sum columns: one launch, or two where there are many rows."""
    if not floating(g.dtype):
        return reference.linear_bias(xp, g)
    return column_sums(xp, g, prod(g.shape[:-1]), g.shape[-1], g.shape[-1:])


def summed_to(xp: Any, g: Array, shape: tuple[int, ...]) -> Array:
    """Sum columns where it is the first axes over which there is a sum."""
    kept = next((i for i, n in enumerate(shape) if n != 1), len(shape))
    columns = prod(shape)
    if not floating(g.dtype) or g.shape[len(g.shape) - len(shape) + kept :] != shape[kept:]:
        return _rule.summed_to(xp, g, shape)
    return column_sums(xp, g, prod(g.shape[: g.ndim - len(shape) + kept]), columns, shape)


def column_sums(xp: Any, g: Array, rows: int, columns: int, shape: tuple[int, ...]) -> Array:
    """The sums of the columns of ``g`` seen as a matrix, as an array of that shape; the same bits in every run."""
    dtype = g.dtype
    if not rows or not columns:
        return xp.zeros(shape, dtype=dtype)
    g = whole(xp, g)
    sums, cut = xp.empty(shape, dtype=dtype), tiles(rows, columns)
    parts: Any = 0
    if cut.parts > 1:
        parts = xp.empty((cut.parts, columns), dtype=summed_in(xp, dtype))
    arguments = (g, sums, parts, rows, columns, cut.width, cut.height)
    SOURCE("column_sums", dtype, cut.wide)((cut.blocks,), (cut.threads,), arguments)
    if cut.parts > 1:
        blocks, threads = over_parts(cut.parts, columns)
        SOURCE("sums_of_parts", dtype)((blocks,), (threads,), (parts, sums, cut.parts, columns, cut.width))
    return sums


def _served(x: Array, weight: Array, bias: Array | None = None) -> bool:
    """Whether these are of one dtype that kernels are compiled for, and of shapes that fit: cuBLAS looks at neither."""
    shape = weight.shape
    fits = len(shape) == 2 and x.shape[-1:] == shape[:1] and (bias is None or bias.shape == shape[1:])
    return fits and alike(x, weight) and (bias is None or bias.dtype == x.dtype)


NATIVE: dict[str, Kernel] = {"linear_weight": linear_weight, "linear_x": linear_x}

KERNELS: dict[str, Kernel] = {
    "conv2d_bias": linear_bias,
    "linear_bias": linear_bias,
    "linear_forward": linear_forward,
    "linear_relu_forward": linear_relu_forward,
    "summed_to": summed_to,
}
