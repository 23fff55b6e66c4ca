"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnx._arguments import fraction, non_negative, positive
from nnx._errors import ArgumentError
from nnx._typing import Array, Namespace
from nnx.ops._op import replaceable
from nnx.optim.clip import unless_negative
from nnx.optim.flat import FlatParameters
from nnx.optim.loss_scale import LossScale
from nnx.optim.optimizer import Optimizer
from nnx.optim.schedules import Schedule


class Adam(Optimizer):
    r"""Adam: the mean gradient divided by the root of the mean squared gradient, element by element.

    With parameters p, gradient g, weight decay λ and rate η, at step t = 1, 2, …:

        g ← g + λ p
        m ← β₁ m + g,    v ← β₂ v + g²,    m = v = 0 at first
        p ← p − η · w₁ m / (√(w₂ v) + ε),  w = (1 − β) / (1 − βᵗ)

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1. Departure: m and v
    are weighted sums, from which w makes the paper's bias-corrected means; the paper's m has the
    factor 1 − β₁ inside, its v the factor 1 − β₂. The steps are the same, with two passes less.

    Args:
        rate: η, a number greater than 0 or a schedule.
        betas: β₁ and β₂, in [0, 1).
        eps: ε > 0.
        weight_decay: λ ≥ 0, the factor of an L2 penalty λ/2 · Σ p² on all parameters.
        clip_norm: the largest norm of all gradients together, before weight decay; ``None`` for no limit.
        loss_scale: what the gradients come multiplied by; ``None`` for 1. See :class:`nnx.optim.LossScale`.

    Raises:
        ArgumentError: an argument is outside those values.

    >>> import nnx
    >>> nnx.optim.Adam(nnx.optim.schedules.warmup(3, 1e-3)).rate
    0.00025
    """

    slots = ("gradient_sum", "square_sum")
    _decoupled = False

    def __init__(
        self,
        rate: float | Schedule,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        loss_scale: LossScale | None = None,
    ) -> None:
        super().__init__(rate, clip_norm=clip_norm, loss_scale=loss_scale)
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise ArgumentError(f"betas must be two numbers, e.g. (0.9, 0.999), got {betas!r}") from None
        self._options: dict[str, Any] = {
            "beta1": fraction("betas[0]", beta1),
            "beta2": fraction("betas[1]", beta2),
            "eps": positive("eps", eps),
            "weight_decay": non_negative("weight_decay", weight_decay),
            "decoupled": self._decoupled,
        }

    def _advance(
        self, group: FlatParameters, gradients: Sequence[Array], step: Array, rate: Array, scale: Array | None
    ) -> tuple[Array, Sequence[Array]]:
        flat, *state = _update(group.xp, group.flat, gradients, *group.state, step, rate, scale, **self._options)
        return flat, state


class AdamW(Adam):
    r"""Adam with decoupled weight decay: what shrinks a parameter is not divided by its gradients.

        p ← (1 − η λ) p,   then Adam's step without λ

    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2. Departure, as in
    torch: the decay is multiplied by the rate, and by no schedule of its own. It acts on all
    parameters, biases too.

    Args:
        rate: η, a number greater than 0 or a schedule.
        betas, eps, clip_norm, loss_scale: as for :class:`Adam`.
        weight_decay: λ ≥ 0.

    Raises:
        ArgumentError: an argument is outside those values.
    """

    _decoupled = True

    def __init__(
        self,
        rate: float | Schedule,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        loss_scale: LossScale | None = None,
    ) -> None:
        super().__init__(
            rate, betas=betas, eps=eps, weight_decay=weight_decay, clip_norm=clip_norm, loss_scale=loss_scale
        )


def adam_update(
    xp: Namespace,
    parameters: Array,
    gradients: Sequence[Array],
    gradient_sum: Array,
    square_sum: Array,
    step: Array,
    rate: Array,
    scale: Array | None,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> tuple[Array, Array, Array]:
    """One step of :class:`Adam` or, ``decoupled``, :class:`AdamW`: the new parameters and sums.

    Args:
        parameters, gradient_sum, square_sum: shape (total,).
        gradients: one array of shape (total,).
        step: t ≥ 1, an integer array of shape ().
        rate, scale: Python floats or 0-d arrays; ``None`` is a scale of 1. A negative scale says that the gradients
            are not finite: what is answered is what came.
    """
    (g,) = gradients
    keep1: Array = beta1
    keep2: Array = beta2
    if scale is not None:
        g = scale * g
    if weight_decay and not decoupled:
        g = g + weight_decay * parameters
    if scale is not None:
        g, rate, keep1, keep2 = unless_negative(xp, scale, g, rate, beta1, beta2)
    if weight_decay and decoupled:
        parameters = (1 - rate * weight_decay) * parameters
    gradient_sum = keep1 * gradient_sum + g
    square_sum = keep2 * square_sum + g * g
    t = xp.astype(step, parameters.dtype)
    mean = _mean_weight(xp, beta1, t) * gradient_sum
    mean_square = _mean_weight(xp, beta2, t) * square_sum
    return parameters - rate * mean / (xp.sqrt(mean_square) + eps), gradient_sum, square_sum


def _mean_weight(xp: Namespace, beta: float, t: Array) -> Array:
    """(1 − β) / (1 − βᵗ), which is 1 / Σᵢ βⁱ for i < t; without cancellation in the low precision of ``t``."""
    log = math.log(beta) if beta else -math.inf
    return (1 - beta) / -xp.expm1(log * t)


_update = replaceable(adam_update)
