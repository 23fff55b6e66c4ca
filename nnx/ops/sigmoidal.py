"""Sigmoid curves, and the functions whose derivatives they are.

Conventions where there is no derivative: hard_sigmoid and hard_tanh have 0 at both of their corners.
"""

from __future__ import annotations

from math import log

from nnx._errors import ArgumentError
from nnx._typing import Array, Namespace
from nnx.ops._op import op


def sigmoid_forward(xp: Namespace, x: Array) -> Array:
    """The logistic function y = 1 / (1 + exp(-x)), with full relative precision at both ends.

    Args:
        x: any shape, floating-point.
    """
    return xp.exp(xp.minimum(x, 0.0)) / (1 + xp.exp(-xp.abs(x)))


def sigmoid_x(xp: Namespace, g: Array, y: Array) -> Array:
    """G · y (1 - y)."""
    return g * y * (1 - y)


def tanh_forward(xp: Namespace, x: Array) -> Array:
    """The hyperbolic tangent y = tanh(x).

    Args:
        x: any shape, floating-point.
    """
    return xp.tanh(x)


def tanh_x(xp: Namespace, g: Array, y: Array) -> Array:
    """G · (1 - y²)."""
    return g * (1 - y * y)


def softplus_forward(xp: Namespace, x: Array) -> Array:
    """The smooth rectifier y = ln(1 + exp(x)), whose derivative is sigmoid(x).

    Dugas, Bengio, Bélisle, Nadeau and Garcia, "Incorporating second-order functional knowledge for better
    option pricing", NeurIPS 2000. Computed as max(x, 0) + ln(1 + exp(-|x|)), which no x overflows.

    Args:
        x: any shape, floating-point.
    """
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def softplus_x(xp: Namespace, g: Array, y: Array) -> Array:
    """G · (1 - exp(-y)), which is g · sigmoid(x)."""
    return -g * xp.expm1(-y)


def log_sigmoid_forward(xp: Namespace, x: Array) -> Array:
    """The logarithm of the logistic function: y = ln sigmoid(x) = -ln(1 + exp(-x)), which no x overflows.

    Args:
        x: any shape, floating-point.
    """
    return xp.minimum(x, 0.0) - xp.log1p(xp.exp(-xp.abs(x)))


def log_sigmoid_x(xp: Namespace, g: Array, y: Array) -> Array:
    """G · (1 - exp(y)), which is g · sigmoid(-x)."""
    return -g * xp.expm1(y)


def log_cosh_forward(xp: Namespace, x: Array) -> Array:
    """The logarithm of the hyperbolic cosine: y = ln cosh(x), whose derivative is tanh(x).

    Computed as ½ ln(1 + sinh²(x)) near 0, where y is about x² / 2, and further out as
    |x| + ln(1 + exp(-2|x|)) - ln 2, which no x overflows.

    Args:
        x: any shape, floating-point.
    """
    size = xp.abs(x)
    near, far = xp.sinh(xp.minimum(size, 1.0)), xp.exp(-size)
    return xp.where(size < 1, 0.5 * xp.log1p(near * near), size + xp.log1p(far * far) - log(2))


def log_cosh_x(xp: Namespace, g: Array, x: Array) -> Array:
    """G · tanh(x)."""
    return g * xp.tanh(x)


def softsign_forward(xp: Namespace, x: Array) -> Array:
    """The softsign y = x / (1 + |x|), which goes to ±1 slower than tanh.

    Bergstra, Desjardins, Lamblin and Bengio, "Quadratic polynomials learn better image features", 2009.

    Args:
        x: any shape, floating-point.
    """
    return x / (1 + xp.abs(x))


def softsign_x(xp: Namespace, g: Array, x: Array) -> Array:
    """G / (1 + |x|)²."""
    below = 1 + xp.abs(x)
    return g / below / below


def hard_sigmoid_forward(xp: Namespace, x: Array) -> Array:
    """The piecewise linear sigmoid y = min(max(x + 3, 0), 6) / 6, with derivative 0 at -3 and at 3.

    Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.2. (Courbariaux et al. 2015 have a
    steeper one, of slope ½.)

    Args:
        x: any shape, floating-point.
    """
    return xp.clip(x + 3, 0.0, 6.0) / 6


def hard_sigmoid_x(xp: Namespace, g: Array, x: Array) -> Array:
    """G / 6 where |x| < 3, else 0."""
    return xp.where(xp.abs(x) < 3, g / 6, 0.0)


def hard_tanh_forward(xp: Namespace, x: Array, *, low: float = -1.0, high: float = 1.0) -> Array:
    """The piecewise linear tanh y = min(max(x, low), high), with derivative 0 at low and at high.

    Collobert, "Large scale machine learning", thesis, Paris 6, 2004.

    Args:
        x: any shape, floating-point.
        low, high: the least and the greatest value.

    Raises:
        ArgumentError: low is not below high.
    """
    if not low < high:
        raise ArgumentError(f"low of hard_tanh lies below high, got low={low} and high={high}")
    return xp.clip(x, float(low), float(high))


def hard_tanh_x(xp: Namespace, g: Array, x: Array, low: float = -1.0, high: float = 1.0) -> Array:
    """G where low < x < high, else 0."""
    return xp.where(xp.logical_and(x > low, x < high), g, 0.0)


sigmoid = op(sigmoid_forward, x=sigmoid_x)
tanh = op(tanh_forward, x=tanh_x)
softplus = op(softplus_forward, x=softplus_x)
log_sigmoid = op(log_sigmoid_forward, x=log_sigmoid_x)
log_cosh = op(log_cosh_forward, x=log_cosh_x)
softsign = op(softsign_forward, x=softsign_x)
hard_sigmoid = op(hard_sigmoid_forward, x=hard_sigmoid_x)
hard_tanh = op(hard_tanh_forward, x=hard_tanh_x)
