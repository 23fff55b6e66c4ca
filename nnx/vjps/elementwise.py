"""Derivatives of the elementwise functions.

Complex numbers follow the conventions of JAX: a gradient is transposed, not conjugated, so the rule of a
holomorphic function is the one of real numbers, g f'(x). The gradient of a real function f of z = x + iy is
∂f/∂x - i ∂f/∂y; f rises most steeply along its conjugate. Of a complex gradient a real argument gets the
real part. On a branch cut, derivatives are those of the side on which the function itself is continued.

Conventions at the points where no derivative exists: |x|, the ``sign`` x / |x| of complex numbers, and
``hypot`` have 0 at 0; ``maximum`` and ``minimum`` give half to each of two equal arguments, so that the
gradient is symmetric in them; ``clip`` passes the gradient at its bounds; ``copysign`` is |x1| times a sign,
so it has 0 by ``x1`` at 0, and 0 by ``x2``; ``nextafter`` is x1, moved by one place, so it has 1 by ``x1``
and 0 by ``x2``. ``remainder`` is x1 - ⌊x1 / x2⌋ x2 with a constant ⌊x1 / x2⌋, also where it jumps. ``pow`` has
0 by ``x1`` where ``x2`` is 0, and 0 by ``x2`` where ``x1`` is 0 or, in real numbers, negative. ``sqrt``, ``log``
and the like have an infinite derivative at the ends of their domains: inf in real numbers, and inf or nan in
complex ones, as the library divides; ``atan2`` has nan at the origin.
"""

from __future__ import annotations

import cmath
import math

from nnx._typing import Array, DType, Namespace
from nnx.tape.namespace import Composition
from nnx.tape.primitive import Primitive, constants, untracked
from nnx.tape.rule import Rule
from nnx.vjps._rule import Summed, binary, cast, conj, is_complex, or_inf, raw, rule, unary


def _sign(xp: Namespace, x: Array, /) -> Array:
    """x / |x|, which is no constant if x is complex."""
    return _unit(x, raw(xp)) if is_complex(xp, x.dtype) else constants(xp, raw(xp).sign(untracked(x)))


def _unit_x(xp: Namespace, g: Array, y: Array, x: Array) -> Array:
    """For ẏ = (ẋ - y Re(ȳ ẋ)) / |x|."""
    return (g - xp.real(g * y) * xp.conj(y)) * (1 / or_inf(xp, xp.abs(x)))


_unit = Primitive("sign", lambda x, xp: xp.sign(x), rule("x xp", x=_unit_x))


def _abs(xp: Namespace, g: Array, x: Array) -> Array:
    return g / or_inf(xp, xp.abs(x)) * xp.conj(x) if is_complex(xp, x.dtype) else g * xp.sign(x)


def _clip(xp: Namespace, g: Array, x: Array, min: Array = None, max: Array = None) -> Array:
    above = xp.ones_like(x, dtype=xp.bool) if min is None else x >= min
    return xp.where(above if max is None else xp.logical_and(above, x <= max), g, xp.zeros_like(g))


def _clip_min(xp: Namespace, g: Array, x: Array, min: Array, min_dtype: DType, max: Array = None) -> Array:
    below = x < min
    return cast(
        xp, xp.where(below if max is None else xp.logical_and(below, min <= max), g, xp.zeros_like(g)), min_dtype
    )


def _clip_max(xp: Namespace, g: Array, x: Array, max: Array, max_dtype: DType, min: Array = None) -> Array:
    above = x > max if min is None else xp.logical_or(x > max, min > max)
    return cast(xp, xp.where(above, g, xp.zeros_like(g)), max_dtype)


def _larger(xp: Namespace, g: Array, a: Array, b: Array) -> Array:
    """``g`` where a > b, and half of it where they are equal."""
    return xp.where(a > b, g, xp.where(a == b, g * 0.5, xp.zeros_like(g)))


def _pow_x1(xp: Namespace, g: Array, x1: Array, x2: Array) -> Array:
    if isinstance(x2, (int, float, complex)):
        return g * x2 * xp.pow(x1, x2 - 1) if x2 != 0 else xp.zeros_like(g)
    base = xp.where(xp.logical_and(x1 == 0, x2 == 0), xp.ones_like(x1), x1)  # 0 * 0**(-1) is NaN
    return g * x2 * xp.pow(base, x2 - 1)


def _pow_x2(xp: Namespace, g: Array, y: Array, x1: Array) -> Array:
    in_complex = is_complex(xp, y.dtype)
    has_log = x1 != 0 if in_complex else x1 > 0
    if isinstance(x1, (int, float, complex)):
        return g * y * (cmath if in_complex else math).log(x1) if has_log else xp.zeros_like(g)
    return g * y * xp.log(xp.where(has_log, x1, xp.ones_like(x1)))


# x - 1 and x - -1, not 1 - x and 1 + x: these keep the sign of a zero imaginary part, which says on which side of a
# branch cut x lies
RULES: dict[str, Rule] = {
    "abs": unary(_abs),
    "acos": unary(lambda xp, g, x: -g / xp.sqrt(-(x * x - 1))),
    "acosh": unary(lambda xp, g, x: g / (xp.sqrt(x - 1) * xp.sqrt(x - -1))),
    "add": binary(lambda g: g, lambda g: g),
    "asin": unary(lambda xp, g, x: g / xp.sqrt(-(x * x - 1))),
    "asinh": unary(lambda xp, g, x: g / xp.sqrt(x * x - -1)),
    "atan": unary(lambda g, x: g / (x * x + 1)),
    "atan2": binary(lambda g, x1, x2: g * x2 / (x1 * x1 + x2 * x2), lambda g, x1, x2: -g * x1 / (x1 * x1 + x2 * x2)),
    "atanh": unary(lambda g, x: g / (1 - x * x)),
    "clip": Rule(("x", "min", "max"), {"x": Summed(_clip), "min": Summed(_clip_min), "max": Summed(_clip_max)}),
    "conj": unary(lambda xp, g: conj(xp, g)),
    "copysign": binary(lambda xp, g, y, x1: g * (xp.sign(x1) * xp.sign(y)), lambda xp, g: xp.zeros_like(g)),
    "cos": unary(lambda xp, g, x: -g * xp.sin(x)),
    "cosh": unary(lambda xp, g, x: g * xp.sinh(x)),
    "divide": binary(lambda g, x2: g / x2, lambda g, y, x2: -g * y / x2),
    "exp": unary(lambda g, y: g * y),
    "expm1": unary(lambda g, y: g * (y + 1)),
    "hypot": binary(lambda xp, g, y, x1: g * x1 / or_inf(xp, y), lambda xp, g, y, x2: g * x2 / or_inf(xp, y)),
    "imag": unary(lambda xp, g, x_dtype: xp.astype(g, x_dtype) * -1j if is_complex(xp, x_dtype) else xp.zeros_like(g)),
    "log": unary(lambda g, x: g / x),
    "log1p": unary(lambda g, x: g / (x + 1)),
    "log2": unary(lambda g, x: g / (x * math.log(2))),
    "log10": unary(lambda g, x: g / (x * math.log(10))),
    "logaddexp": binary(lambda xp, g, y, x1: g * xp.exp(x1 - y), lambda xp, g, y, x2: g * xp.exp(x2 - y)),
    "maximum": binary(lambda xp, g, x1, x2: _larger(xp, g, x1, x2), lambda xp, g, x1, x2: _larger(xp, g, x2, x1)),
    "minimum": binary(lambda xp, g, x1, x2: _larger(xp, g, x2, x1), lambda xp, g, x1, x2: _larger(xp, g, x1, x2)),
    "multiply": binary(lambda g, x2: g * x2, lambda g, x1: g * x1),
    "negative": unary(lambda g: -g),
    "nextafter": binary(lambda g: g, lambda xp, g: xp.zeros_like(g)),
    "positive": unary(lambda g: g),
    "pow": binary(_pow_x1, _pow_x2),
    "real": unary(lambda xp, g, x_dtype: xp.astype(g, x_dtype, copy=False)),
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
    logical_or logical_xor not_equal round signbit trunc""".split()
)

COMPOSITIONS: dict[str, Composition] = {"sign": _sign}
