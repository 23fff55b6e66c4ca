"""Derivatives of the reductions.

``max`` and ``min`` share the gradient equally among equal extremes.
"""

from __future__ import annotations

from nnx._typing import Array, Namespace
from nnx.tape.rule import Rule
from nnx.vjps._rule import count, restore, rule

Axis = int | tuple[int, ...] | None


def _sum(
    xp: Namespace, g: Array, x_shape: tuple[int, ...], x_dtype: object, axis: Axis = None, keepdims: bool = False
) -> Array:
    return xp.astype(xp.broadcast_to(restore(xp, g, x_shape, axis, keepdims), x_shape), x_dtype, copy=False)


def _mean(xp: Namespace, g: Array, x_shape: tuple[int, ...], axis: Axis = None, keepdims: bool = False) -> Array:
    return xp.broadcast_to(restore(xp, g / count(x_shape, axis), x_shape, axis, keepdims), x_shape)


def _extreme(
    xp: Namespace, g: Array, y: Array, x: Array, x_shape: tuple[int, ...], axis: Axis = None, keepdims: bool = False
) -> Array:
    hit = xp.astype(x == restore(xp, y, x_shape, axis, keepdims), x.dtype)
    return restore(xp, g, x_shape, axis, keepdims) / xp.sum(hit, axis=axis, keepdims=True) * hit


def _var(
    xp: Namespace,
    g: Array,
    x: Array,
    x_shape: tuple[int, ...],
    axis: Axis = None,
    correction: float = 0.0,
    keepdims: bool = False,
) -> Array:
    n = count(x_shape, axis) - correction
    return restore(xp, g, x_shape, axis, keepdims) * (2 / n) * (x - xp.mean(x, axis=axis, keepdims=True))


def _std(
    xp: Namespace,
    g: Array,
    y: Array,
    x: Array,
    x_shape: tuple[int, ...],
    axis: Axis = None,
    correction: float = 0.0,
    keepdims: bool = False,
) -> Array:
    return _var(xp, g / (2 * y), x, x_shape, axis, correction, keepdims)


RULES: dict[str, Rule] = {
    "max": rule("x", x=_extreme),
    "mean": rule("x", x=_mean),
    "min": rule("x", x=_extreme),
    "std": rule("x", x=_std),
    "sum": rule("x", casts=True, x=_sum),
    "var": rule("x", x=_var),
}

CONSTANT = frozenset("all any argmax argmin count_nonzero".split())

GAPS = frozenset("cumulative_prod cumulative_sum diff prod".split())
