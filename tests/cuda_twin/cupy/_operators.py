"""Operators of ``ndarray``, and its methods that are the function of the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import cupy
from cupy._array import ndarray

OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "matmul": "matmul",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "divmod": "divmod",
    "pow": "power",
    "lshift": "left_shift",
    "rshift": "right_shift",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
}
COMPARISONS = {
    "lt": "less",
    "le": "less_equal",
    "eq": "equal",
    "ne": "not_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}
METHODS = (
    "all any argmax argmin argpartition argsort choose clip compress conj conjugate cumprod cumsum diagonal dot max "
    "mean min nonzero partition prod ptp put ravel repeat round searchsorted squeeze std sum swapaxes take trace var"
).split()
SCALARS = (bool, int, float, complex)
_ABSENT = object()


def methods() -> dict[str, Callable[..., Any]]:
    """By name."""
    found: dict[str, Callable[..., Any]] = {name: _method(name) for name in METHODS}
    found |= {f"__{name}__": _method(function) for name, function in UNARY.items()}
    found |= {f"__{name}__": _forward(function) for name, function in (OPERATORS | COMPARISONS).items()}
    found |= {f"__r{name}__": _reflected(function) for name, function in OPERATORS.items()}
    in_place = OPERATORS.keys() - {"matmul", "divmod"}
    found |= {f"__i{name}__": _in_place(OPERATORS[name]) for name in in_place}
    return found | {"__pow__": _power}


def _binary(name: str, x: ndarray, y: Any) -> Any:
    """An operator, as CuPy does it: foreign arrays are asked first, and NumPy is asked last."""
    if isinstance(y, ndarray) or type(y) in SCALARS:
        return getattr(cupy, name)(x, y)
    theirs = getattr(y, "__array_ufunc__", _ABSENT)
    if theirs is None or (theirs is _ABSENT and getattr(y, "__array_priority__", 0) > x.__array_priority__):
        return NotImplemented
    if name in ("equal", "not_equal") and (y is None or type(y).__eq__ is object.__eq__):
        return cupy.full(x.shape, name == "not_equal", dtype=bool)
    return getattr(np, name)(x, y)


def _power(x: ndarray, y: Any) -> Any:
    """Some powers have functions of their own."""
    special = {0.5: "sqrt", 2.0: "square", -1.0: "reciprocal"}.get(y) if type(y) is float else None
    if type(y) is int and y == 2:
        special = "square"
    if special is None:
        return _binary("power", x, y)
    kept = "fc" if type(y) is float else "ifc"
    return getattr(cupy, special)(x, dtype=None if x.dtype.kind in kept else np.result_type(x.dtype, y))


def _method(name: str) -> Callable[..., Any]:
    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        return getattr(cupy, name)(self, *args, **kwargs)

    method.__name__ = name
    return method


def _forward(name: str) -> Callable[..., Any]:
    return lambda self, other: _binary(name, self, other)


def _reflected(name: str) -> Callable[..., Any]:
    def operator(self: ndarray, other: Any) -> Any:
        if type(other) in SCALARS or isinstance(other, np.generic):
            return getattr(cupy, name)(other, self)
        return getattr(np, name)(other, self)

    return operator


def _in_place(name: str) -> Callable[..., Any]:
    return lambda self, other: getattr(cupy, name)(self, other, self)
