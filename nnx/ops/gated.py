"""Gated activations: x, or a half of it, times a gate that opens as its input grows.

Conventions where there is no derivative: hard_swish has 0 at -3 and 1 at 3.
"""

from __future__ import annotations

from math import pi, sqrt

from nnx._errors import ShapeError
from nnx._precision import in_dtype, wide
from nnx._typing import Array, Namespace
from nnx.ops._op import op
from nnx.ops.erf import erf
from nnx.ops.sigmoidal import sigmoid, softplus


def gelu_forward(xp: Namespace, x: Array, *, approximate: bool = False) -> Array:
    """The Gaussian error linear unit y = x Φ(x), Φ the distribution function of the normal law.

    Hendrycks and Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016.

    Args:
        x: any shape, floating-point.
        approximate: compute 0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³))), cheaper, and off by up to
            5e-4.
    """
    z = wide(xp, x)
    return in_dtype(xp, z * _phi(xp, z, approximate)[0], x.dtype)


def gelu_x(xp: Namespace, g: Array, x: Array, approximate: bool = False) -> Array:
    """G · (Φ(x) + x Φ'(x))."""
    z = wide(xp, x)
    phi, slope = _phi(xp, z, approximate)
    return in_dtype(xp, wide(xp, g) * (phi + z * slope), x.dtype)


def _phi(xp: Namespace, x: Array, approximate: bool) -> tuple[Array, Array]:
    """Φ(x) and its derivative."""
    if approximate:
        c = sqrt(2 / pi)
        t = xp.tanh(c * (x + 0.044715 * x * x * x))
        return 0.5 * (1 + t), 0.5 * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)
    return 0.5 * (1 + erf(x * sqrt(0.5))), xp.exp(-0.5 * x * x) / sqrt(2 * pi)


def silu_forward(xp: Namespace, x: Array) -> Array:
    """The sigmoid linear unit, or swish: y = x · sigmoid(x).

    Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", Neural Networks 107, 2018; Ramachandran, Zoph and Le, "Searching for
    activation functions", arXiv:1710.05941, 2017.

    Args:
        x: any shape, floating-point.
    """
    return x * sigmoid(x)


def silu_x(xp: Namespace, g: Array, x: Array) -> Array:
    """G · s (1 + x (1 - s)), where s = sigmoid(x)."""
    s = sigmoid(x)
    return g * s * (1 + x * (1 - s))


def mish_forward(xp: Namespace, x: Array) -> Array:
    """Mish: y = x · tanh(ln(1 + exp(x))).

    Misra, "Mish: a self regularized non-monotonic activation function", BMVC 2020.

    Args:
        x: any shape, floating-point.
    """
    return x * xp.tanh(softplus(x))


def mish_x(xp: Namespace, g: Array, x: Array) -> Array:
    """G · (t + x (1 - t²) sigmoid(x)), where t = tanh(ln(1 + exp(x)))."""
    t = xp.tanh(softplus(x))
    return g * (t + x * (1 - t * t) * sigmoid(x))


def hard_swish_forward(xp: Namespace, x: Array) -> Array:
    """The swish with a piecewise linear gate: y = x · min(max(x + 3, 0), 6) / 6.

    Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.2. The derivative is 0 at -3 and 1
    at 3.

    Args:
        x: any shape, floating-point.
    """
    return x * xp.clip(x + 3, 0.0, 6.0) / 6


def hard_swish_x(xp: Namespace, g: Array, x: Array) -> Array:
    """0 where x <= -3, g where x >= 3, and g · (x / 3 + ½) between."""
    return xp.where(x > -3, g * xp.where(x < 3, x / 3 + 0.5, 1.0), 0.0)


def glu_forward(xp: Namespace, x: Array, *, axis: int = -1) -> Array:
    """The gated linear unit y = a · sigmoid(b), where a and b are the two halves of x along an axis.

    Dauphin, Fan, Auli and Grangier, "Language modeling with gated convolutional networks", ICML 2017.

    Args:
        x: of an even length along ``axis``, floating-point.
        axis: the axis that is halved.

    Returns:
        The shape of x, half as long along ``axis``.

    Raises:
        ShapeError: x has no such axis, or one of odd length.
    """
    a, b = _halves(x, axis)
    return a * sigmoid(b)


def glu_x(xp: Namespace, g: Array, x: Array, axis: int = -1) -> Array:
    """G · s for the first half and g · a s (1 - s) for the second, where s = sigmoid(b)."""
    a, b = _halves(x, axis)
    gate = sigmoid(b)
    return xp.concat([g * gate, g * a * gate * (1 - gate)], axis=axis)


def _halves(x: Array, axis: int) -> tuple[Array, Array]:
    if not -len(x.shape) <= axis < len(x.shape) or x.shape[axis] % 2:
        raise ShapeError(f"an array with an axis {axis} of even length was expected, got shape {tuple(x.shape)}")
    before, half = (slice(None),) * (axis % len(x.shape)), x.shape[axis] // 2
    return x[(*before, slice(None, half), ...)], x[(*before, slice(half, None), ...)]


gelu = op(gelu_forward, x=gelu_x)
silu = op(silu_forward, x=silu_x)
mish = op(mish_forward, x=mish_x)
hard_swish = op(hard_swish_forward, x=hard_swish_x)
glu = op(glu_forward, x=glu_x)
