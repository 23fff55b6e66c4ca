"""Normalisation of a batch, with sums in float64.

They are sums over columns. As many rows as have about ``LINE`` elements are read as one line, beside
vectors that are repeated as often, so that the inner loop is long whatever the number of channels; four lines are
added before they meet the sum in float64. Statistics of an example are taken while its row is in the cache.
"""

from __future__ import annotations

import math
from math import prod
from typing import Any

import numpy as np

from nnx._typing import Array, DType, Kernel
from nnx.ops.norm import require_parameters
from nnx_numpy import norm as native
from nnx_numpy.compiled._loop import loop, served
from nnx_numpy.kernels import rows_of

LINE = 512
"""Elements of a line; of four lines and two sums there is room in the innermost cache."""

PART = 128 * 1024
"""Elements that are read twice while they are in the cache."""


@loop
def _fold(sums: Array, channels: int) -> None:
    """Add the sums of a line's later rows to those of its first."""
    for first in range(channels, sums.size, channels):
        for j in range(channels):
            sums[j] += sums[first + j]


@loop
def _repeated(vector: Array, size: int) -> Array:
    """The vector over and over, ``size`` elements in all."""
    result = np.empty(size, vector.dtype)
    k = 0
    for j in range(size):
        result[j] = vector[k]
        k = k + 1 if k + 1 < vector.size else 0
    return result


@loop
def _column_sums(x: Array, size: int, channels: int) -> Array:
    """Σ x of each column, in lines of ``size`` elements."""
    four = 4 * size
    sums = np.zeros(size)
    whole = x.size - x.size % four
    for start in range(0, whole, four):
        lines = x[start : start + four]
        a, b, c, d = lines[:size], lines[size : 2 * size], lines[2 * size : 3 * size], lines[3 * size :]
        for j in range(size):
            sums[j] += (a[j] + b[j]) + (c[j] + d[j])
    for start in range(whole, x.size, size):
        a = x[start : start + size]
        for j in range(a.size):
            sums[j] += a[j]
    _fold(sums, channels)
    return sums


@loop
def _column_products(x: Array, y: Array, size: int, channels: int) -> Array:
    """Σ x y of each column, in lines of ``size`` elements."""
    four = 4 * size
    sums = np.zeros(size)
    whole = x.size - x.size % four
    for start in range(0, whole, four):
        lines, beside = x[start : start + four], y[start : start + four]
        a, b, c, d = lines[:size], lines[size : 2 * size], lines[2 * size : 3 * size], lines[3 * size :]
        e, f, g, h = beside[:size], beside[size : 2 * size], beside[2 * size : 3 * size], beside[3 * size :]
        for j in range(size):
            sums[j] += (a[j] * e[j] + b[j] * f[j]) + (c[j] * g[j] + d[j] * h[j])
    for start in range(whole, x.size, size):
        a, e = x[start : start + size], y[start : start + size]
        for j in range(a.size):
            sums[j] += a[j] * e[j]
    _fold(sums, channels)
    return sums


@loop
def _column_squares(x: Array, center: Array, size: int, channels: int) -> Array:
    """Σ (x - μ)² of each column, with the μ of a line."""
    four = 4 * size
    sums = np.zeros(size)
    whole = x.size - x.size % four
    for start in range(0, whole, four):
        lines = x[start : start + four]
        a, b, c, d = lines[:size], lines[size : 2 * size], lines[2 * size : 3 * size], lines[3 * size :]
        for j in range(size):
            m = center[j]
            e, f, g, h = a[j] - m, b[j] - m, c[j] - m, d[j] - m
            sums[j] += (e * e + f * f) + (g * g + h * h)
    for start in range(whole, x.size, size):
        a = x[start : start + size]
        for j in range(a.size):
            e = a[j] - center[j]
            sums[j] += e * e
    _fold(sums, channels)
    return sums


@loop
def _statistics(x: Array, size: int, channels: int) -> tuple[Array, Array]:
    """The mean and Σ (x - μ)² of each column, from parts that stay in the cache.

    Parts are put together as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979: two parts of n and k rows, whose means are δ apart, add δ² n k / (n + k).
    """
    mean, squares = np.zeros(channels), np.zeros(channels)
    part = size * max(1, PART // size)
    for start in range(0, x.size, part):
        here = x[start : start + part]
        before, count = start / channels, here.size / channels
        sums = _column_sums(here, size, channels)
        center = np.empty(channels, x.dtype)
        for j in range(channels):
            sums[j] /= count
            center[j] = sums[j]
        own = _column_squares(here, _repeated(center, size), size, channels)
        share = count / (before + count)
        for j in range(channels):
            apart = sums[j] - mean[j]
            mean[j] += apart * share
            squares[j] += own[j] + apart * apart * (before * share)
    return mean, squares


@loop
def _line(channels: int, count: int) -> int:
    """How many elements a line has: whole rows, and no more than there are."""
    return channels * max(1, min(count, LINE // channels))


@loop
def _batch_forward(
    rows: Array,
    weight: Array,
    bias: Array,
    eps: float,
    normal: Array,
    result: Array,
    mean: Array,
    var: Array,
    inverse: Array,
) -> None:
    """The statistics; the results."""
    count, channels = rows.shape
    size = _line(channels, count)
    x, n, y, factor = rows.reshape(-1), normal.reshape(-1), result.reshape(-1), inverse.reshape(-1)
    means, squares = _statistics(x, size, channels)
    for j in range(channels):
        mean[j] = means[j]
        var[j] = squares[j] / count
        factor[j] = 1 / math.sqrt(squares[j] / count + eps)
    centers, factors = _repeated(mean, size), _repeated(factor, size)
    scales, shifts = _repeated(weight, size), _repeated(bias, size)
    for start in range(0, x.size, size):
        a, b, c = x[start : start + size], n[start : start + size], y[start : start + size]
        for j in range(a.size):
            z = (a[j] - centers[j]) * factors[j]
            b[j] = z
            c[j] = z * scales[j] + shifts[j]


@loop
def _batch_x(rows: Array, normal: Array, inverse: Array, weight: Array, result: Array) -> None:
    """The two means; G a - x̂ b - c with vectors a, b and c."""
    count, channels = rows.shape
    size = _line(channels, count)
    g, n, r = rows.reshape(-1), normal.reshape(-1), result.reshape(-1)
    plain, product = _column_sums(g, size, channels), _column_products(g, n, size, channels)
    first, second, third = np.empty(channels, g.dtype), np.empty(channels, g.dtype), np.empty(channels, g.dtype)
    for j in range(channels):
        first[j] = inverse[0, j] * weight[j]
        second[j], third[j] = product[j] / count * first[j], plain[j] / count * first[j]
    first, second, third = _repeated(first, size), _repeated(second, size), _repeated(third, size)
    for start in range(0, g.size, size):
        a, b, c = g[start : start + size], n[start : start + size], r[start : start + size]
        for j in range(a.size):
            c[j] = a[j] * first[j] - b[j] * second[j] - third[j]


@loop
def _weight(rows: Array, normal: Array, result: Array) -> None:
    """Σ g x̂ over rows."""
    count, channels = rows.shape
    sums = _column_products(rows.reshape(-1), normal.reshape(-1), _line(channels, count), channels)
    for j in range(result.size):
        result[j] = sums[j]


@loop
def _bias(rows: Array, result: Array) -> None:
    """Σ g over rows."""
    count, channels = rows.shape
    sums = _column_sums(rows.reshape(-1), _line(channels, count), channels)
    for j in range(result.size):
        result[j] = sums[j]


def batch_norm_forward(
    xp: Any, x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> Any:
    """Three passes, and no copies."""
    count = prod(x.shape[:-1])
    if count < 2 or not x.size or not served(x.dtype, x, weight, bias):
        return native.batch_norm_forward(xp, x, weight, bias, eps=eps)
    require_parameters(x.shape[-1:], weight, bias)
    channels, dtype = x.shape[-1], x.dtype
    normal, y, inverse = np.empty((count, channels), dtype), np.empty(x.shape, dtype), np.empty((1, channels), dtype)
    mean, var = np.empty(channels, dtype), np.empty(channels, dtype)
    weight, bias = or_ones(weight, channels, dtype), or_zeros(bias, channels, dtype)
    _batch_forward(rows_of(x), weight, bias, eps, normal, rows_of(y), mean, var, inverse)
    return (y, mean, var), (normal, inverse)


def batch_norm_x(xp: Any, g: Array, saved: Any, x_dtype: DType, weight: Array | None = None) -> Array:
    """Two passes."""
    normal, inverse = saved
    require_parameters(normal.shape[1:], weight)
    if not g.size or x_dtype != g.dtype or not served(g.dtype, g, normal, inverse, weight):
        return native.batch_norm_x(xp, g, saved, x_dtype, weight)
    result = np.empty(g.shape, g.dtype)
    _batch_x(rows_of(g), normal, inverse, or_ones(weight, normal.shape[1], g.dtype), rows_of(result))
    return result


def batch_norm_weight(xp: Any, g: Array, saved: Any, weight_dtype: DType) -> Array:
    """One pass."""
    normal, _ = saved
    if not g.size or weight_dtype != g.dtype or not served(g.dtype, g, normal):
        return native.batch_norm_weight(xp, g, saved, weight_dtype)
    result = np.empty(normal.shape[1], weight_dtype)
    _weight(g.reshape(normal.shape), normal, result)
    return result


def batch_norm_bias(xp: Any, g: Array, saved: Any, bias_dtype: DType) -> Array:
    """One pass."""
    normal, _ = saved
    if not g.size or bias_dtype != g.dtype or not served(g.dtype, g):
        return native.batch_norm_bias(xp, g, saved, bias_dtype)
    result = np.empty(normal.shape[1], bias_dtype)
    _bias(g.reshape(normal.shape), result)
    return result


def or_ones(weight: Array | None, length: int, dtype: DType) -> Array:
    """The weight as a vector."""
    return np.ones(length, dtype) if weight is None else weight if weight.ndim == 1 else weight.reshape(length)


def or_zeros(bias: Array | None, length: int, dtype: DType) -> Array:
    """The bias as a vector."""
    return np.zeros(length, dtype) if bias is None else bias if bias.ndim == 1 else bias.reshape(length)


KERNELS: dict[str, Kernel] = {
    "batch_norm_bias": batch_norm_bias,
    "batch_norm_forward": batch_norm_forward,
    "batch_norm_weight": batch_norm_weight,
    "batch_norm_x": batch_norm_x,
}
