"""Derivatives of indexing and selection.

``x[key]`` and ``_put`` are each other's adjoints for a key of integers, slices, ``None``, ``...`` or one
boolean mask: each element is selected at most once, so putting them back is an assignment. A key with
integer arrays (or lists, where the library takes them) may select an element many times; so may
``take`` and ``take_along_axis``. What each selection got is then added up: see ``_rows.py``; for
``x[key] = value``, see ``_assign.py``.

``sort`` is a permutation, and its gradient goes back by the inverse of it. Equal elements are taken
in the order in which they stand in ``x``, also if ``stable`` is false or ``descending`` is true.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import array_api_compat

from nnx._typing import Array, Namespace
from nnx.backend import is_array
from nnx.tape.primitive import Primitive, untracked
from nnx.tape.rule import Rule
from nnx.vjps._assign import SETITEM, assign, numbers, parts_of, selects_once
from nnx.vjps._rows import add_rows
from nnx.vjps._rule import binary, cast, raw, rule


def _put_raw(g: Array, xp: Namespace, shape: tuple[int, ...], key: Any) -> Array:
    return assign(xp.zeros(shape, dtype=g.dtype, device=array_api_compat.device(g)), key, g, copy=False)


_put = Primitive("put", _put_raw, rule("g xp shape key", g=lambda g, key: g[key]))


def _getitem(xp: Namespace, g: Array, x_shape: tuple[int, ...], key: Any) -> Array:
    key = untracked(key)
    if selects_once(xp, key):
        return _put(g, raw(xp), x_shape, key)
    parts = parts_of(key)
    while parts[-1] is ... or (isinstance(parts[-1], slice) and parts[-1] == slice(None)):
        parts = parts[:-1]  # what is selected whole anyway
    plain = all(_is_plain(xp, part) for part in parts)  # each but None takes one axis; those after them stay whole
    depth = sum(part is not None for part in parts) if plain else len(x_shape)
    number = numbers(xp, g, x_shape[:depth])[parts if plain else key]  # which element of these axes each one is
    count = prod(number.shape)
    rows = xp.reshape(g, (count, *x_shape[depth:]))
    number = raw(xp).reshape(number, (count,))
    return xp.reshape(add_rows(xp, rows, prod(x_shape[:depth]), number), x_shape)


def _is_plain(xp: Namespace, part: Any) -> bool:
    if is_array(part):
        return bool(xp.isdtype(part.dtype, "integral"))
    return part is None or (isinstance(part, (int, slice)) and not isinstance(part, bool))


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
    first = numbers(xp, g, x_shape)[(slice(None),) * axis + (slice(0, 1), ...)]  # of each line along the axis
    indices = lib.astype(indices, first.dtype, copy=False)
    number = first + lib.where(indices < 0, indices + x_shape[axis], indices) * prod(x_shape[axis + 1 :])
    number = lib.reshape(lib.broadcast_to(number, g.shape), (-1,))
    return xp.reshape(add_rows(xp, xp.reshape(g, (-1,)), prod(x_shape), number), x_shape)


def _sort(xp: Namespace, g: Array, x: Array, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    order = xp.argsort(x, axis=axis, descending=descending, stable=True)
    return xp.take_along_axis(g, xp.argsort(order, axis=axis), axis=axis)


RULES: dict[str, Rule] = {
    "getitem": rule("x key", x=_getitem),
    "setitem": SETITEM,
    "sort": rule("x", x=_sort),
    "take": rule("x indices", x=_take),
    "take_along_axis": rule("x indices", x=_take_along),
    "where": Rule(
        ("condition", "x1", "x2"),
        binary(
            lambda xp, g, condition, x1_dtype: cast(xp, xp.where(condition, g, xp.zeros_like(g)), x1_dtype),
            lambda xp, g, condition, x2_dtype: cast(xp, xp.where(condition, xp.zeros_like(g), g), x2_dtype),
        ).derivatives,
    ),
}

CONSTANT = frozenset("argsort isin nonzero searchsorted unique_all unique_counts unique_inverse unique_values".split())

OPERATORS: dict[str, Callable[..., Array]] = {
    "getitem": lambda x, key: x[untracked(key)],
    "setitem": lambda x, key, value: assign(x, untracked(key), value),
}
