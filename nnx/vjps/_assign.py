"""Assignment to a part of an array, as a function: a copy of ``x`` with ``value`` in the place of ``x[key]``.

It is linear. By ``x`` the gradient is that of the result, with zeros in the place; by ``value`` it is what stands
in the place, summed over the copies of a value that was broadcast. Where integer arrays select an
element more than once, one of its values is written, and the others have no part in the result. Which
one it is, the standard leaves to the library; it is found by writing numbers in the same way.
"""

from __future__ import annotations

from math import prod
from typing import Any

import array_api_compat
import array_api_extra as xpx

from nnx._errors import ShapeError
from nnx._typing import Array, Namespace
from nnx.backend import is_array, namespace_of, readable
from nnx.tape.primitive import Primitive, untracked
from nnx.vjps._rule import raw, rule, unbroadcast

Key = Any
Shape = tuple[int, ...]


def assign(x: Array, key: Key, value: Any, *, copy: bool = True) -> Array:
    """Raw ``x`` with ``value``, a raw array or a number, in the place of ``x[key]``.

    Args:
        copy: leave ``x`` as it is; otherwise it is changed where its library can do that.

    Raises:
        ShapeError: ``value`` does not broadcast to the place.
    """
    xp = namespace_of(x, value)
    shape = getattr(value, "shape", ())
    try:
        return _assign(xp, x, key, value, shape, copy)
    except Exception as error:
        place = x[key].shape
        if not _broadcasts(shape, place):
            raise ShapeError(
                f"an array of shape {tuple(shape)} cannot be assigned to x[key] of shape {tuple(place)}: expected a "
                "shape that broadcasts to it"
            ) from error
        if len(shape) <= len(place):
            raise
    shape = shape[len(shape) - len(place) :]  # some libraries take no axes of length 1 in front
    return _assign(xp, x, key, xp.reshape(value, shape), shape, copy)


def _assign(xp: Namespace, x: Array, key: Key, value: Any, shape: Shape, copy: bool) -> Array:
    parts = tuple([_number(xp, part) for part in parts_of(key)])
    one = _one_value(xp, x.shape, parts, shape)
    if one is not None:
        return _choose(xp, parts[0], value if one == shape else xp.reshape(value, one), x)
    if any(part is None for part in parts):  # a new axis is for reading alone
        place = x[key].shape
        parts = tuple([part for part in parts if part is not None])
        key = parts = parts if any(part is ... for part in parts) else (*parts, ...)
        if shape:
            value = xp.reshape(xp.broadcast_to(value, place), x[parts].shape)
    return xpx.at(x, parts if isinstance(key, tuple) else parts[0]).set(value, copy=copy or None, xp=xp)


def parts_of(key: Key) -> tuple[Any, ...]:
    """A key as a tuple."""
    return key if isinstance(key, tuple) else (key,)


def selects_once(xp: Namespace, key: Key) -> bool:
    """Whether a raw key selects no element twice: there is no array of integers in it."""
    return all(
        not part.shape or bool(xp.isdtype(part.dtype, "bool"))
        if is_array(part)
        else part is None or part is ... or isinstance(part, (int, slice))
        for part in parts_of(key)
    )


def numbers(xp: Namespace, g: Array, shape: Shape) -> Array:
    """The elements of an array of ``shape``, numbered; a raw array."""
    xp, g = raw(xp), untracked(g)
    return xp.reshape(xp.arange(prod(shape), device=array_api_compat.device(g)), shape)


def _number(xp: Namespace, part: Any) -> Any:
    """An integer in an array as a number, by which every library assigns, where that costs no waiting."""
    is_number = is_array(part) and part.shape == () and xp.isdtype(part.dtype, "integral") and readable(part)
    return part.__index__() if is_number else part


def _one_value(xp: Namespace, x_shape: Shape, parts: tuple[Any, ...], shape: Shape) -> Shape | None:
    """If the key is a mask whose elements all get the same value: its shape, that of x after the mask's axes or less.

    That is a choice between the value and x, which a compiler knows the shape of.
    """
    mask: Array = parts[0] if len(parts) == 1 else None
    if not is_array(mask) or not xp.isdtype(mask.dtype, "bool"):
        return None
    rest = x_shape[len(mask.shape) :]
    fits = mask.shape == x_shape[: len(mask.shape)] and _broadcasts(shape, rest)
    return shape[max(len(shape) - len(rest), 0) :] if fits else None


def _choose(xp: Namespace, mask: Array, one: Any, other: Array) -> Array:
    """``one`` where ``mask`` holds, which has the first axes of ``other``."""
    if not is_array(one):
        one = xp.asarray(one, dtype=other.dtype, device=array_api_compat.device(other))
    return xp.where(xp.reshape(mask, mask.shape + (1,) * (len(other.shape) - len(mask.shape))), one, other)


def _broadcasts(shape: Shape, to: Shape) -> bool:
    """Whether an array of ``shape``, without axes of length 1 in front, broadcasts to a place of shape ``to``."""
    extra = max(len(shape) - len(to), 0)
    pairs = zip(reversed(shape[extra:]), reversed(to), strict=False)
    return set(shape[:extra]) <= {1} and all(m in (1, n) for m, n in pairs)


def _by_x(g: Array, key: Key) -> Array:
    return _set(g, untracked(key), 0.0)


def _by_value(xp: Namespace, g: Array, x_shape: Shape, key: Key, value_shape: Shape) -> Array:
    key = untracked(key)
    one = _one_value(raw(xp), x_shape, parts_of(key), value_shape)
    if one is not None:
        mask = parts_of(key)[0]
        part = _choose(xp, mask, g, xp.zeros_like(g))
        part = xp.sum(part, axis=tuple(range(len(mask.shape)))) if mask.shape else part
    else:
        part = g[key]
        if not selects_once(xp, key):
            number = numbers(xp, g, part.shape)
            written = assign(numbers(xp, g, x_shape), key, number, copy=False)[key]
            part = xp.where(written == number, part, xp.zeros_like(part))
        one = value_shape[max(len(value_shape) - len(part.shape), 0) :]
    return xp.reshape(part if part.shape == one else unbroadcast(xp, part, one), value_shape)


SETITEM = rule("x key value", x=_by_x, value=_by_value)

_set = Primitive("setitem", assign, SETITEM)  # for gradients, which may be raw
