"""The affine map of a dense layer."""

from __future__ import annotations

from math import prod

from nnx._precision import total
from nnx._typing import Array, Namespace
from nnx.ops._op import op
from nnx.ops.rectifier import relu_forward, relu_x


def linear_forward(xp: Namespace, x: Array, weight: Array, bias: Array | None = None) -> Array:
    r"""The affine map y = x W + b.

    The leading axes of ``x`` are flattened, so that there is one matrix product however many there
    are. The adjoints, with G the gradient of y as a matrix of rows:

        x: G Wᵀ        weight: xᵀ G        bias: Σ_rows G

    Args:
        x: shape (..., in).
        weight: shape (in, out).
        bias: shape (out,), or ``None``.

    Returns:
        Shape (..., out).
    """
    y = xp.matmul(_rows(xp, x), weight)
    if bias is not None:
        y = y + bias
    return y if len(x.shape) == 2 else xp.reshape(y, (*x.shape[:-1], weight.shape[-1]))


def linear_x(xp: Namespace, g: Array, weight: Array) -> Array:
    """G Wᵀ."""
    gradient = xp.matmul(_rows(xp, g), xp.matrix_transpose(weight))
    return gradient if len(g.shape) == 2 else xp.reshape(gradient, (*g.shape[:-1], weight.shape[0]))


def linear_weight(xp: Namespace, g: Array, x: Array) -> Array:
    """Xᵀ G."""
    return xp.matmul(xp.matrix_transpose(_rows(xp, x)), _rows(xp, g))


def linear_bias(xp: Namespace, g: Array) -> Array:
    """Σ_rows G."""
    return total(xp, _rows(xp, g), 0)


def _rows(xp: Namespace, x: Array) -> Array:
    """The leading axes of ``x`` flattened into one."""
    return x if len(x.shape) == 2 else xp.reshape(x, (prod(x.shape[:-1]), x.shape[-1]))


def linear_relu_forward(xp: Namespace, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """The affine map and the rectifier in one, y = max(x W + b, 0), with the arguments and the result of ``linear``."""
    return relu_forward(xp, linear_forward(xp, x, weight, bias))


linear = op(linear_forward, x=linear_x, weight=linear_weight, bias=linear_bias)
linear_relu = op(linear_relu_forward, last=relu_x, x=linear_x, weight=linear_weight, bias=linear_bias)
