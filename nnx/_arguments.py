"""Checks of the numbers that parts are made with."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

from nnx._errors import ArgumentError


def positive(name: str, value: Any) -> float:
    """``value`` as a Python float, which widens no dtype, if it is finite and greater than 0."""
    if not _finite(value) or value <= 0:
        raise ArgumentError(f"{name} must be a finite number greater than 0, got {value!r}")
    return float(value)


def non_negative(name: str, value: Any) -> float:
    """``value`` as a Python float if it is finite and at least 0."""
    if not _finite(value) or value < 0:
        raise ArgumentError(f"{name} must be a finite number of at least 0, got {value!r}")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """``value`` as a Python float if it lies in [0, 1)."""
    if not _finite(value) or not 0 <= value < 1:
        raise ArgumentError(f"{name} must be at least 0 and less than 1, got {value!r}")
    return float(value)


def count(name: str, value: Any) -> int:
    """``value`` as a Python int if it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ArgumentError(f"{name} must be a whole number of at least 1, got {value!r}")
    return int(value)


def _finite(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
