"""Derivatives of indexing and selection.

``x[key]`` and ``_put`` are each other's adjoints for a key of integers, slices, ``None``, ``...`` or one
boolean mask: each element is selected at most once, so putting them back is an assignment. A key with
integer arrays (or lists, where the library takes them) may select an element many times; so may
``take`` and ``take_along_axis``. What each selection got is then added up: see ``_rows.py``.

``sort`` is a permutation, and its gradient goes back by the inverse of it. Equal elements are taken
in the order in which they stand in ``x``, also if ``stable`` is false or ``descending`` is true.
"""

from __future__ import annotations

from math import prod
from typing import Any

import array_api_compat
import array_api_extra as xpx

from nnx._typing import Array, DType, Namespace
from nnx.backend import is_array, readable
from nnx.tape.primitive import Primitive, untracked
from nnx.tape.rule import Rule
from nnx.vjps._rows import add_rows
from nnx.vjps._rule import binary, raw, rule


def _put_raw(g: Array, xp: Namespace, shape: tuple[int, ...], key: Any) -> Array:
    zeros = xp.zeros(shape, dtype=g.dtype, device=array_api_compat.device(g))
    parts = tuple(_number(xp, part) for part in (key if isinstance(key, tuple) else (key,)))
    key = parts if isinstance(key, tuple) else parts[0]
    if any(part is None for part in parts):  # a new axis is for reading alone
        key = tuple(part for part in parts if part is not None)
        key = key if any(part is ... for part in key) else (*key, ...)
        g = xp.reshape(g, zeros[key].shape)
    return xpx.at(zeros, key).set(g, xp=xp)


def _number(xp: Namespace, part: Any) -> Any:
    """An integer in an array as a number, by which every library assigns, where that costs no waiting."""
    is_number = is_array(part) and part.shape == () and xp.isdtype(part.dtype, "integral") and readable(part)
    return part.__index__() if is_number else part


_put = Primitive("put", _put_raw, rule("g xp shape key", g=lambda g, key: g[key]))


def _getitem(xp: Namespace, g: Array, x_shape: tuple[int, ...], key: Any) -> Array:
    key = untracked(key)
    parts = key if isinstance(key, tuple) else (key,)
    if all(_selects_once(xp, part) for part in parts):
        return _put(g, raw(xp), x_shape, key)
    while parts[-1] is ... or (isinstance(parts[-1], slice) and parts[-1] == slice(None)):
        parts = parts[:-1]  # what is selected whole anyway
    plain = all(_is_plain(xp, part) for part in parts)  # each but None takes one axis; those after them stay whole
    depth = sum(part is not None for part in parts) if plain else len(x_shape)
    number = _numbers(xp, g, x_shape[:depth])[parts if plain else key]  # which element of these axes each one is
    count = prod(number.shape)
    rows = xp.reshape(g, (count, *x_shape[depth:]))
    number = raw(xp).reshape(number, (count,))
    return xp.reshape(add_rows(xp, rows, prod(x_shape[:depth]), number), x_shape)


def _selects_once(xp: Namespace, part: Any) -> bool:
    if is_array(part):
        return not part.shape or bool(xp.isdtype(part.dtype, "bool"))
    return part is None or part is ... or isinstance(part, (int, slice))


def _is_plain(xp: Namespace, part: Any) -> bool:
    if is_array(part):
        return bool(xp.isdtype(part.dtype, "integral"))
    return part is None or (isinstance(part, (int, slice)) and not isinstance(part, bool))


def _numbers(xp: Namespace, g: Array, shape: tuple[int, ...]) -> Array:
    """The elements of an array of ``shape``, numbered; a raw array."""
    xp, g = raw(xp), untracked(g)
    return xp.reshape(xp.arange(prod(shape), device=array_api_compat.device(g)), shape)


def _take(xp: Namespace, g: Array, x_shape: tuple[int, ...], indices: Array, axis: int | None = None) -> Array:
    shape, axis = ((prod(x_shape),), 0) if axis is None else (x_shape, axis % len(x_shape))
    indices = untracked(indices)
    count = prod(indices.shape)  # of one axis in the standard; some libraries take more
    rows = xp.moveaxis(xp.reshape(g, (*shape[:axis], count, *shape[axis + 1 :])), axis, 0)
    found = add_rows(xp, rows, shape[axis], raw(xp).reshape(indices, (count,)))
    return xp.reshape(xp.moveaxis(found, 0, axis), x_shape)


def _take_along(xp: Namespace, g: Array, x_shape: tuple[int, ...], indices: Array, axis: int = -1) -> Array:
    if 0 in g.shape:
        return xp.zeros(x_shape, dtype=g.dtype, device=array_api_compat.device(untracked(g)))
    lib, indices, axis = raw(xp), untracked(indices), axis % len(x_shape)
    first = _numbers(xp, g, x_shape)[(slice(None),) * axis + (slice(0, 1), ...)]  # of each line along the axis
    indices = lib.astype(indices, first.dtype, copy=False)
    number = first + lib.where(indices < 0, indices + x_shape[axis], indices) * prod(x_shape[axis + 1 :])
    number = lib.reshape(lib.broadcast_to(number, g.shape), (-1,))
    return xp.reshape(add_rows(xp, xp.reshape(g, (-1,)), prod(x_shape), number), x_shape)


def _sort(xp: Namespace, g: Array, x: Array, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    order = xp.argsort(x, axis=axis, descending=descending, stable=True)
    return xp.take_along_axis(g, xp.argsort(order, axis=axis), axis=axis)


def _cast(xp: Namespace, g: Array, dtype: DType) -> Array:
    return xp.astype(g, dtype, copy=False)


RULES: dict[str, Rule] = {
    "getitem": rule("x key", x=_getitem),
    "sort": rule("x", x=_sort),
    "take": rule("x indices", x=_take),
    "take_along_axis": rule("x indices", x=_take_along),
    "where": Rule(
        ("condition", "x1", "x2"),
        binary(
            lambda xp, g, condition, x1_dtype: _cast(xp, xp.where(condition, g, xp.zeros_like(g)), x1_dtype),
            lambda xp, g, condition, x2_dtype: _cast(xp, xp.where(condition, xp.zeros_like(g), g), x2_dtype),
        ).derivatives,
    ),
}

CONSTANT = frozenset("argsort isin nonzero searchsorted unique_all unique_counts unique_inverse unique_values".split())

GAPS: frozenset[str] = frozenset()
