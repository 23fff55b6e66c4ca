"""Rectifiers: the identity above zero, and little or nothing below.

Conventions where there is no derivative: relu, leaky_relu, prelu, elu and selu have at 0 the derivative of
their left side, relu6 has 0 at 0 and at 6. (celu has a derivative everywhere, and so has elu with alpha = 1.)
"""

from __future__ import annotations

from nnx._arguments import positive
from nnx._errors import ShapeError
from nnx._typing import Array, Namespace
from nnx.ops._op import op
from nnx.vjps._rule import unbroadcast

SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772


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


def relu6_forward(xp: Namespace, x: Array) -> Array:
    """The rectifier with a ceiling, y = min(max(x, 0), 6), with derivative 0 at 0 and at 6.

    Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010.

    Args:
        x: any shape, floating-point.
    """
    return xp.clip(x, 0.0, 6.0)


def relu6_x(xp: Namespace, g: Array, y: Array) -> Array:
    """G where 0 < y < 6, else 0."""
    return xp.where(xp.logical_and(y > 0, y < 6), g, 0.0)


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


def prelu_forward(xp: Namespace, x: Array, slope: Array) -> Array:
    """The rectifier whose slope is learnt: y = x where x > 0, else slope · x.

    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015, equation 1. The adjoints:

        x: g where x > 0, else slope · g        slope: Σ g · min(x, 0), over all that shares a slope

    Args:
        x: any shape, floating-point.
        slope: the derivative for x <= 0, of a shape that broadcasts to that of x, e.g. (features,).

    Raises:
        ShapeError: the slope does not broadcast to the shape of x.
    """
    lengths = zip(reversed(slope.shape), reversed(x.shape), strict=False)
    if len(slope.shape) > len(x.shape) or any(m != n and m != 1 for m, n in lengths):
        raise ShapeError(
            f"a slope whose shape broadcasts to that of x, {tuple(x.shape)}, was expected, got {tuple(slope.shape)}"
        )
    return xp.where(x > 0, x, slope * x)


def prelu_x(xp: Namespace, g: Array, x: Array, slope: Array) -> Array:
    """G where x > 0, else slope · g."""
    return xp.where(x > 0, g, slope * g)


def prelu_slope(xp: Namespace, g: Array, x: Array, slope_shape: tuple[int, ...]) -> Array:
    """Σ g · min(x, 0)."""
    return unbroadcast(xp, g * xp.where(x > 0, 0.0, x), slope_shape)


def elu_forward(xp: Namespace, x: Array, *, alpha: float = 1.0) -> Array:
    """The exponential linear unit y = x where x > 0, else alpha (exp(x) - 1).

    Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential linear
    units (ELUs)", ICLR 2016.

    Args:
        x: any shape, floating-point.
        alpha: y goes to -alpha far below 0.
    """
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0.0)))


def elu_x(xp: Namespace, g: Array, x: Array, alpha: float = 1.0) -> Array:
    """G where x > 0, else g · alpha exp(x)."""
    return xp.where(x > 0, g, g * alpha * xp.exp(xp.minimum(x, 0.0)))


def selu_forward(xp: Namespace, x: Array) -> Array:
    """The scaled exponential linear unit y = λ x where x > 0, else λ α (exp(x) - 1).

    λ = 1.0507… and α = 1.6733… keep mean 0 and variance 1 through the layers, from weights of
    ``nnx.init.lecun_normal``. Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural
    networks", NeurIPS 2017, equation 2.

    Args:
        x: any shape, floating-point.
    """
    return SELU_SCALE * elu_forward(xp, x, alpha=SELU_ALPHA)


def selu_x(xp: Namespace, g: Array, x: Array) -> Array:
    """G · λ where x > 0, else g · λ α exp(x)."""
    return elu_x(xp, SELU_SCALE * g, x, SELU_ALPHA)


def celu_forward(xp: Namespace, x: Array, *, alpha: float = 1.0) -> Array:
    """The continuously differentiable ELU: y = x where x > 0, else alpha (exp(x / alpha) - 1).

    Barron, "Continuously differentiable exponential linear units", arXiv:1704.07483, 2017.

    Args:
        x: any shape, floating-point.
        alpha: above 0; y goes to -alpha far below 0.

    Raises:
        ArgumentError: alpha is not above 0.
    """
    alpha = positive("alpha of celu", alpha)
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0.0) / alpha))


def celu_x(xp: Namespace, g: Array, x: Array, alpha: float = 1.0) -> Array:
    """G where x > 0, else g · exp(x / alpha)."""
    return xp.where(x > 0, g, g * xp.exp(xp.minimum(x, 0.0) / alpha))


relu = op(relu_forward, x=relu_x)
relu6 = op(relu6_forward, x=relu6_x)
leaky_relu = op(leaky_relu_forward, x=leaky_relu_x)
prelu = op(prelu_forward, x=prelu_x, slope=prelu_slope)
elu = op(elu_forward, x=elu_x)
selu = op(selu_forward, x=selu_x)
celu = op(celu_forward, x=celu_x)
