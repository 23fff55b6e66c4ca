"""NumPy kernels of functions of ``nnx.ops`` and of the derivative rules, by name.

Each computes what its reference does, in fewer passes over memory and fewer calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from nnx._typing import Array, Kernel
from nnx.ops.softmax import label_dtype_error, label_error
from nnx.ops.softmax import softmax_cross_entropy_forward as in_float32
from nnx.vjps import _rule
from nnx_numpy import conv, dropout, embedding, gather, norm, optim, pool


@lru_cache(maxsize=64)
def _ones(n: int, dtype: Any) -> Array:
    """Ones that nobody may change: a product with them is the quickest sum over an axis."""
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


@lru_cache(maxsize=64)
def _row_starts(rows: int, length: int) -> Array:
    """The place of each row's first element in a flattened matrix."""
    starts = np.arange(0, rows * length, length, dtype=np.intp)
    starts.flags.writeable = False
    return starts


_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
"""The unsigned type of a number of bytes."""


def rows_of(x: Array) -> Array:
    """The leading axes flattened into one."""
    return x if x.ndim == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1])


def linear_forward(xp: Any, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Add the bias in place."""
    y = np.dot(rows_of(x), weight)
    if bias is not None:
        y = y + bias if bias.dtype != y.dtype else np.add(y, bias, out=y)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], weight.shape[1])


def linear_relu_forward(xp: Any, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Rectify in place."""
    y = linear_forward(xp, x, weight, bias)
    return np.maximum(y, 0.0, out=y)


def linear_x(xp: Any, g: Array, weight: Array) -> Array:
    """Multiply by a view of the transposed weight."""
    if g.ndim == 2:
        return np.dot(g, weight.T)
    return np.dot(rows_of(g), weight.T).reshape(*g.shape[:-1], weight.shape[0])


def linear_weight(xp: Any, g: Array, x: Array) -> Array:
    """Multiply by a view of the transposed input."""
    return np.dot(rows_of(x).T, rows_of(g))


def linear_bias(xp: Any, g: Array) -> Array:
    """Sum by a product with ones."""
    g = rows_of(g)
    return np.dot(_ones(g.shape[0], g.dtype), g)


def relu_forward(xp: Any, x: Array) -> Array:
    """Leave the type of the zero to NumPy."""
    return np.maximum(x, 0.0)


def relu_x(xp: Any, g: Array, y: Array) -> Array:
    """Multiply by the mask: to select by a random one takes 15 times as long on 65,536 elements.

    Departure: an infinite gradient is NaN where y is 0, and the reference's is 0. In float16, where there are
    infinite ones in the course of training, as the reference.
    """
    return np.where(y > 0, g, 0) if g.dtype.char == "e" else np.multiply(g, y > 0)


def softmax_cross_entropy_forward(xp: Any, logits: Array, labels: Array, *, mean: bool = False) -> tuple[Array, Array]:
    """Work in one buffer, and look the label's logit up instead of masking all others."""
    if labels.dtype.kind not in "iu":
        raise label_dtype_error(labels)
    if logits.dtype.char == "e":
        return in_float32(xp, logits, labels, mean=mean)
    z, ids = rows_of(logits), labels.reshape(-1)
    if not ids.dtype.isnative:
        ids = ids.astype(ids.dtype.newbyteorder("="))
    n, classes = z.shape
    # seen as an unsigned number, a negative one is too large
    if n and np.maximum.reduce(ids.view(_UNSIGNED[ids.dtype.itemsize])) >= classes:
        raise label_error(int(ids.min()), int(ids.max()), classes)
    # a reduction over short rows costs a call for each: over columns it is vectorised
    top = np.maximum.reduce(z.T.copy(), axis=0) if classes < 64 and n else np.maximum.reduce(z, axis=1)
    p = np.subtract(z, top[:, None], order="C")
    flat, at = p.ravel(), _row_starts(n, classes) + ids.astype(np.intp, copy=False)
    loss = flat[at]
    np.exp(p, out=p)
    total = np.dot(p, _ones(classes, p.dtype))
    p /= (total * p.dtype.type(n) if mean else total)[:, None]
    flat[at] -= p.dtype.type(1 / n if mean and n else 1)
    np.subtract(np.log(total, out=total), loss, out=loss)
    p = p.reshape(logits.shape)
    if mean:
        return np.add.reduce(loss) / loss.dtype.type(n), p
    return loss.reshape(labels.shape), p


def summed_to(xp: Any, g: Array, shape: tuple[int, ...]) -> Array:
    """Reduce without the checks of ``numpy.sum``, which take longer than the sum of a small array."""
    extra = g.ndim - len(shape)
    if g.dtype.char == "e":  # NumPy would add up in float16
        return _rule.summed_to(xp, g, shape)
    if g.shape[extra:] == shape:
        return np.add.reduce(g, axis=tuple(range(extra)))
    repeated = [axis + extra for axis, n in enumerate(shape) if n == 1 and g.shape[axis + extra] != 1]
    return np.add.reduce(g, axis=(*range(extra), *repeated)).reshape(shape)


_OWN: dict[str, Kernel] = {
    "conv2d_bias": linear_bias,
    "linear_bias": linear_bias,
    "linear_forward": linear_forward,
    "linear_relu_forward": linear_relu_forward,
    "linear_weight": linear_weight,
    "linear_x": linear_x,
    "relu_forward": relu_forward,
    "relu_x": relu_x,
    "softmax_cross_entropy_forward": softmax_cross_entropy_forward,
    "summed_to": summed_to,
}

KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        **_OWN,
        **conv.KERNELS,
        **dropout.KERNELS,
        **embedding.KERNELS,
        **gather.KERNELS,
        **norm.KERNELS,
        **optim.KERNELS,
        **pool.KERNELS,
    }
)
