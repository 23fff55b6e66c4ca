"""The error function, which the standard lacks."""

from __future__ import annotations

from math import pi, sqrt

from nnx._precision import in_dtype, wide
from nnx._typing import Array, Namespace
from nnx.ops._op import op

SMALL_NUMERATOR = (
    1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3,
)  # fmt: skip
SMALL_DENOMINATOR = (
    1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3,
)  # fmt: skip
MIDDLE_NUMERATOR = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
    2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
    1.23033935479799725e3,
)  # fmt: skip
MIDDLE_DENOMINATOR = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
    3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
)  # fmt: skip
LARGE_NUMERATOR = (
    1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
    1.60837851487422766e-2, 6.58749161529837803e-4,
)  # fmt: skip
LARGE_DENOMINATOR = (
    1.0, 2.56852019228982242, 1.87295284992346047, 5.27905102951428412e-1, 6.05183413124413191e-2,
    2.33520497626869185e-3,
)  # fmt: skip


def erf_forward(xp: Namespace, x: Array) -> Array:
    """The error function erf(x) = 2/sqrt(π) ∫₀ˣ exp(-t²) dt, to the precision of the dtype.

    By the rational approximations of Cody, "Rational Chebyshev approximations for the error
    function", Mathematics of Computation 23, 1969: one for |x| <= 0.46875, one up to 4 and one above.

    Args:
        x: any shape, floating-point.
    """
    dtype, x = x.dtype, wide(xp, x)  # the polynomials overflow float16
    a = xp.abs(x)
    small = a <= 0.46875
    s = xp.square(xp.where(small, x, 0.0))
    middle = xp.clip(a, 0.46875, 4.0)
    large = xp.clip(a, 4.0, 6.0)  # erf(6) is 1 in float64
    r = 1 / (large * large)
    tail = (1 / sqrt(pi) - r * _ratio(LARGE_NUMERATOR, LARGE_DENOMINATOR, r)) / large
    tail = xp.where(a <= 4.0, _ratio(MIDDLE_NUMERATOR, MIDDLE_DENOMINATOR, middle), tail)
    clipped = xp.clip(a, 0.0, 6.0)
    outer = xp.sign(x) * (1 - xp.exp(-clipped * clipped) * tail)
    return in_dtype(xp, xp.where(small, x * _ratio(SMALL_NUMERATOR, SMALL_DENOMINATOR, s), outer), dtype)


def erf_x(xp: Namespace, g: Array, x: Array) -> Array:
    """G · 2/sqrt(π) exp(-x²)."""
    dtype, x = x.dtype, wide(xp, x)
    return in_dtype(xp, wide(xp, g) * (2 / sqrt(pi)) * xp.exp(-x * x), dtype)


def _ratio(p: tuple[float, ...], q: tuple[float, ...], x: Array) -> Array:
    return _polynomial(p, x) / _polynomial(q, x)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """By Horner's scheme, the highest power first."""
    y = coefficients[0] * x + coefficients[1]
    for c in coefficients[2:]:
        y = y * x + c
    return y


erf = op(erf_forward, x=erf_x)
