"""L-BFGS: minimisation with all the data at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nnx._arguments import count, fraction, non_negative, positive
from nnx._errors import ArgumentError
from nnx._typing import Array, Model
from nnx.backend import activation
from nnx.grad import value_and_grad
from nnx.optim.line_search import Trial, strong_wolfe
from nnx.optim.objective import Objective, Point

STALLED = 3
"""After so many steps in which no decrease of the loss can be seen, there is no use in more."""


@dataclass(frozen=True)
class Minimum:
    """What :meth:`LBFGS.minimize` found.

    Attributes:
        value: the loss.
        gradient_norm: the largest element of its gradient, by absolute value.
        steps: how many steps were taken.
        evaluations: how often the loss and its gradient were computed.
        converged: whether ``gradient_norm`` is at most the tolerance.
        message: why it ended.
        losses: the loss at the start, and after each step.
    """

    value: float
    gradient_norm: float
    steps: int
    evaluations: int
    converged: bool
    message: str
    losses: tuple[float, ...]


class LBFGS:
    r"""L-BFGS: Newton's direction, with the curvature learned from the last few steps.

        d = -H g,    x ← x + α d

    H approximates the inverse of the Hessian: it is the one that BFGS makes of γ I by the last
    ``history`` pairs s = x₊ - x, y = g₊ - g, with γ = sᵀy / yᵀy of the last pair. It is never formed: two
    passes over the pairs give H g. The step α satisfies the strong Wolfe conditions, so that sᵀy > 0.
    Nocedal and Wright, "Numerical Optimization", 2nd edition, 2006, algorithms 7.4, 7.5, 3.5 and 3.6; Liu
    and Nocedal, "On the limited memory BFGS method for large scale optimization", 1989.

    It is for losses that can be computed on all the data at once, and it has no ``update``: it evaluates
    the loss where it likes. Nothing is random. float64 reaches a minimum more closely than float32, in
    which differences of the loss below 10⁻⁷ of it cannot be seen.

    Args:
        history: how many pairs are kept; each takes the memory of two models.
        c1, c2: constants of the strong Wolfe conditions, 0 < c1 < c2 < 1.
        search: how often a line search may evaluate the loss.

    Raises:
        ArgumentError: an argument is outside those values.

    >>> import nnx
    >>> x = nnx.asarray([[0.0], [1.0], [2.0], [3.0]])
    >>> model = nnx.Linear(1, 1)
    >>> found = nnx.optim.LBFGS().minimize(lambda model: nnx.losses.mse(model(x), 2 * x + 1), model)
    >>> found.converged
    True
    >>> model.weight.round(3)
    array([[2.]], dtype=float32)
    """

    def __init__(self, history: int = 10, *, c1: float = 1e-4, c2: float = 0.9, search: int = 25) -> None:
        self.history = count("history", history)
        self.c1, self.c2 = positive("c1", c1), fraction("c2", c2)
        if self.c1 >= self.c2:
            raise ArgumentError(f"the constants of the Wolfe conditions are 0 < c1 < c2 < 1, got {c1!r} and {c2!r}")
        self.search = count("search", search)

    def __repr__(self) -> str:
        return f"nnx.optim.LBFGS(history={self.history}, c1={self.c1}, c2={self.c2}, search={self.search})"

    def minimize(
        self,
        loss: Callable[..., Array],
        model: Model,
        *data: Any,
        steps: int = 100,
        tolerance: float = 1e-5,
        training: bool = True,
        callback: Callable[[Minimum], object] | None = None,
    ) -> Minimum:
        """Change the model's parameters to a local minimum of ``loss(model, *data)``.

        All vectors stay on the device of the model; it is waited for once in each evaluation of the
        loss. At the end, also by an exception or Ctrl-C, the model has the parameters of the least loss
        that was accepted, and never those of a greater one than at the start. A loss that is NaN or
        infinite on the way makes a step shorter.

        Args:
            loss: answers one number; for the same arguments always the same one.
            model: its parameters are bound to new arrays. What is frozen stays.
            data: passed on.
            steps: the greatest number of steps.
            tolerance: stop where no element of the gradient is greater, by its absolute value.
            training: the mode of the model.
            callback: called after each step, with what was found so far; the model is then at that point.

        Warns:
            UserWarning: two evaluations at the start differ, so that the loss is random.

        Raises:
            NonFiniteLossError: the loss or its gradient is NaN or infinite at the start.
            StateError: the model has no parameters to train.
            ArgumentError: ``steps`` is no whole number of at least 1, or ``tolerance`` is negative.
        """
        count("steps", steps)
        non_negative("tolerance", tolerance)
        with activation(model):
            objective = Objective(value_and_grad(loss, training=training), model, data)
            try:
                return self._descend(objective, steps, tolerance, callback)
            finally:
                objective.settle()

    def _descend(
        self, objective: Objective, steps: int, tolerance: float, callback: Callable[[Minimum], object] | None
    ) -> Minimum:
        here = objective.begin()
        found = Minimum(here.value, here.largest, 0, objective.evaluations, False, "under way", (here.value,))
        pairs: deque[_Pair] = deque(maxlen=self.history)
        stalled = 0
        while found.steps < steps and stalled < STALLED and here.largest > tolerance:
            there, step, curvature = self._step(objective, here, pairs)
            if there is None and pairs:
                pairs.clear()
                there, step, curvature = self._step(objective, here, pairs)
            if there is None:
                break
            if curvature > 0:
                pairs.append(_Pair(there.direction * step, there.gradient - here.gradient))
            stalled = stalled + 1 if there.value == here.value else 0
            here = objective.best = there
            found = replace(
                found,
                value=here.value,
                gradient_norm=here.largest,
                steps=found.steps + 1,
                evaluations=objective.evaluations,
                losses=(*found.losses, here.value),
            )
            if callback is not None:
                objective.settle()
                callback(found)
        converged = here.largest <= tolerance
        if converged:
            message = f"no element of the gradient is greater than {tolerance:g}"
        elif found.steps == steps:
            message = f"{steps} steps were taken, and the gradient is still greater than {tolerance:g}"
        else:
            message = f"no step makes the loss less by what {here.x.dtype} can tell"
        return replace(found, evaluations=objective.evaluations, converged=converged, message=message)

    def _step(self, objective: Objective, here: Point, pairs: deque[_Pair]) -> tuple[Point | None, float, float]:
        """Go down from ``here``: the point reached, the step, and sᵀy for it; ``None`` if there is none."""
        direction = _direction(here.gradient, pairs)
        # of the first direction only the sense is known, not the length
        step = 1.0 if pairs else min(1.0, 1 / max(math.sqrt(here.square), here.largest))

        def at(step: float) -> Trial:
            point = objective.at(here, direction, step)
            return Trial(step, point.value, point.slope, point)

        first = at(step)
        start = Trial(0.0, here.value, first.point.slope_before)
        if not start.slope < 0:  # rounding has spoilt the direction; NaN is no slope either
            return None, 0.0, 0.0
        found = strong_wolfe(
            at, start, first, c1=self.c1, c2=self.c2, evaluations=self.search - 1, precision=objective.precision
        )
        if found is None:
            return None, 0.0, 0.0
        return found.point, found.step, found.step * (found.slope - start.slope)


class _Pair:
    """A step s and the change y of the gradient along it."""

    __slots__ = ("inverse", "ratio", "s", "y")

    def __init__(self, s: Array, y: Array) -> None:
        self.s, self.y = s, y
        product = s @ y
        self.inverse = 1 / product
        self.ratio = product / (y @ y)


def _direction(gradient: Array, pairs: deque[_Pair]) -> Array:
    """-H g (Nocedal and Wright, algorithm 7.4)."""
    q = -gradient
    if not pairs:
        return q
    factors = []
    for pair in reversed(pairs):
        factor = (pair.s @ q) * pair.inverse
        factors.append(factor)
        q = q - pair.y * factor
    q = q * pairs[-1].ratio
    for pair, factor in zip(pairs, reversed(factors), strict=True):
        q = q + pair.s * (factor - (pair.y @ q) * pair.inverse)
    return q
