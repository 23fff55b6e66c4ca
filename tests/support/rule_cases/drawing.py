"""Strategies that several chapters draw their calls with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

import nnx


class Case(NamedTuple):
    """A call of a function ``f``, which is told its arrays and then what else it needs."""

    arrays: tuple
    call: Callable
    constants: tuple = ()


shapes = hnp.array_shapes(min_dims=0, max_dims=3, max_side=3)


@st.composite
def numbers(draw, shape, low=-2.0, high=2.0):
    """Independent uniform numbers, no two of which are equal."""
    return np.random.default_rng(draw(st.integers(0, 2**32))).uniform(low, high, shape)


@st.composite
def unary(draw, low=-2.0, high=2.0):
    return Case((draw(numbers(draw(shapes), low, high)),), lambda f, x: f(x))


@st.composite
def binary(draw, low=-2.0, high=2.0):
    first, second = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)).input_shapes
    a, b = draw(numbers(first, low, high)), low + high - draw(numbers(second, low, high))  # equal seeds, other numbers
    scalar = draw(st.floats(max(low, 0.5), high))
    return draw(
        st.sampled_from(
            [
                Case((a, b), lambda f, a, b: f(a, b)),
                Case((a,), lambda f, a, b: f(a, b), (b,)),
                Case((b,), lambda f, b, a: f(a, b), (a,)),
                Case((a,), lambda f, a: f(a, scalar)),
                Case((b,), lambda f, b: f(scalar, b)),
                Case((a,), lambda f, a: f(a, a)),
            ]
        )
    )


@st.composite
def reductions(draw, least=1, **options):
    x = draw(numbers(draw(hnp.array_shapes(min_dims=least - 1, max_dims=3, min_side=least, max_side=3))))
    axes = st.none()
    if x.ndim:
        axis = st.integers(-x.ndim, x.ndim - 1)
        several = st.lists(axis, min_size=1, max_size=x.ndim, unique_by=lambda a: a % x.ndim).map(tuple)
        axes = st.one_of(axes, axis, several)
    options = {"axis": draw(axes), "keepdims": draw(st.booleans())} | {k: draw(s) for k, s in options.items()}
    return Case((x,), lambda f, x: f(x, **options))


@st.composite
def moved(draw, arguments, shapes=hnp.array_shapes(max_side=3, max_dims=3)):
    """Functions of one array and of what ``arguments`` draws for its shape: positional ones, and options."""
    x = draw(numbers(draw(shapes)))
    positional, options = draw(arguments(x.shape))
    return Case((x,), lambda f, x: f(x, *positional, **options))


def axes_of(shape):
    return st.integers(-len(shape), len(shape) - 1)


def parts(y):
    """The real and imaginary parts of ``y``, in one array; a real array as it is."""
    xp = nnx.namespace_of(y)
    return xp.stack([xp.real(y), xp.imag(y)]) if xp.isdtype(y.dtype, "complex floating") else y


@st.composite
def in_complex(draw, cases, low=0.4, high=0.9):
    """A call that ``cases`` draws, with one or more of its arrays made complex by imaginary parts of that size.

    It is a call with real arrays, and answers one: checks of it need no convention for complex gradients.
    """
    case = draw(cases)
    count = len(case.arrays)
    chosen = draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True))
    imaginary = {i: draw(st.sampled_from([-1, 1])) * draw(numbers(case.arrays[i].shape, low, high)) for i in chosen}

    def call(f, *arrays):
        given = list(arrays[:count])
        for i, b in zip(imaginary, arrays[count:], strict=False):
            given[i] = given[i] + 1j * b
        return parts(case.call(f, *given, *arrays[count + len(imaginary) :]))

    return Case((*case.arrays, *imaginary.values()), call, case.constants)


def real_or_complex(cases):
    return st.one_of(cases, in_complex(cases))


@st.composite
def beside_a_complex_number(draw, low=-2.0, high=2.0):
    x = draw(numbers(draw(shapes), low, high))
    z = complex(draw(st.floats(max(low, 0.5), high)), draw(st.sampled_from([-0.7, 0.6])))
    calls = [lambda f, x: parts(f(x, z)), lambda f, x: parts(f(z, x))]
    return Case((x,), draw(st.sampled_from(calls)))


def complex_binary(low=-2.0, high=2.0):
    """As :func:`binary`, for functions that take complex numbers too."""
    return st.one_of(real_or_complex(binary(low, high)), real_or_complex(beside_a_complex_number(low, high)))


def complex_unary(low=-2.0, high=2.0):
    """As :func:`unary`, for functions that take complex numbers too."""
    return real_or_complex(unary(low, high))
