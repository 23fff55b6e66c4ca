"""Normalisation in chunks of rows that stay in the cache.

Rows of few channels are short, and NumPy's inner loop is over a row: so many of them as fit in 1024
elements are taken as one, beside vectors that are repeated as often. Sums over rows are products with
ones, and are added up in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy import add, divide, multiply, sqrt, subtract

from nnx._typing import Array, DType, Kernel
from nnx.ops import norm as reference

CHUNK = 256 * 1024
"""Bytes of each array in a chunk."""

LONG, SMALL = 256, 8192
"""Rows of so many elements are long enough as they are; arrays of so few are not worth the repetition."""

Parts = tuple[tuple[slice, int], ...]
"""Slices of rows, and how many of them are taken as one."""


@functools.lru_cache(maxsize=64)
def _parts(rows: int, length: int, itemsize: int, joined: bool) -> Parts:
    many = 1
    if joined and length < LONG and rows * length > SMALL:
        many = 1024 // length
    size = max(CHUNK // (length * itemsize) // many, 1) * many
    whole = rows - rows % many
    parts = [(slice(start, min(start + size, whole)), many) for start in range(0, whole, size)]
    return (*parts, (slice(whole, rows), 1)) if whole < rows else tuple(parts)


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: DType) -> Array:
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


class _Vector:
    """A vector of the length of a row, repeated as often as it is asked for."""

    def __init__(self, values: Array, dtype: DType) -> None:
        self._by_count = {1: values.reshape(-1).astype(dtype, copy=False)}

    def __getitem__(self, count: int) -> Array:
        if count not in self._by_count:
            self._by_count[count] = np.concatenate([self._by_count[1]] * count)
        return self._by_count[count]


def _matrices(parts: Parts, *arrays: Array) -> Iterator[tuple[int, tuple[Array, ...]]]:
    """The parts of contiguous matrices, as matrices of longer rows."""
    length = arrays[0].shape[1]
    for part, many in parts:
        yield many, tuple([a[part] if many == 1 else a[part].reshape(-1, many * length) for a in arrays])


def _column_sums(total: Array, matrix: Array, many: int) -> None:
    """Add the sums over rows, of ``many`` rows in one."""
    sums = np.dot(_ones(matrix.shape[0], matrix.dtype), matrix)
    total += sums if many == 1 else sums.reshape(many, -1).sum(axis=0)


def _scratch(parts: Parts, length: int, dtype: DType) -> Array:
    return np.empty(max(part.stop - part.start for part, _ in parts) * length, dtype)


def _served(x: Array, *parameters: Array | None) -> bool:
    """Whether all are of one dtype, of at least four bytes, and there is an element."""
    dtype = x.dtype
    return (
        dtype.itemsize >= 4
        and dtype.isnative
        and x.size > 0
        and all(p is None or (p.dtype == dtype and p.dtype.isnative) for p in parameters)
    )


def batch_norm_forward(
    xp: Any, x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> Any:
    """Three passes: sums; deviations and the sums of their squares; the result."""
    count = prod(x.shape[:-1])
    if count < 2 or not _served(x, weight, bias):
        return reference.batch_norm_forward(xp, x, weight, bias, eps=eps)
    reference.require_parameters(x.shape[-1:], weight, bias)
    channels, dtype = x.shape[-1], x.dtype
    rows = np.ascontiguousarray(x).reshape(count, channels)
    normal, y = np.empty_like(rows), np.empty_like(rows)
    parts = _parts(count, channels, dtype.itemsize, True)
    scratch = _scratch(parts, channels, dtype)
    total = np.zeros(channels)
    for many, (a,) in _matrices(parts, rows):
        _column_sums(total, a, many)
    mean = (total / count).astype(dtype)
    total = np.zeros(channels)
    center = _Vector(mean, dtype)
    for many, (a, n) in _matrices(parts, rows, normal):
        s = scratch[: a.size].reshape(a.shape)
        subtract(a, center[many], out=n)
        _column_sums(total, multiply(n, n, out=s), many)
    total /= count
    inverse = (1 / sqrt(total + eps)).astype(dtype)
    factor = _Vector(inverse, dtype)
    scale, shift = (None if p is None else _Vector(p, dtype) for p in (weight, bias))
    for many, (n, z) in _matrices(parts, normal, y):
        multiply(n, factor[many], out=n)
        _affine(n, scale, shift, many, z)
    statistics = mean, total.astype(dtype)
    return (y.reshape(x.shape), *statistics), (normal, inverse.reshape(1, channels))


def batch_norm_x(xp: Any, g: Array, saved: Any, x_dtype: DType, weight: Array | None = None) -> Array:
    """Two passes: the two means; G a - x̂ b - c with vectors a, b and c."""
    normal, inverse = saved
    if not _served(g, normal, weight):
        return reference.batch_norm_x(xp, g, saved, x_dtype, weight)
    rows = np.ascontiguousarray(g).reshape(normal.shape)
    result = np.empty_like(rows)
    count, channels = rows.shape
    dtype = rows.dtype
    parts = _parts(count, channels, dtype.itemsize, True)
    scratch = _scratch(parts, channels, dtype)
    plain, product = np.zeros(channels), np.zeros(channels)
    for many, (a, n) in _matrices(parts, rows, normal):
        _column_sums(plain, a, many)
        _column_sums(product, multiply(a, n, out=scratch[: a.size].reshape(a.shape)), many)
    scale = inverse.reshape(-1) if weight is None else inverse.reshape(-1) * weight
    first, second, third = (_Vector(v, dtype) for v in (scale, product / count * scale, plain / count * scale))
    for many, (a, n, r) in _matrices(parts, rows, normal, result):
        s = scratch[: a.size].reshape(a.shape)
        multiply(a, first[many], out=r)
        subtract(r, multiply(n, second[many], out=s), out=r)
        subtract(r, third[many], out=r)
    return result.reshape(g.shape)


def batch_norm_weight(xp: Any, g: Array, saved: Any, weight_dtype: DType) -> Array:
    """Multiply in chunks."""
    normal, _ = saved
    if not _served(g, normal):
        return reference.batch_norm_weight(xp, g, saved, weight_dtype)
    rows = np.ascontiguousarray(g).reshape(normal.shape)
    parts = _parts(*rows.shape, rows.dtype.itemsize, True)
    scratch, total = _scratch(parts, rows.shape[1], rows.dtype), np.zeros(rows.shape[1])
    for many, (a, n) in _matrices(parts, rows, normal):
        _column_sums(total, multiply(a, n, out=scratch[: a.size].reshape(a.shape)), many)
    return total.astype(weight_dtype)


def batch_norm_bias(xp: Any, g: Array, saved: Any, bias_dtype: DType) -> Array:
    """Sum in chunks."""
    normal, _ = saved
    if not _served(g):
        return reference.batch_norm_bias(xp, g, saved, bias_dtype)
    rows = np.ascontiguousarray(g).reshape(normal.shape)
    total = np.zeros(rows.shape[1])
    for many, (a,) in _matrices(_parts(*rows.shape, rows.dtype.itemsize, True), rows):
        _column_sums(total, a, many)
    return total.astype(bias_dtype)


def layer_norm_forward(
    xp: Any, x: Array, weight: Array | None = None, bias: Array | None = None, *, axes: int = 1, eps: float = 1e-5
) -> Any:
    """One pass: a chunk is done with before the next."""
    if len(x.shape) < axes or not _served(x, weight, bias):
        return reference.layer_norm_forward(xp, x, weight, bias, axes=axes, eps=eps)
    reference.require_parameters(x.shape[-axes:], weight, bias)
    length, dtype = prod(x.shape[-axes:]), x.dtype
    rows = np.ascontiguousarray(x).reshape(-1, length)
    normal, y = np.empty_like(rows), np.empty_like(rows)
    inverse = np.empty((rows.shape[0], 1), dtype)
    ones = _ones(length, dtype)
    parts = _parts(*rows.shape, dtype.itemsize, False)
    scratch = _scratch(parts, length, dtype)
    scale, shift = (None if p is None else _Vector(p, dtype) for p in (weight, bias))
    for part, _ in parts:
        a, n, i = rows[part], normal[part], inverse[part]
        s = scratch[: a.size].reshape(a.shape)
        subtract(a, (np.dot(a, ones) / length)[:, None], out=n)
        var = np.dot(multiply(n, n, out=s), ones) / length
        divide(1, sqrt(var + eps), out=i[:, 0])
        multiply(n, i, out=n)
        _affine(n, scale, shift, 1, y[part])
    return y.reshape(x.shape), (normal, inverse)


def layer_norm_x(xp: Any, g: Array, saved: Any, x_dtype: DType, weight: Array | None = None) -> Array:
    """One pass."""
    normal, inverse = saved
    if not _served(g, normal, weight):
        return reference.layer_norm_x(xp, g, saved, x_dtype, weight)
    rows = np.ascontiguousarray(g).reshape(normal.shape)
    result = np.empty_like(rows)
    length, dtype = rows.shape[1], rows.dtype
    ones = _ones(length, dtype)
    parts = _parts(*rows.shape, dtype.itemsize, False)
    scratch = _scratch(parts, length, dtype)
    scale = None if weight is None else weight.reshape(-1)
    for part, _ in parts:
        a, n, r = rows[part], normal[part], result[part]
        s = scratch[: a.size].reshape(a.shape)
        if scale is not None:
            a = multiply(a, scale, out=r)
        product = np.dot(multiply(a, n, out=s), ones) / length
        subtract(a, (np.dot(a, ones) / length)[:, None], out=r)
        subtract(r, multiply(n, product[:, None], out=s), out=r)
        multiply(r, inverse[part], out=r)
    return result.reshape(g.shape)


def layer_norm_weight(xp: Any, g: Array, saved: Any, weight_shape: Any, weight_dtype: DType) -> Array:
    """As that of a batch."""
    return batch_norm_weight(xp, g, saved, weight_dtype).reshape(weight_shape)


def layer_norm_bias(xp: Any, g: Array, saved: Any, bias_shape: Any, bias_dtype: DType) -> Array:
    """As that of a batch."""
    return batch_norm_bias(xp, g, saved, bias_dtype).reshape(bias_shape)


def _affine(normal: Array, scale: _Vector | None, shift: _Vector | None, many: int, out: Array) -> None:
    if scale is None and shift is None:
        out[...] = normal
        return
    if scale is not None:
        normal = multiply(normal, scale[many], out=out)
    if shift is not None:
        add(normal, shift[many], out=out)


KERNELS: dict[str, Kernel] = {
    kernel.__name__: kernel
    for kernel in (
        batch_norm_bias,
        batch_norm_forward,
        batch_norm_weight,
        batch_norm_x,
        layer_norm_bias,
        layer_norm_forward,
        layer_norm_weight,
        layer_norm_x,
    )
}
