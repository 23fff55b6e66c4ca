"""Calls of products of matrices and of the extension `linalg`, but for its decompositions."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

from rule_cases.drawing import Case, in_complex, moved, numbers, real_or_complex, reductions


@st.composite
def products(draw, signature):
    first, second = draw(hnp.mutually_broadcastable_shapes(signature=signature, max_dims=2, max_side=3)).input_shapes
    return Case((draw(numbers(first)), draw(numbers(second))), lambda f, a, b: f(a, b))


@st.composite
def vecdots(draw):
    shape = draw(hnp.array_shapes(max_dims=3, max_side=3))
    axis = draw(st.integers(-len(shape), -1))
    other = draw(st.sampled_from([shape, tuple(n if i == axis % len(shape) else 1 for i, n in enumerate(shape))]))
    return Case((draw(numbers(shape)), draw(numbers(other))), lambda f, a, b: f(a, b, axis=axis))


@st.composite
def tensordots(draw):
    free, summed = (draw(st.lists(st.integers(1, 3), max_size=2)) for _ in range(2))
    kinds = free + summed, summed + free[::-1]
    axes = draw(st.sampled_from([len(summed), "pairs"] + [2] * (len(summed) == 2)))
    if axes == "pairs":  # the axes of each stand in an order of their own
        orders = [draw(st.permutations(range(len(kind)))) for kind in kinds]
        starts = range(len(free), len(free) + len(summed)), range(len(summed))
        axes = tuple(
            [order.index(a) - draw(st.sampled_from([0, len(order)])) for a in r]
            for order, r in zip(orders, starts, strict=True)
        )
        kinds = [[kind[a] for a in order] for kind, order in zip(kinds, orders, strict=True)]
    a, b = (draw(numbers(tuple(kind))) for kind in kinds)
    return Case((a, b), lambda f, a, b: f(a, b, axes=axes))


@st.composite
def matrices(draw, options=lambda: st.just({}), square=False):
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=3))
    x = draw(numbers((*shape[:-1], shape[-2]) if square else shape))
    options = draw(options())
    return Case((x,), lambda f, x: f(x, **options))


def diagonals():
    return st.fixed_dictionaries({}, optional={"offset": st.integers(-1, 1)})


@st.composite
def invertible(draw, call=lambda f, x: f(x)):
    """Functions of square matrices that are far from singular."""
    n = draw(st.integers(1, 3))
    x = draw(numbers((*draw(st.sampled_from([(), (2,)])), n, n), -0.4, 0.4)) + np.diag([1.5, -1.0, 2.0][:n])
    return Case((x,), call)


@st.composite
def powers_of_matrices(draw):
    n = draw(st.integers(-3, 4))
    return draw(invertible(lambda f, x: f(x, n)))


@st.composite
def solves(draw):
    (x,) = draw(invertible()).arrays
    n = x.shape[-1]
    shapes = [(n,), (n, 2), (3, 1, n, 1), (2, n, 1)]
    return Case((x, draw(numbers(draw(st.sampled_from(shapes))))), lambda f, a, b: f(a, b))


@st.composite
def crosses(draw):
    axis = draw(st.sampled_from([-1, -2]))
    shapes = [(3,), (2, 3), (1, 3)] if axis == -1 else [(3, 2), (3, 1), (2, 3, 2)]
    options = draw(st.sampled_from([{}, {"axis": axis}])) if axis == -1 else {"axis": axis}
    a, b = (draw(numbers(draw(st.sampled_from(shapes)))) for _ in range(2))
    return Case((a, b), lambda f, a, b: f(a, b, **options))


@st.composite
def outers(draw):
    a, b = (draw(numbers((draw(st.integers(1, 3)),))) for _ in range(2))
    return draw(st.sampled_from([Case((a, b), lambda f, a, b: f(a, b)), Case((a,), lambda f, a: f(a, a))]))


def complex_too(cases):
    """``cases``, or these with small imaginary parts, which leave matrices far from singular."""
    return st.one_of(cases, in_complex(cases, 0.05, 0.2))


LINEAR = {
    "matmul": real_or_complex(products("(m?,n),(n,p?)->(m?,p?)")),
    "matrix_transpose": real_or_complex(
        moved(lambda shape: st.just(((), {})), hnp.array_shapes(min_dims=2, max_side=3))
    ),
    "tensordot": real_or_complex(tensordots()),
    "vecdot": real_or_complex(vecdots()),
}

ORDERS = st.sampled_from([2, 1, math.inf, -math.inf, 0.5, 3, 4.5, -2])

CASES = {
    **LINEAR,
    **{f"linalg.{name}": strategy for name, strategy in LINEAR.items()},
    "linalg.cross": real_or_complex(crosses()),
    "linalg.det": complex_too(invertible()),
    "linalg.diagonal": real_or_complex(matrices(diagonals)),
    "linalg.inv": complex_too(invertible()),
    "linalg.matrix_power": complex_too(powers_of_matrices()),
    "linalg.outer": real_or_complex(outers()),
    "linalg.solve": complex_too(solves()),
    "linalg.trace": real_or_complex(matrices(diagonals)),
    "linalg.vector_norm": real_or_complex(reductions(ord=ORDERS)),
}
