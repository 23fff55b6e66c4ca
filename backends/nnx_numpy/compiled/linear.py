"""The affine map: a matrix product, and one pass for all that follows it.

The products stay with BLAS: at (32, 64) @ (64, 32) a loop takes seven times as long. So does the sum over rows, as a
product with ones; it is limited by memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnx._typing import Array, Kernel
from nnx_numpy.compiled._loop import loop, served
from nnx_numpy.kernels import rows_of


def linear_forward(xp: Any, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Add the bias in place."""
    y = np.dot(rows_of(x), weight)
    if bias is not None:
        if bias.ndim == 1 and bias.shape == y.shape[1:] and served(y.dtype, bias):
            _add_bias(y, bias)
        else:
            y = y + bias
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], weight.shape[1])


def linear_relu_forward(xp: Any, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Add the bias and cut off what is below zero in one pass, in place."""
    y = np.dot(rows_of(x), weight)
    if bias is None:
        y = np.maximum(y, 0.0, out=y)
    elif bias.ndim == 1 and bias.shape == y.shape[1:] and served(y.dtype, bias):
        _add_bias_relu(y, bias)
    else:
        y = np.maximum(y + bias, 0.0)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], weight.shape[1])


@loop
def _add_bias(y: Array, bias: Array) -> None:
    rows, columns = y.shape
    for i in range(rows):
        for j in range(columns):
            y[i, j] += bias[j]


@loop
def _add_bias_relu(y: Array, bias: Array) -> None:
    rows, columns = y.shape
    zero = y.dtype.type(0)
    for i in range(rows):
        for j in range(columns):
            z = y[i, j] + bias[j]
            y[i, j] = zero if z <= zero else z


KERNELS: dict[str, Kernel] = {"linear_forward": linear_forward, "linear_relu_forward": linear_relu_forward}
