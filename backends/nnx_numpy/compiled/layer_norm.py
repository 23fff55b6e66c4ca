"""Normalisation of each example while its row is in the cache, with sums in float64."""

from __future__ import annotations

import math
from math import prod
from typing import Any

import numpy as np

from nnx._typing import Array, DType, Kernel
from nnx.ops.norm import require_parameters
from nnx_numpy import norm as native
from nnx_numpy.compiled._loop import loop, served
from nnx_numpy.compiled.norm import batch_norm_bias, batch_norm_weight, or_ones, or_zeros


@loop
def _layer_forward(
    rows: Array, weight: Array, bias: Array, eps: float, normal: Array, result: Array, inverse: Array
) -> None:
    """Row by row: the sum; the sum of squared deviations; the results."""
    count, length = rows.shape
    number = rows.dtype.type
    for i in range(count):
        x, n, y = rows[i], normal[i], result[i]
        total, squares = 0.0, 0.0
        for j in range(length):
            total += x[j]
        mean = number(total / length)
        for j in range(length):
            d = x[j] - mean
            squares += np.float64(d) * d
        factor = number(1 / math.sqrt(squares / length + eps))
        inverse[i, 0] = factor
        for j in range(length):
            z = (x[j] - mean) * factor
            n[j] = z
            y[j] = z * weight[j] + bias[j]


@loop
def _layer_x(rows: Array, normal: Array, inverse: Array, weight: Array, result: Array) -> None:
    """Row by row: the two means; the result."""
    count, length = rows.shape
    number = rows.dtype.type
    for i in range(count):
        g, n, r = rows[i], normal[i], result[i]
        plain, product = 0.0, 0.0
        for j in range(length):
            a = g[j] * weight[j]
            plain += a
            product += a * n[j]
        first, second, factor = number(plain / length), number(product / length), inverse[i, 0]
        for j in range(length):
            r[j] = (g[j] * weight[j] - first - n[j] * second) * factor


def layer_norm_forward(
    xp: Any, x: Array, weight: Array | None = None, bias: Array | None = None, *, axes: int = 1, eps: float = 1e-5
) -> Any:
    """One pass: a row is done with before the next."""
    if len(x.shape) < axes or not x.size or not served(x.dtype, x, weight, bias):
        return native.layer_norm_forward(xp, x, weight, bias, axes=axes, eps=eps)
    require_parameters(x.shape[-axes:], weight, bias)
    length, dtype = prod(x.shape[-axes:]), x.dtype
    rows = x.reshape(-1, length)
    normal, y, inverse = np.empty(rows.shape, dtype), np.empty(rows.shape, dtype), np.empty((rows.shape[0], 1), dtype)
    _layer_forward(rows, or_ones(weight, length, dtype), or_zeros(bias, length, dtype), eps, normal, y, inverse)
    return y.reshape(x.shape), (normal, inverse)


def layer_norm_x(xp: Any, g: Array, saved: Any, x_dtype: DType, weight: Array | None = None) -> Array:
    """One pass."""
    normal, inverse = saved
    if not g.size or x_dtype != g.dtype or not served(g.dtype, g, normal, inverse, weight):
        return native.layer_norm_x(xp, g, saved, x_dtype, weight)
    if weight is not None and weight.size != normal.shape[1]:
        return native.layer_norm_x(xp, g, saved, x_dtype, weight)
    result = np.empty(normal.shape, g.dtype)
    rows = g.reshape(normal.shape)
    _layer_x(rows, normal, inverse, or_ones(weight, rows.shape[1], g.dtype), result)
    return result.reshape(g.shape)


def layer_norm_weight(xp: Any, g: Array, saved: Any, weight_shape: Any, weight_dtype: DType) -> Array:
    """As that of a batch."""
    return batch_norm_weight(xp, g, saved, weight_dtype).reshape(weight_shape)


def layer_norm_bias(xp: Any, g: Array, saved: Any, bias_shape: Any, bias_dtype: DType) -> Array:
    """As that of a batch."""
    return batch_norm_bias(xp, g, saved, bias_dtype).reshape(bias_shape)


KERNELS: dict[str, Kernel] = {
    "layer_norm_bias": layer_norm_bias,
    "layer_norm_forward": layer_norm_forward,
    "layer_norm_weight": layer_norm_weight,
    "layer_norm_x": layer_norm_x,
}
