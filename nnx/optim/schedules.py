"""Rates that change from step to step.

A schedule is any function ``schedule(step) -> rate``. ``step`` counts the updates that are done: 0 for
the first one. Optimisers give it as a 0-d array of the parameters' floating-point dtype, on their
device, so that a step stays a function of arrays; a plain number will do too. A schedule is therefore
written with operators and the functions of ``nnx.namespace_of(step)``:

    rate=lambda step: 0.1 / (1 + 0.01 * step)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from nnx._arguments import count, non_negative, positive
from nnx._errors import ArgumentError
from nnx._typing import Array, Namespace
from nnx.backend import HOST, activating, load_backend, load_namespace, namespace_of

Schedule: TypeAlias = Callable[[Array], Array]
"""``schedule(step) -> rate``."""


@dataclass(frozen=True)
class constant:
    """The same rate at every step.

    Raises:
        ArgumentError: the rate is not greater than 0.

    >>> constant(0.1)(7)
    0.1
    """

    rate: float

    def __post_init__(self) -> None:
        positive("rate", self.rate)

    @activating
    def __call__(self, step: Array) -> Array:
        """The rate of the update before which ``step`` were done."""
        return self.rate


@dataclass(frozen=True)
class cosine:
    """From ``initial`` down to ``final`` along half a cosine, in ``steps`` steps.

        rate(t) = final + (initial − final) · (1 + cos(π · min(t / steps, 1))) / 2

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, equation 5.
    Departure: there are no restarts; after ``steps`` the rate stays at ``final``.

    Raises:
        ArgumentError: ``initial`` is not greater than 0, ``final`` is negative, or ``steps`` is not a
            whole number of at least 1.

    >>> cosine(0.5, 10)(0), cosine(0.5, 10)(10)
    (0.5, 0.0)
    """

    initial: float
    steps: int
    final: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        positive("initial", self.initial)
        count("steps", self.steps)
        non_negative("final", self.final)

    @activating
    def __call__(self, step: Array) -> Array:
        """The rate of the update before which ``step`` were done."""
        xp, t = _time(step)
        height = (1 + xp.cos(math.pi * xp.minimum(t / self.steps, 1.0))) / 2
        return _like(step, self.final + (self.initial - self.final) * height)


@dataclass(frozen=True)
class warmup:
    """A linear rise in ``steps`` steps to the first rate of ``then``, which then takes over.

        rate(t) = then(max(t − steps, 0)) · min((t + 1) / (steps + 1), 1)

    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017, section 2.2.
    Departure: the rise starts one step above 0, so that no update is lost.

    Args:
        steps: length of the rise.
        then: a number or a schedule; it is given the step counted from the end of the rise.

    Raises:
        ArgumentError: ``steps`` is not a whole number of at least 1, or ``then`` is neither a number
            greater than 0 nor a schedule.

    >>> [warmup(3, 0.5)(step) for step in range(5)]
    [0.125, 0.25, 0.375, 0.5, 0.5]
    """

    steps: int
    then: float | Schedule

    def __post_init__(self) -> None:
        count("steps", self.steps)
        if not callable(self.then):
            positive("then, where it is no schedule,", self.then)

    @activating
    def __call__(self, step: Array) -> Array:
        """The rate of the update before which ``step`` were done."""
        xp, t = _time(step)
        top = self.then(xp.maximum(t - self.steps, 0.0)) if callable(self.then) else self.then
        return _like(step, top * xp.minimum((t + 1) / (self.steps + 1), 1.0))


def as_schedule(rate: float | Schedule) -> float | Schedule:
    """``rate`` as a Python float or a schedule; ``ArgumentError`` if it is neither."""
    if callable(rate):
        return rate
    try:
        return positive("rate", rate)
    except ArgumentError as error:
        raise ArgumentError(f"{error}; a schedule, such as nnx.optim.schedules.cosine(...), will do too") from None


def _time(step: Array) -> tuple[Namespace, Array]:
    """The namespace of ``step``, and ``step`` as a floating-point array; of a plain number on the host."""
    if isinstance(step, (int, float)):
        xp = load_namespace(load_backend(HOST))
        return xp, xp.asarray(step, dtype=xp.float64)
    xp = namespace_of(step)
    return xp, xp.astype(step, xp.float32) if xp.isdtype(step.dtype, "integral") else step


def _like(step: Array, rate: Array) -> Array:
    """``rate`` as a plain number where ``step`` was one."""
    return float(rate) if isinstance(step, (int, float)) else rate
