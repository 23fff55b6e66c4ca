"""Calls of the functions that make arrays of numbers.

Few libraries take arrays as these numbers, and torch drops their gradients: a formula stands for the function there.
"""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

import nnx
from nnx.tape.tracked import Tracked
from rule_cases.drawing import Case, numbers, shapes


def is_taken(number):
    return type(number) is Tracked or isinstance(number, (np.ndarray, np.generic))


@st.composite
def full(draw):
    shape = draw(shapes)
    given = draw(st.sampled_from([shape, shape[0]])) if len(shape) == 1 else shape
    value = draw(numbers(draw(st.sampled_from([(), *(shape[i:] for i in range(len(shape)))]))))
    named = draw(st.booleans())

    def call(f, value):
        if not is_taken(value):
            return nnx.namespace_of(value).ones(shape, dtype=value.dtype) * value
        return f(given, fill_value=value) if named else f(given, value)

    return Case((value,), call)


@st.composite
def full_like(draw):
    like, value = draw(numbers(draw(shapes))), draw(numbers(()))
    dtype = draw(st.sampled_from([None, "float32", "float64"]))

    def call(f, value, like):
        xp = nnx.namespace_of(value)
        kind = None if dtype is None else getattr(xp, dtype)
        if not is_taken(value):
            return xp.ones_like(like, dtype=kind) * xp.astype(value, kind or like.dtype)
        return f(like, value, dtype=kind)

    return Case((value,), call, (like,))


@st.composite
def linspace(draw):
    ends = draw(numbers((2,)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=1, max_side=3))
    num, endpoint = draw(st.integers(1, 5)), draw(st.booleans())
    options = draw(st.sampled_from([{}, {"endpoint": endpoint}]))
    number = draw(st.floats(-2, 2))
    start, stop = np.broadcast_to(ends[0], shape), np.asarray(ends[1])

    def line(f, start, stop):
        if is_taken(start) or is_taken(stop):
            return f(start, stop, num=num, **options)
        xp = nnx.namespace_of(start, stop)
        last = num if options.get("endpoint") is False else max(num - 1, 1)
        t = xp.reshape(xp.arange(num, dtype=xp.result_type(start, stop)) / last, (num,) + (1,) * len(shape))
        return start + (stop - start) * t

    return draw(
        st.sampled_from(
            [
                Case((start, stop), line),
                Case((start,), lambda f, start: line(f, start, number)),
                Case((start,), lambda f, stop: line(f, number, stop)),
                Case((stop,), lambda f, stop, start: line(f, start, stop), (start,)),
            ]
        )
    )


CASES = {"full": full(), "full_like": full_like(), "linspace": linspace()}
