"""Derivatives of the functions that move elements about: the gradient is moved back."""

from __future__ import annotations

from math import prod
from typing import Any

import array_api_compat

from nnx._errors import ArgumentError, DTypeError
from nnx._typing import Array, DType, Namespace, NativeDevice
from nnx.backend import is_array, library_of
from nnx.tape.namespace import Composition
from nnx.tape.primitive import Primitive, untracked
from nnx.tape.rule import Rule
from nnx.vjps._rows import add_rows
from nnx.vjps._rule import cast, inverse, is_complex, joint, raw, rule, sequence, unbroadcast


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
    return xp.roll(g, tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift, axis=axis)


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


def _broadcast_arrays(xp: Namespace, *arrays: Array) -> tuple[Array, ...]:
    for a in arrays:
        if not is_array(a):
            raise DTypeError(f"expected arrays, got a {type(a).__name__}: make one with nnx.asarray(...)")
    shape = xp.broadcast_shapes(*(a.shape for a in arrays))
    return tuple(xp.broadcast_to(a, shape) for a in arrays)


def _meshgrid(xp: Namespace, *arrays: Array, indexing: str = "xy") -> tuple[Array, ...]:
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"the indexing of meshgrid() is 'xy' or 'ij', got {indexing!r}")
    axes = list(range(len(arrays)))
    if indexing == "xy" and len(axes) > 1:
        axes[:2] = 1, 0
    ones = (1,) * len(axes)
    spread = [
        xp.reshape(a, (*ones[:axis], prod(a.shape), *ones[axis + 1 :])) for a, axis in zip(arrays, axes, strict=True)
    ]
    return _broadcast_arrays(xp, *spread)


def _stack_back(xp: Namespace, g: dict[int, Array], x_shape: tuple[int, ...], axis: int = 0) -> Array:
    none = xp.zeros_like(next(iter(g.values())))
    return xp.stack([g.get(i, none) for i in range(x_shape[axis])], axis=axis)


def _sum_copies(xp: Namespace, g: Array, x_shape: tuple[int, ...]) -> Array:
    return unbroadcast(xp, g, x_shape)


def _astype(x: Array, dtype: DType, **options: Any) -> Array:
    """The library's ``astype``; some take complex numbers as real ones, which the standard does not permit."""
    xp = library_of(x).namespace
    if is_complex(xp, x.dtype) and xp.isdtype(dtype, ("integral", "real floating")):
        raise DTypeError(
            f"an array of {x.dtype} cannot be cast to {dtype}, which would drop its imaginary part: take xp.real(x), "
            "xp.imag(x) or xp.abs(x)"
        )
    return xp.astype(x, dtype, **options)


def _device_back(g: Array, x_device: NativeDevice) -> Array:
    return _to_device(g, x_device)


_TO_DEVICE = rule("x device", x=_device_back)
_to_device = Primitive("to_device", array_api_compat.to_device, _TO_DEVICE)  # a method in the standard

RULES: dict[str, Rule] = {
    "astype": rule("x dtype", casts=True, x=lambda xp, g, x_dtype: cast(xp, g, x_dtype)),
    "broadcast_to": rule("x shape", x=_sum_copies),
    "concat": sequence(_part),
    "expand_dims": rule("x axis", x=lambda xp, g, x_shape: xp.reshape(g, x_shape)),
    "flip": rule("x", x=lambda xp, g, axis=None: xp.flip(g, axis=axis)),
    "moveaxis": rule("x source destination", x=lambda xp, g, source, destination: xp.moveaxis(g, destination, source)),
    "permute_dims": rule("x axes", x=_permute_back),
    "repeat": rule("x repeats", x=_sum_repeats),
    "reshape": rule("x shape", x=lambda xp, g, x_shape: xp.reshape(g, x_shape)),
    "roll": rule("x shift", x=_roll_back),
    "squeeze": rule("x axis", x=lambda xp, g, x_shape: xp.reshape(g, x_shape)),
    "stack": sequence(_layer),
    "tile": rule("x repetitions", x=_sum_tiles),
    "to_device": _TO_DEVICE,
    "tril": rule("x", x=lambda xp, g, k=0: xp.tril(g, k=k)),
    "triu": rule("x", x=lambda xp, g, k=0: xp.triu(g, k=k)),
    "unstack": joint("x", None, x=_stack_back),
}

OPERATORS = {"astype": _astype, "to_device": array_api_compat.to_device}

COMPOSITIONS: dict[str, Composition] = {
    "broadcast_arrays": _broadcast_arrays,
    "meshgrid": _meshgrid,
}
