"""Calls of the elementwise functions."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from rule_cases.drawing import Case, binary, complex_binary, complex_unary, in_complex, numbers, shapes, unary


@st.composite
def clips(draw):
    shape = draw(shapes)
    x = draw(numbers(shape))
    low, high = (draw(st.sampled_from([None, "number", "array"])) for _ in range(2))
    assume(low is not None or high is not None)
    smaller = draw(st.sampled_from([shape, shape[1:], tuple(1 for _ in shape)]))
    bounds = {"number": (-0.7, 0.8), "array": (draw(numbers(smaller, -1, 0)), draw(numbers(smaller, 0, 1)))}
    low, high = low and bounds[low][0], high and bounds[high][1]
    arrays = tuple(bound for bound in (low, high) if isinstance(bound, np.ndarray))

    def call(f, x, *arrays):
        arrays = iter(arrays)
        return f(x, *(next(arrays) if isinstance(bound, np.ndarray) else bound for bound in (low, high)))

    return Case((x, *arrays), call) if draw(st.booleans()) else Case((x,), call, arrays)


@st.composite
def remainders(draw):
    """Numbers whose quotients are not whole, with dividends and divisors of either sign."""
    a, b = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)).input_shapes
    signs = draw(st.sampled_from([-1.0, 1.0])), draw(st.sampled_from([-1.0, 1.0]))
    a, b = signs[0] * draw(numbers(a, 1.05, 1.95)), signs[1] * draw(numbers(b, 0.99, 1.01))
    return draw(st.sampled_from([Case((a, b), lambda f, a, b: f(a, b)), Case((a,), lambda f, a: f(a, 0.98))]))


@st.composite
def neighbours(draw):
    """Numbers of which no two are equal."""
    a, b = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)).input_shapes
    a, b = draw(numbers(a, 0.4, 2.0)), draw(st.sampled_from([-1.0, 2.0])) * draw(numbers(b, 1.1, 2.0))
    return Case((a, b), lambda f, a, b: f(a, b))


CASES = {
    "abs": complex_unary(),
    "acos": complex_unary(-0.9, 0.9),
    "acosh": complex_unary(1.2, 3.0),
    "add": complex_binary(),
    "asin": complex_unary(-0.9, 0.9),
    "asinh": complex_unary(),
    "atan": complex_unary(),
    "atan2": binary(0.3, 2.0),
    "atanh": complex_unary(-0.9, 0.9),
    "clip": clips(),
    "conj": complex_unary(),
    "copysign": binary(0.3, 2.0),
    "cos": complex_unary(),
    "cosh": complex_unary(),
    "divide": complex_binary(0.4, 2.0),
    "exp": complex_unary(),
    "expm1": complex_unary(),
    "hypot": binary(0.3, 2.0),
    "imag": in_complex(unary()),
    "log": complex_unary(0.3, 3.0),
    "log10": complex_unary(0.3, 3.0),
    "log1p": complex_unary(-0.6, 3.0),
    "log2": complex_unary(0.3, 3.0),
    "logaddexp": binary(),
    "maximum": binary(),
    "minimum": binary(),
    "multiply": complex_binary(),
    "negative": complex_unary(),
    "nextafter": neighbours(),
    "positive": complex_unary(),
    "pow": complex_binary(0.4, 2.0),
    "real": complex_unary(),
    "reciprocal": complex_unary(0.4, 2.0),
    "remainder": remainders(),
    "sign": in_complex(unary()),
    "sin": complex_unary(),
    "sinh": complex_unary(),
    "sqrt": complex_unary(0.3, 3.0),
    "square": complex_unary(),
    "subtract": complex_binary(),
    "tan": complex_unary(-1.0, 1.0),
    "tanh": complex_unary(),
}
