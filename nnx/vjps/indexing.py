"""Derivatives of indexing and selection.

``x[key]`` and ``_put`` are each other's adjoints. A key may hold integers, slices, ``None``, ``...``
or one boolean mask: each element is selected at most once, so putting them back is an assignment.
Keys of integer arrays, which may select an element twice, are a gap.
"""

from __future__ import annotations

from typing import Any

import array_api_compat
import array_api_extra as xpx

from nnx._errors import MissingRuleError
from nnx._typing import Array, DType, Namespace
from nnx.backend import is_array, readable
from nnx.tape.primitive import Primitive, untracked
from nnx.tape.rule import Rule
from nnx.vjps._rule import binary, rule


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
    for part in key if isinstance(key, tuple) else (key,):
        if not _selects_once(xp, part):
            raise MissingRuleError(
                "nnx has no derivative of x[integer array] or x[list] yet: multiply by a one-hot matrix, or pass "
                "nnx.stop_gradient(x) if none is meant"
            )
    return _put(g, getattr(xp, "raw", xp), x_shape, key)


def _selects_once(xp: Namespace, part: Any) -> bool:
    if is_array(part):
        return not part.shape or bool(xp.isdtype(part.dtype, "bool"))
    return part is None or part is ... or isinstance(part, (int, slice))


def _cast(xp: Namespace, g: Array, dtype: DType) -> Array:
    return xp.astype(g, dtype, copy=False)


RULES: dict[str, Rule] = {
    "getitem": rule("x key", x=_getitem),
    "where": Rule(
        ("condition", "x1", "x2"),
        binary(
            lambda xp, g, condition, x1_dtype: _cast(xp, xp.where(condition, g, xp.zeros_like(g)), x1_dtype),
            lambda xp, g, condition, x2_dtype: _cast(xp, xp.where(condition, xp.zeros_like(g), g), x2_dtype),
        ).derivatives,
    ),
}

CONSTANT = frozenset("argsort isin nonzero searchsorted unique_all unique_counts unique_inverse unique_values".split())

GAPS = frozenset("sort take take_along_axis".split())
