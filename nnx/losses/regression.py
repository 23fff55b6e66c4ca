"""Losses of numbers, element by element."""

from __future__ import annotations

from nnx import ops
from nnx._arguments import positive
from nnx._typing import Array
from nnx.backend import activating
from nnx.losses._common import elementwise, reduce


@activating
def mse(prediction: Array, target: Array, *, reduction: str = "mean", weights: Array | None = None) -> Array:
    """Squared error, or L2 loss: loss = (prediction - target)², for each element.

    The squared norm ‖f - y‖² of an example, in CS231n, is the sum of these over its elements; Nielsen's
    quadratic cost is half of that.

    Args:
        prediction, target: of one shape and dtype, floating-point.
        reduction, weights: see the package.
    """
    xp, prediction, target = elementwise(prediction, target)
    return reduce(xp.square(prediction - target), reduction, weights)


@activating
def mae(prediction: Array, target: Array, *, reduction: str = "mean", weights: Array | None = None) -> Array:
    """Absolute error, or L1 loss: loss = |prediction - target|, for each element; its derivative at 0 is 0.

    Args:
        prediction, target: of one shape and dtype, floating-point.
        reduction, weights: see the package.
    """
    xp, prediction, target = elementwise(prediction, target)
    return reduce(xp.abs(prediction - target), reduction, weights)


@activating
def huber(
    prediction: Array,
    target: Array,
    *,
    delta: float = 1.0,
    reduction: str = "mean",
    weights: Array | None = None,
) -> Array:
    """Squared error near the target, absolute error further out.

        loss = ½ r² where |r| <= delta, else delta (|r| - ½ delta), with r = prediction - target

    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.

    Args:
        prediction, target: of one shape and dtype, floating-point.
        delta: above 0.
        reduction, weights: see the package.

    Raises:
        ArgumentError: ``delta`` is not above 0.
    """
    delta = positive("the delta of huber", delta)
    xp, prediction, target = elementwise(prediction, target)
    r = prediction - target
    near = xp.clip(r, -delta, delta)
    return reduce(near * (r - 0.5 * near), reduction, weights)


@activating
def log_cosh(prediction: Array, target: Array, *, reduction: str = "mean", weights: Array | None = None) -> Array:
    """A smooth absolute error: loss = ln cosh(prediction - target), for each element.

    About ½ r² near the target and |r| - ln 2 far from it; the derivative is tanh(r).

    Args:
        prediction, target: of one shape and dtype, floating-point.
        reduction, weights: see the package.
    """
    _, prediction, target = elementwise(prediction, target)
    return reduce(ops.log_cosh(prediction - target), reduction, weights)
