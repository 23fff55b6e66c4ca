"""Derivatives of the functions that move elements about: the gradient is moved back."""

from __future__ import annotations

from math import prod

import array_api_compat

from nnx._typing import Array, DType, Namespace
from nnx.tape.primitive import untracked
from nnx.tape.rule import Rule
from nnx.vjps._rows import add_rows
from nnx.vjps._rule import inverse, raw, rule, sequence, unbroadcast


def _part(xp: Namespace, g: Array, position: int, shapes: tuple[tuple[int, ...], ...], axis: int | None = 0) -> Array:
    """The part of a concatenation's gradient that belongs to one array."""
    if axis is None:
        shapes, shape, axis = tuple((prod(s),) for s in shapes), shapes[position], 0
    else:
        shape = shapes[position]
        axis %= len(shape)
    start = sum(s[axis] for s in shapes[:position])
    key = (slice(None),) * axis + (slice(start, start + shapes[position][axis]),)
    return xp.reshape(g[(*key, ...)], shape)


def _layer(xp: Namespace, g: Array, position: int, axis: int = 0) -> Array:
    return g[(slice(None),) * (axis % len(g.shape)) + (position, ...)]


def _permute_back(xp: Namespace, g: Array, axes: tuple[int, ...] = ()) -> Array:
    return xp.permute_dims(g, inverse([axis % len(axes) for axis in axes]))


def _roll_back(
    xp: Namespace, g: Array, shift: int | tuple[int, ...] = 0, axis: int | tuple[int, ...] | None = None
) -> Array:
    return xp.roll(g, -shift if isinstance(shift, int) else tuple(-s for s in shift), axis=axis)


def _sum_repeats(
    xp: Namespace, g: Array, x_shape: tuple[int, ...], repeats: int | Array, axis: int | None = None
) -> Array:
    shape = (prod(x_shape),) if axis is None else x_shape
    axis = 0 if axis is None else axis % len(shape)
    if isinstance(repeats, int):
        g = xp.sum(xp.reshape(g, (*shape[: axis + 1], repeats, *shape[axis + 1 :])), axis=axis + 1)
    else:
        lib, repeats = raw(xp), untracked(repeats)
        source = lib.repeat(lib.arange(shape[axis], device=array_api_compat.device(repeats)), repeats)
        g = xp.moveaxis(add_rows(xp, xp.moveaxis(g, axis, 0), shape[axis], source), 0, axis)
    return xp.reshape(g, x_shape)


def _sum_tiles(xp: Namespace, g: Array, x_shape: tuple[int, ...], repetitions: tuple[int, ...]) -> Array:
    shape = (1,) * (len(repetitions) - len(x_shape)) + x_shape
    times = (1,) * (len(x_shape) - len(repetitions)) + tuple(repetitions)
    pairs = tuple(n for pair in zip(times, shape, strict=True) for n in pair)
    return xp.reshape(xp.sum(xp.reshape(g, pairs), axis=tuple(range(0, len(pairs), 2))), x_shape)


def _cast_back(xp: Namespace, g: Array, x_dtype: DType) -> Array:
    return xp.astype(g, x_dtype)


def _sum_copies(xp: Namespace, g: Array, x_shape: tuple[int, ...]) -> Array:
    return unbroadcast(xp, g, x_shape)


RULES: dict[str, Rule] = {
    "astype": rule("x dtype", casts=True, x=_cast_back),
    "broadcast_to": rule("x shape", x=_sum_copies),
    "concat": sequence(_part),
    "expand_dims": rule("x", x=lambda xp, g, x_shape: xp.reshape(g, x_shape)),
    "flip": rule("x", x=lambda xp, g, axis=None: xp.flip(g, axis=axis)),
    "moveaxis": rule("x source destination", x=lambda xp, g, source, destination: xp.moveaxis(g, destination, source)),
    "permute_dims": rule("x axes", x=_permute_back),
    "repeat": rule("x repeats", x=_sum_repeats),
    "reshape": rule("x shape", x=lambda xp, g, x_shape: xp.reshape(g, x_shape)),
    "roll": rule("x shift", x=_roll_back),
    "squeeze": rule("x axis", x=lambda xp, g, x_shape: xp.reshape(g, x_shape)),
    "stack": sequence(_layer),
    "tile": rule("x repetitions", x=_sum_tiles),
    "tril": rule("x", x=lambda xp, g, k=0: xp.tril(g, k=k)),
    "triu": rule("x", x=lambda xp, g, k=0: xp.triu(g, k=k)),
}

GAPS = frozenset("broadcast_arrays meshgrid to_device unstack".split())
