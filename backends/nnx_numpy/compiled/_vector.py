"""Functions of floats, in operations that LLVM carries out on several numbers at once.

NumPy has them, but each only as a call of its own; those that Numba has take one number at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial, log, pi, sqrt
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

from nnx._typing import Array
from nnx.ops.erf import (
    LARGE_DENOMINATOR,
    LARGE_NUMERATOR,
    MIDDLE_DENOMINATOR,
    MIDDLE_NUMERATOR,
    SMALL_DENOMINATOR,
    SMALL_NUMERATOR,
)

IN_ORDER: Any = {"fastmath": {"contract"}, "error_model": "numpy", "forceinline": True}
"""What is compiled so keeps the order of its sums. (Without an option of its own it would have that of its caller.)"""


def exp(x: Any) -> Any:
    """The exponential of a float32 or float64, within 1.2 units in the last place (0.95 with fused products and sums).

    exp(x) = 2ⁿ exp(r), where n = round(x / ln 2), and exp(r), |r| <= ½ ln 2, is the sum of its series. n ln 2 is
    subtracted in two parts; the first ends in zeros enough that its product with n is exact (Cody and Waite,
    "Software manual for the elementary functions", 1980). 2ⁿ is a product of two powers, which a float can hold also
    where 2ⁿ is subnormal or infinite. NaN stays NaN.
    """
    return np.exp(x)


def expm1(x: Any) -> Any:
    """exp(x) - 1 for x <= 0, within 1.5 units in the last place also near 0, as 2ⁿ (exp(r) - 1) + (2ⁿ - 1)."""
    return np.expm1(x)


def largest(a: Array) -> Any:
    """The largest of one or more floats; which one, is not said where there are NaN among them.

    Floats but NaN have the order of their bits, read as an integer, where all but the sign is inverted in negative
    ones. A maximum of integers is vectorised, and one of floats is not, since NaN is in no order.
    """
    return np.max(a)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), to the last places at both ends."""
    return 1 / (1 + np.exp(-x))


def normal(x: Any) -> tuple[Any, Any]:
    """The distribution function Φ(x) and the density of the normal law.

    Φ(x) = ½ erfc(-x / √2), by the approximations of ``nnx.ops.erf``, and so to the last places also far below 0, where
    ½ (1 + erf(x / √2)) has few of them.
    """
    raise NotImplementedError


def in_order(x: Any, y: Any, z: Any) -> Any:
    """(x + y) + z. In a loop, LLVM may compute x + (y + z), which is another number if x + y is small."""
    return (x + y) + z


@overload(exp, jit_options=IN_ORDER)
def _exp(x: Any) -> Callable[[Any], Any]:
    one, parts = _PARTS[x]()

    def exp(x: Any) -> Any:
        y, s, t = parts(x)
        return (one + y) * s * t

    return exp


@overload(expm1, jit_options=IN_ORDER)
def _expm1(x: Any) -> Callable[[Any], Any]:
    one, parts = _PARTS[x]()

    def expm1(x: Any) -> Any:
        y, s, t = parts(x)
        return y * (s * t) + (s * t - one)

    return expm1


def _single() -> tuple[Any, Callable[[Any], Any]]:
    float_, int_ = np.float32, np.int32
    one, c2, c3, c4, c5, c6, c7 = (float_(1 / factorial(k)) for k in range(1, 8))
    low, high = float_(-104), float_(89)  # where exp(x) is 0, and infinite
    per_ln2, ln2, rest, half = float_(1 / log(2)), float_(0.693359375), float_(-2.12194440e-4), float_(0.5)
    least, bias, bits, shift = float_(-200), int_(127), int_(23), int_(1)

    @register_jitable(**IN_ORDER)
    def parts(x: Any) -> Any:
        """exp(r) - 1, and two factors of 2ⁿ."""
        x = low if x < low else x
        x = high if x > high else x
        n = np.floor(x * per_ln2 + half)
        r = (x - n * ln2) - n * rest
        y = r * (one + r * (c2 + r * (c3 + r * (c4 + r * (c5 + r * (c6 + r * c7))))))
        i = int_(n if n > least else least)  # NaN is no integer
        k = i >> shift
        return y, int_((k + bias) << bits).view(float_), int_((i - k + bias) << bits).view(float_)

    return one, parts


def _double() -> tuple[Any, Callable[[Any], Any]]:
    float_, int_, narrow = np.float64, np.int64, np.int32
    c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13 = (1 / factorial(k) for k in range(2, 14))
    low, high = -746.0, 710.0
    per_ln2, ln2, rest = 1 / log(2), 6.93147180369123816490e-01, 1.90821492927058770002e-10

    @register_jitable(**IN_ORDER)
    def parts(x: Any) -> Any:
        x = low if x < low else x
        x = high if x > high else x
        n = np.floor(x * per_ln2 + 0.5)
        r = (x - n * ln2) - n * rest
        y = c6 + r * (c7 + r * (c8 + r * (c9 + r * (c10 + r * (c11 + r * (c12 + r * c13))))))
        y = r * (1.0 + r * (c2 + r * (c3 + r * (c4 + r * (c5 + r * y)))))
        i = int_(narrow(n if n > -2000.0 else -2000.0))  # by way of int32, to which AVX2 can convert
        k = i >> 1
        return y, int_((k + 1023) << 52).view(float_), int_((i - k + 1023) << 52).view(float_)

    return 1.0, parts


_FLOATS: dict[Any, Any] = {types.float32: np.float32, types.float64: np.float64}
_PARTS = {types.float32: _single, types.float64: _double}


@overload(largest, jit_options={"error_model": "numpy"})
def _largest(a: Array) -> Callable[[Array], Any]:
    single = a.dtype == types.float32
    float_, bits = _FLOATS[a.dtype], 31 if single else 63
    int_: Any = np.int32 if single else np.int64
    shift, rest, least = int_(bits), int_(2**bits - 1), int_(-(2**bits))

    def largest(a: Array) -> Any:
        top = least
        for i in range(a.size):
            n = float_(a[i]).view(int_)
            top = max(top, int_(n ^ int_(int_(n >> shift) & rest)))
        return int_(top ^ int_(int_(top >> shift) & rest)).view(float_)

    return largest


@overload(sigmoid, jit_options=IN_ORDER)
def _sigmoid(x: Any) -> Callable[[Any], Any]:
    zero, one = (_FLOATS[x](k) for k in (0, 1))

    def sigmoid(x: Any) -> Any:
        e = exp(-abs(x))
        return (e if x < zero else one) / (one + e)

    return sigmoid


@overload(in_order, jit_options=IN_ORDER)
def _in_order(x: Any, y: Any, z: Any) -> Callable[[Any, Any, Any], Any]:
    return in_order


@register_jitable(**IN_ORDER)
def _polynomial(coefficients: tuple[Any, ...], x: Any) -> Any:
    """By Horner's scheme, the highest power first."""
    y = coefficients[0]
    for i in range(1, len(coefficients)):
        y = y * x + coefficients[i]
    return y


@overload(normal, jit_options=IN_ORDER)
def _normal(x: Any) -> Callable[[Any], Any]:
    float_ = _FLOATS[x]
    coefficients = (
        *(SMALL_NUMERATOR, SMALL_DENOMINATOR, MIDDLE_NUMERATOR),
        *(MIDDLE_DENOMINATOR, LARGE_NUMERATOR, LARGE_DENOMINATOR),
    )
    a, b, c, d, p, q = (tuple(map(float_, each)) for each in coefficients)
    zero, half, one, middle, far = (float_(k) for k in (0, 0.5, 1, 0.46875, 4))
    root, density, tail = float_(sqrt(0.5)), float_(1 / sqrt(2 * pi)), float_(1 / sqrt(pi))

    def normal(x: Any) -> Any:
        u = x * root
        v = abs(u)
        e = exp(-v * v)
        s = v * v if v <= middle else zero
        m = far if v > far else v
        n = v if v > far else far
        r = one / (n * n)
        # all three, since what branches is not vectorised
        p0, q0 = u * _polynomial(a, s), _polynomial(b, s)
        p1, q1 = _polynomial(c, m), _polynomial(d, m)
        q2 = _polynomial(q, r)
        p2, q2 = tail * q2 - r * _polynomial(p, r), q2 * n
        over = p0 if v <= middle else p1 if v <= far else p2
        under = q0 if v <= middle else q1 if v <= far else q2
        ratio = half * over / under
        beyond = e * ratio
        outer = beyond if x < zero else one - beyond
        return half + ratio if v <= middle else outer, e * density

    return normal
