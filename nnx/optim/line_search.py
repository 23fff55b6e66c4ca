"""A line search for the strong Wolfe conditions, on numbers of the host."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Trial(NamedTuple):
    """A point on the line: φ(α) = f(x + α d), its derivative, and whatever else belongs to it."""

    step: float
    value: float
    slope: float
    point: Any = None

    @property
    def finite(self) -> bool:
        """Whether neither φ nor its derivative is NaN or infinite."""
        return math.isfinite(self.value) and math.isfinite(self.slope)


def strong_wolfe(
    at: Callable[[float], Trial],
    start: Trial,
    first: Trial,
    *,
    c1: float,
    c2: float,
    evaluations: int,
    precision: float,
) -> Trial | None:
    """A step that satisfies the strong Wolfe conditions

        φ(α) <= φ(0) + c1 α φ'(0)    and    |φ'(α)| <= c2 |φ'(0)|

    Nocedal and Wright, "Numerical Optimization", 2nd edition, 2006, algorithms 3.5 and 3.6: the step
    grows until an interval is known to hold such a step, which then shrinks round it. New steps are
    minima of the cubic through two trials (equation 3.59), kept away from both. A trial that is not
    finite counts as one of infinite value.

    Args:
        at: evaluates φ.
        start: φ(0) and φ'(0) < 0.
        first: the first trial.
        c1, c2: the constants, 0 < c1 < c2 < 1.
        evaluations: how many more trials there may be.
        precision: the relative error of φ; an interval along which φ changes by less is not searched.

    Returns:
        The step; or, if none was found in time, the best one that satisfies the first condition; or
        ``None`` if there is none.
    """

    def too_high(trial: Trial) -> bool:
        return not trial.finite or trial.value > start.value + c1 * trial.step * start.slope

    def flat(trial: Trial) -> bool:
        return abs(trial.slope) <= -c2 * start.slope

    low, high, trial = start, None, first
    for _ in range(evaluations):
        if too_high(trial) or (trial.value >= low.value and low is not start):
            high = trial
        elif flat(trial):
            return trial
        else:
            beyond = 1.0 if high is None else high.step - low.step
            if trial.slope * beyond >= 0:  # it rises that way: the step lies between
                high = low
            previous, low = low, trial
        if high is None:  # it still falls: further on
            width = low.step - previous.step
            step = _between(_cubic(previous, low), low.step + 1.1 * width, low.step + 4.0 * width)
        else:
            width = high.step - low.step
            if abs(width * start.slope) <= precision * abs(start.value):
                break
            step = _between(_cubic(low, high), low.step + 0.1 * width, high.step - 0.1 * width)
        trial = at(step)
    if not too_high(trial) and trial.value < low.value:
        low = trial
    return None if low is start else low


def _cubic(a: Trial, b: Trial) -> float:
    """Where the cubic through two trials and their slopes has its minimum; NaN if it has none."""
    if not (a.finite and b.finite) or a.step == b.step:
        return math.nan
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if not 0 <= square < math.inf:
        return math.nan
    d2 = math.copysign(math.sqrt(square), b.step - a.step)
    divisor = b.slope - a.slope + 2 * d2
    return b.step - (b.step - a.step) * (b.slope + d2 - d1) / divisor if divisor else math.nan


def _between(step: float, one: float, other: float) -> float:
    """``step``, no further out than the nearer of two ends; their middle if it is NaN."""
    if math.isnan(step):
        return 0.5 * (one + other)
    return min(max(step, min(one, other)), max(one, other))
