"""Elementwise activations."""

from __future__ import annotations

from math import pi, sqrt

from nnx._typing import Array, Namespace
from nnx.ops._op import op
from nnx.ops.erf import erf


def relu_forward(xp: Namespace, x: Array) -> Array:
    """The rectified linear unit y = max(x, 0), with derivative 0 at 0.

    Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", ICML 2010.

    Args:
        x: any shape, floating-point.
    """
    return xp.maximum(x, 0.0)


def relu_x(xp: Namespace, g: Array, y: Array) -> Array:
    """G where y > 0, else 0."""
    return xp.where(y > 0, g, 0.0)


def leaky_relu_forward(xp: Namespace, x: Array, *, slope: float = 0.01) -> Array:
    """The leaky rectifier y = x where x > 0, else slope · x.

    Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", ICML 2013.

    Args:
        x: any shape, floating-point.
        slope: the derivative for x <= 0.
    """
    return xp.where(x > 0, x, slope * x)


def leaky_relu_x(xp: Namespace, g: Array, x: Array, slope: float = 0.01) -> Array:
    """G where x > 0, else slope · g."""
    return xp.where(x > 0, g, slope * g)


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


def gelu_forward(xp: Namespace, x: Array, *, approximate: bool = False) -> Array:
    """The Gaussian error linear unit y = x Φ(x), Φ the distribution function of the normal law.

    Hendrycks and Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016.

    Args:
        x: any shape, floating-point.
        approximate: compute 0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³))), cheaper, and off by up to
            5e-4.
    """
    return x * _phi(xp, x, approximate)[0]


def gelu_x(xp: Namespace, g: Array, x: Array, approximate: bool = False) -> Array:
    """G · (Φ(x) + x Φ'(x))."""
    phi, slope = _phi(xp, x, approximate)
    return g * (phi + x * slope)


def _phi(xp: Namespace, x: Array, approximate: bool) -> tuple[Array, Array]:
    """Φ(x) and its derivative."""
    if approximate:
        c = sqrt(2 / pi)
        t = xp.tanh(c * (x + 0.044715 * x * x * x))
        return 0.5 * (1 + t), 0.5 * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)
    return 0.5 * (1 + erf(x * sqrt(0.5))), xp.exp(-0.5 * x * x) / sqrt(2 * pi)


relu = op(relu_forward, x=relu_x)
leaky_relu = op(leaky_relu_forward, x=leaky_relu_x)
sigmoid = op(sigmoid_forward, x=sigmoid_x)
tanh = op(tanh_forward, x=tanh_x)
gelu = op(gelu_forward, x=gelu_x)
