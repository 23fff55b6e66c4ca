"""The line search: the strong Wolfe conditions hold at its step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnx.optim.line_search import Trial, strong_wolfe


def more_thuente(kind):
    """Functions of Moré and Thuente, "Line search algorithms with guaranteed sufficient decrease", 1994, section 5."""

    def bent(a, beta=2.0):
        return -a / (a * a + beta), (a * a - beta) / (a * a + beta) ** 2

    def high_power(a, beta=0.004):
        return (a + beta) ** 5 - 2 * (a + beta) ** 4, 5 * (a + beta) ** 4 - 8 * (a + beta) ** 3

    def wavy(a, beta=0.01, waves=39):
        if a <= 1 - beta:
            first, slope = 1 - a, -1.0
        elif a >= 1 + beta:
            first, slope = a - 1, 1.0
        else:
            first, slope = (a - 1) ** 2 / (2 * beta) + beta / 2, (a - 1) / beta
        angle = waves * math.pi / 2 * a
        return (
            first + 2 * (1 - beta) / (waves * math.pi) * math.sin(angle),
            slope + (1 - beta) * math.cos(angle),
        )

    def badly_scaled(a, left=0.01, right=0.001):
        def gamma(b):
            return math.sqrt(1 + b * b) - b

        def root(c, b):
            return math.sqrt(c * c + b * b)

        return (
            gamma(left) * root(1 - a, right) + gamma(right) * root(a, left),
            gamma(left) * (a - 1) / root(1 - a, right) + gamma(right) * a / root(a, left),
        )

    return {"bent": bent, "high_power": high_power, "wavy": wavy, "badly_scaled": badly_scaled}[kind]


def search(f, first, *, c1=1e-4, c2=0.9, evaluations=40, precision=2.2e-16):
    """The step, the start, and how many trials there were."""
    count = []

    def at(step):
        count.append(step)
        return Trial(step, *f(step))

    start = Trial(0.0, *f(0.0))
    found = strong_wolfe(at, start, at(first), c1=c1, c2=c2, evaluations=evaluations - 1, precision=precision)
    return found, start, len(count)


def assert_wolfe(found, start, c1, c2, rounding=0.0):
    assert found.value <= start.value + c1 * found.step * start.slope
    assert abs(found.slope) <= c2 * abs(start.slope) + rounding


@pytest.mark.parametrize("kind", ["bent", "high_power", "wavy", "badly_scaled"])
@pytest.mark.parametrize("first", [1e-3, 1e-1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize(("c1", "c2"), [(1e-4, 0.9), (1e-3, 0.1), (0.1, 0.2)])
def test_known_functions(kind, first, c1, c2):
    found, start, count = search(more_thuente(kind), first, c1=c1, c2=c2)
    # the value of one of them is 10¹⁰ times that at the start, so that it says no more of its minimum
    assert_wolfe(found, start, c1, c2, rounding=1e-7 if kind == "high_power" else 0.0)
    assert count <= 30


@given(
    first=st.floats(1e-4, 1e4),
    minimum=st.floats(1e-3, 1e3),
    scale=st.floats(1e-3, 1e3),
    c2=st.floats(0.01, 0.95),
)
def test_parabolas(first, minimum, scale, c2):
    found, start, _ = search(lambda a: (scale * (a - minimum) ** 2, 2 * scale * (a - minimum)), first, c2=c2)
    assert_wolfe(found, start, 1e-4, c2)


@given(coefficients=st.lists(st.floats(-3, 3), min_size=4, max_size=4), first=st.floats(1e-2, 1e2))
def test_functions_of_many_minima(coefficients, first):
    """Bounded below, and falling at first."""
    a, b, c, d = coefficients

    def f(t):
        value = 0.01 * t * t + a * math.sin(t) + b * math.cos(2 * t) + c * math.sin(3 * t) + d * t
        slope = 0.02 * t + a * math.cos(t) - 2 * b * math.sin(2 * t) + 3 * c * math.cos(3 * t) + d
        return value, slope

    if f(0.0)[1] > -1e-2:
        return
    found, start, _ = search(f, first)
    assert_wolfe(found, start, 1e-4, 0.9)


@pytest.mark.parametrize("beyond", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("edge", [0.5, 1e-2, 1e-6])
def test_trials_that_are_not_finite_count_as_too_high(beyond, edge):
    """Also if they come with a value that would be low, and no slope."""

    def f(a):
        return (-a, -1.0 + 0.5 * a / edge) if a < edge else (beyond, math.nan)

    found, start, _ = search(f, 1.0, c2=0.99)
    assert 0 < found.step < edge
    assert found.value < start.value


def test_a_function_that_falls_for_ever():
    found, start, count = search(lambda a: (-a, -1.0), 1.0, evaluations=10)
    assert count == 10
    assert found.step > 1e3
    assert found.value < start.value


@pytest.mark.parametrize("evaluations", [1, 2, 5])
def test_the_trials_are_counted(evaluations):
    f = lambda a: (1e6 * (a - 1e-5) ** 2, 2e6 * (a - 1e-5))  # noqa: E731
    _, _, count = search(f, 1.0, c2=1e-6, evaluations=evaluations)
    assert count <= evaluations


def test_the_best_of_too_few_trials_is_taken():
    """It lies lower than the start, and has the wrong slope."""
    found, start, _ = search(lambda a: ((a - 100) ** 2, 2 * (a - 100)), 1.0, c2=0.1, evaluations=2)
    assert found.value < start.value
    assert abs(found.slope) > 0.1 * abs(start.slope)


def test_there_is_no_step_where_every_one_is_higher():
    """As by rounding, at a minimum."""
    assert search(lambda a: (1.0 + (a > 0) * 1e-7, -1e-12), 1.0)[0] is None


def test_an_interval_whose_decrease_cannot_be_seen_is_left():
    """In float32, in which 1 and 1 - 10⁻⁹ are one."""
    f = lambda a: (float(np.float32(1 + 1e-9 * (a - 1) ** 2)), 2e-9 * (a - 1))  # noqa: E731
    found, _, count = search(lambda a: (f(a)[0] + (a > 0) * 1e-6, f(a)[1]), 1.0, precision=1.2e-7)
    assert found is None
    assert count <= 2
