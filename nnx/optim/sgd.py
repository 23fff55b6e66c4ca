"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnx._arguments import fraction, non_negative
from nnx._errors import ArgumentError
from nnx._typing import Array, Namespace
from nnx.ops._op import replaceable
from nnx.optim.clip import unless_negative
from nnx.optim.flat import FlatParameters
from nnx.optim.loss_scale import LossScale
from nnx.optim.optimizer import Optimizer
from nnx.optim.schedules import Schedule


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum if asked for.

    With parameters p, gradient g, momentum μ, weight decay λ and rate η:

        g ← g + λ p
        v ← μ v + g,          v = 0 at first
        p ← p − η v           or, with Nesterov's momentum,  p ← p − η (g + μ v)

    Robbins and Monro, "A stochastic approximation method", 1951; Sutskever, Martens, Dahl and Hinton,
    "On the importance of initialization and momentum in deep learning", 2013. Departure, as in torch:
    the rate multiplies the velocity when it is used, not the gradient when it enters, so that a
    change of the rate holds at once.

    Args:
        rate: η, a number greater than 0 or a schedule.
        momentum: μ, in [0, 1).
        nesterov: use Nesterov's momentum.
        weight_decay: λ ≥ 0, the factor of an L2 penalty λ/2 · Σ p² on all parameters.
        clip_norm: the largest norm of all gradients together, before weight decay; ``None`` for no limit.
        loss_scale: what the gradients come multiplied by; ``None`` for 1. See :class:`nnx.optim.LossScale`.

    Raises:
        ArgumentError: an argument is outside those values, or ``nesterov`` has no momentum.

    >>> import nnx
    >>> optimizer = nnx.optim.SGD(0.1, momentum=0.9, nesterov=True)
    >>> optimizer.rate
    0.1
    """

    def __init__(
        self,
        rate: float | Schedule,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        loss_scale: LossScale | None = None,
    ) -> None:
        super().__init__(rate, clip_norm=clip_norm, loss_scale=loss_scale)
        momentum = fraction("momentum", momentum)
        if nesterov and not momentum:
            raise ArgumentError("nesterov=True needs a momentum greater than 0, e.g. momentum=0.9")
        self.slots = ("velocity",) if momentum else ()
        self._options: dict[str, Any] = {
            "momentum": momentum,
            "nesterov": bool(nesterov),
            "weight_decay": non_negative("weight_decay", weight_decay),
        }

    def _advance(
        self, group: FlatParameters, gradients: Sequence[Array], step: Array, rate: Array, scale: Array | None
    ) -> tuple[Array, Sequence[Array]]:
        velocity = group.state[0] if group.state else None
        flat, velocity = _update(group.xp, group.flat, gradients, velocity, rate, scale, **self._options)
        return flat, () if velocity is None else (velocity,)


def sgd_update(
    xp: Namespace,
    parameters: Array,
    gradients: Sequence[Array],
    velocity: Array | None,
    rate: Array,
    scale: Array | None,
    *,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> tuple[Array, Array | None]:
    """One step of :class:`SGD`: the new parameters and velocity.

    Args:
        parameters, velocity: shape (total,); the velocity is ``None`` without momentum.
        gradients: one array of shape (total,).
        rate, scale: Python floats or 0-d arrays; ``None`` is a scale of 1. A negative scale says that the gradients
            are not finite: what is answered is what came.
    """
    (g,) = gradients
    keep: Array = momentum
    if scale is not None:
        g = scale * g
    if weight_decay:
        g = g + weight_decay * parameters
    if scale is not None:
        g, rate, keep = unless_negative(xp, scale, g, rate, momentum)
    if velocity is None:
        return parameters - rate * g, None
    velocity = keep * velocity + g
    direction = g + momentum * velocity if nesterov else velocity
    return parameters - rate * direction, velocity


_update = replaceable(sgd_update)
