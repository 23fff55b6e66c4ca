"""Sums over all elements that regularisers take."""

from __future__ import annotations

from nnx._typing import Array, Namespace
from nnx.ops._op import op


def sum_abs_forward(xp: Namespace, x: Array) -> Array:
    """The sum of absolute values y = Σ |x|, whose derivative at 0 is 0.

    Args:
        x: any shape, floating-point.

    Returns:
        Shape ().
    """
    return xp.sum(xp.abs(x))


def sum_abs_x(xp: Namespace, g: Array, x: Array) -> Array:
    """G · sign(x)."""
    return g * xp.sign(x)


def sum_squares_forward(xp: Namespace, x: Array) -> Array:
    """The sum of squares y = Σ x².

    Args:
        x: any shape, floating-point.

    Returns:
        Shape ().
    """
    return xp.sum(x * x)


def sum_squares_x(xp: Namespace, g: Array, x: Array) -> Array:
    """2 G x."""
    return (2 * g) * x


sum_abs = op(sum_abs_forward, x=sum_abs_x)
sum_squares = op(sum_squares_forward, x=sum_squares_x)
