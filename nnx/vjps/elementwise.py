"""Derivatives of the elementwise functions.

Conventions at the points where no derivative exists: |x| has 0 at 0; ``maximum`` and ``minimum``
give half to each of two equal arguments, so that the gradient is symmetric in them; ``clip`` passes
the gradient at its bounds; ``pow`` has 0 by ``x1`` where ``x2`` is 0; ``copysign`` is |x1| times a sign,
so it has 0 by ``x1`` at 0, and 0 by ``x2``. ``remainder`` is x1 - ⌊x1 / x2⌋ x2 with a constant ⌊x1 / x2⌋,
also where it jumps.
"""

from __future__ import annotations

from math import log

from nnx._errors import MissingRuleError
from nnx._typing import Array, Namespace
from nnx.tape.rule import Rule
from nnx.vjps._rule import Summed, binary, unary


def _abs(xp: Namespace, g: Array, x: Array) -> Array:
    if not xp.isdtype(x.dtype, "real floating"):  # the one way back from complex numbers to real ones
        raise MissingRuleError("nnx has no derivative of abs() of complex numbers: pass nnx.stop_gradient(...) of them")
    return g * xp.sign(x)


def _clip(xp: Namespace, g: Array, x: Array, min: Array = None, max: Array = None) -> Array:
    above = xp.ones_like(x, dtype=xp.bool) if min is None else x >= min
    return xp.where(above if max is None else xp.logical_and(above, x <= max), g, xp.zeros_like(g))


def _larger(xp: Namespace, g: Array, a: Array, b: Array) -> Array:
    """``g`` where a > b, and half of it where they are equal."""
    return xp.where(a > b, g, xp.where(a == b, g * 0.5, xp.zeros_like(g)))


def _pow_x1(xp: Namespace, g: Array, x1: Array, x2: Array) -> Array:
    if isinstance(x2, (int, float)):
        return g * x2 * xp.pow(x1, x2 - 1) if x2 != 0 else xp.zeros_like(g)
    base = xp.where(xp.logical_and(x1 == 0, x2 == 0), xp.ones_like(x1), x1)  # 0 * 0**(-1) is NaN
    return g * x2 * xp.pow(base, x2 - 1)


def _pow_x2(xp: Namespace, g: Array, y: Array, x1: Array) -> Array:
    if isinstance(x1, (int, float)):
        return g * y * log(x1) if x1 > 0 else xp.zeros_like(g)
    return g * y * xp.log(xp.where(x1 > 0, x1, xp.ones_like(x1)))


RULES: dict[str, Rule] = {
    "abs": unary(_abs),
    "acos": unary(lambda xp, g, x: -g / xp.sqrt(1 - x * x)),
    "acosh": unary(lambda xp, g, x: g / xp.sqrt(x * x - 1)),
    "add": binary(lambda g: g, lambda g: g),
    "asin": unary(lambda xp, g, x: g / xp.sqrt(1 - x * x)),
    "asinh": unary(lambda xp, g, x: g / xp.sqrt(x * x + 1)),
    "atan": unary(lambda g, x: g / (x * x + 1)),
    "atan2": binary(lambda g, x1, x2: g * x2 / (x1 * x1 + x2 * x2), lambda g, x1, x2: -g * x1 / (x1 * x1 + x2 * x2)),
    "atanh": unary(lambda g, x: g / (1 - x * x)),
    "clip": Rule(("x", "min", "max"), {"x": Summed("x", _clip)}),
    "copysign": binary(lambda xp, g, y, x1: g * (xp.sign(x1) * xp.sign(y)), lambda xp, g: xp.zeros_like(g)),
    "cos": unary(lambda xp, g, x: -g * xp.sin(x)),
    "cosh": unary(lambda xp, g, x: g * xp.sinh(x)),
    "divide": binary(lambda g, x2: g / x2, lambda g, y, x2: -g * y / x2),
    "exp": unary(lambda g, y: g * y),
    "expm1": unary(lambda g, y: g * (y + 1)),
    "hypot": binary(lambda g, y, x1: g * x1 / y, lambda g, y, x2: g * x2 / y),
    "log": unary(lambda g, x: g / x),
    "log1p": unary(lambda g, x: g / (x + 1)),
    "log2": unary(lambda g, x: g / (x * log(2))),
    "log10": unary(lambda g, x: g / (x * log(10))),
    "logaddexp": binary(lambda xp, g, y, x1: g * xp.exp(x1 - y), lambda xp, g, y, x2: g * xp.exp(x2 - y)),
    "maximum": binary(lambda xp, g, x1, x2: _larger(xp, g, x1, x2), lambda xp, g, x1, x2: _larger(xp, g, x2, x1)),
    "minimum": binary(lambda xp, g, x1, x2: _larger(xp, g, x2, x1), lambda xp, g, x1, x2: _larger(xp, g, x1, x2)),
    "multiply": binary(lambda g, x2: g * x2, lambda g, x1: g * x1),
    "negative": unary(lambda g: -g),
    "positive": unary(lambda g: g),
    "pow": binary(_pow_x1, _pow_x2),
    "reciprocal": unary(lambda g, y: -g * y * y),
    "remainder": binary(lambda g: g, lambda xp, g, x1, x2: -g * xp.floor_divide(x1, x2)),
    "sin": unary(lambda xp, g, x: g * xp.cos(x)),
    "sinh": unary(lambda xp, g, x: g * xp.cosh(x)),
    "sqrt": unary(lambda g, y: g * 0.5 / y),
    "square": unary(lambda g, x: g * 2 * x),
    "subtract": binary(lambda g: g, lambda g: -g),
    "tan": unary(lambda g, y: g * (y * y + 1)),
    "tanh": unary(lambda g, y: g * (1 - y * y)),
}


CONSTANT = frozenset(
    """bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor ceil equal
    floor floor_divide greater greater_equal isfinite isinf isnan less less_equal logical_and logical_not
    logical_or logical_xor not_equal round sign signbit trunc""".split()
)

GAPS = frozenset("conj imag nextafter real".split())
