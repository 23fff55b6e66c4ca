"""Derivatives of the reductions and of what runs along an axis.

``max`` and ``min`` share the gradient equally among equal extremes. ``std`` has 0 where all elements are
equal. ``var`` and ``std`` of complex numbers, which the standard does not have and some libraries take, are
of the squares |x - mean|². ``prod`` and ``cumulative_prod`` never divide by an element, so that their
derivatives of any order are right where some are 0.
"""

from __future__ import annotations

from math import nan

from nnx._typing import Array, Namespace
from nnx.tape.namespace import Composition
from nnx.tape.rule import Rule
from nnx.vjps._rule import cast, conj, count, inverse, or_inf, reduced_axes, restore, rule

Axis = int | tuple[int, ...] | None


def _sum(
    xp: Namespace, g: Array, x_shape: tuple[int, ...], x_dtype: object, axis: Axis = None, keepdims: bool = False
) -> Array:
    return cast(xp, xp.broadcast_to(restore(xp, g, x_shape, axis, keepdims), x_shape), x_dtype)


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
    scale = 2 / n if n > 0 else nan  # as the variance itself
    return restore(xp, g, x_shape, axis, keepdims) * scale * conj(xp, x - xp.mean(x, axis=axis, keepdims=True))


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
    return _var(xp, g / (2 * or_inf(xp, y)), x, x_shape, axis, correction, keepdims)


def _prod(
    xp: Namespace, g: Array, x: Array, x_shape: tuple[int, ...], y: Array, axis: Axis = None, keepdims: bool = False
) -> Array:
    reduced = reduced_axes(x_shape, axis)
    order = (*(a for a in range(len(x_shape)) if a not in reduced), *reduced)
    moved = xp.permute_dims(xp.astype(x, y.dtype, copy=False), order)
    lines = xp.reshape(moved, (*moved.shape[: len(order) - len(reduced)], count(x_shape, axis)))
    before = xp.cumulative_prod(lines, axis=-1, include_initial=True)[..., :-1]
    after = xp.flip(xp.cumulative_prod(xp.flip(lines, axis=-1), axis=-1, include_initial=True)[..., :-1], axis=-1)
    others = xp.permute_dims(xp.reshape(before * after, moved.shape), inverse(order))
    return cast(xp, restore(xp, g, x_shape, axis, keepdims) * others, x.dtype)


def _cumulative_sum(
    xp: Namespace,
    g: Array,
    x_shape: tuple[int, ...],
    x_dtype: object,
    axis: int | None = None,
    include_initial: bool = False,
) -> Array:
    axis = 0 if axis is None else axis % len(x_shape)
    g = _without_initial(g, axis) if include_initial else g
    return cast(xp, xp.flip(xp.cumulative_sum(xp.flip(g, axis=axis), axis=axis), axis=axis), x_dtype)


def _cumulative_prod(
    xp: Namespace,
    g: Array,
    x: Array,
    x_shape: tuple[int, ...],
    axis: int | None = None,
    include_initial: bool = False,
) -> Array:
    """Π_{k<j} x[k] r[j], where r[j] = Σ_{i≥j} g[i] Π_{j<k≤i} x[k] obeys r[j] = g[j] + x[j+1] r[j+1].

    That recurrence is run by doubling: ⌈log₂ n⌉ steps (Blelloch, "Prefix sums and their applications", 1990).
    """
    dtype, axis = x.dtype, 0 if axis is None else axis % len(x_shape)
    if 0 in x_shape:
        return cast(xp, _without_initial(g, axis) if include_initial else g, dtype)
    x = xp.moveaxis(xp.astype(x, g.dtype, copy=False), axis, -1)
    r = xp.moveaxis(_without_initial(g, axis) if include_initial else g, axis, -1)
    factor, step, n = x[..., 1:], 1, x_shape[axis]
    while step < n:  # factor[j] is x[j+1] … x[j+step]
        r = xp.concat([r[..., :-step] + r[..., step:] * factor, r[..., -step:]], axis=-1)
        left = max(n - 2 * step, 0)
        factor = factor[..., :left] * factor[..., n - step - left :]
        step *= 2
    before = xp.cumulative_prod(x, axis=-1, include_initial=True)[..., :-1]
    return cast(xp, xp.moveaxis(r * before, -1, axis), dtype)


def _without_initial(g: Array, axis: int) -> Array:
    return g[(slice(None),) * axis + (slice(1, None), ...)]


def _diff(
    xp: Namespace,
    x: Array,
    /,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: Array | None = None,
    append: Array | None = None,
) -> Array:
    parts = [part for part in (prepend, x, append) if part is not None]
    x = xp.concat(parts, axis=axis) if len(parts) > 1 else x
    before = (slice(None),) * (axis % len(x.shape))
    for _ in range(min(n, x.shape[axis])):  # what is left of no elements is none
        x = x[(*before, slice(1, None), ...)] - x[(*before, slice(None, -1), ...)]
    return x


RULES: dict[str, Rule] = {
    "cumulative_prod": rule("x", casts=True, x=_cumulative_prod),
    "cumulative_sum": rule("x", casts=True, x=_cumulative_sum),
    "max": rule("x", x=_extreme),
    "mean": rule("x", x=_mean),
    "min": rule("x", x=_extreme),
    "prod": rule("x", casts=True, x=_prod),
    "std": rule("x", x=_std),
    "sum": rule("x", casts=True, x=_sum),
    "var": rule("x", x=_var),
}

CONSTANT = frozenset("all any argmax argmin count_nonzero".split())

COMPOSITIONS: dict[str, Composition] = {"diff": _diff}
