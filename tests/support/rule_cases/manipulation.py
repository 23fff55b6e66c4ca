"""Calls of the functions that move elements about."""

from __future__ import annotations

import math

import array_api_compat
import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

import nnx
from rule_cases.drawing import Case, axes_of, moved, numbers, shapes


def permutations(shape):
    axes = st.permutations(range(len(shape))).map(tuple)
    return st.one_of(axes.map(lambda a: ((a,), {})), axes.map(lambda a: ((), {"axes": a})))


def moves(shape):
    axes = st.lists(axes_of(shape), min_size=1, unique_by=lambda a: a % len(shape))
    pairs = (
        st.tuples(axes, axes).filter(lambda ab: len(ab[0]) == len(ab[1])).map(lambda ab: (tuple(ab[0]), tuple(ab[1])))
    )
    return st.one_of(pairs, st.tuples(axes_of(shape), axes_of(shape))).map(lambda ab: (ab, {}))


def rolls(shape):
    shift, axis = st.integers(-4, 4), axes_of(shape)
    return st.one_of(
        st.tuples(st.tuples(shift), st.fixed_dictionaries({}, optional={"axis": axis})),
        st.fixed_dictionaries({"shift": shift, "axis": axis}).map(lambda options: ((), options)),
        st.tuples(st.tuples(st.tuples(shift, shift)), st.fixed_dictionaries({"axis": st.tuples(axis, axis)})),
    )


def flips(shape):
    several = st.lists(axes_of(shape), min_size=1, unique_by=lambda a: a % len(shape)).map(tuple)
    return st.one_of(st.none(), axes_of(shape), several).map(lambda axis: ((), {"axis": axis}))


def broadcasts(shape):
    bigger = st.tuples(*(st.just(n) if n > 1 else st.integers(1, 3) for n in shape))
    front = st.lists(st.integers(1, 2), max_size=2).map(tuple)
    return st.tuples(front, bigger).map(lambda parts: ((parts[0] + parts[1],), {}))


def squeezes(shape):
    ones = [i for i, n in enumerate(shape) if n == 1]
    several = st.lists(st.sampled_from(ones), min_size=1, unique=True).map(tuple)
    return st.one_of(st.sampled_from(ones), st.sampled_from(ones).map(lambda a: a - len(shape)), several).map(
        lambda axis: ((axis,), {})
    )


def reshapes(shape):
    return st.sampled_from([(-1,), shape[::-1], (1, *shape), (math.prod(shape), 1)]).map(lambda new: ((new,), {}))


def triangles(shape):
    return st.fixed_dictionaries({}, optional={"k": st.integers(-3, 3)}).map(lambda options: ((), options))


@st.composite
def sequences(draw, grows):
    shape = draw(hnp.array_shapes(max_dims=3, max_side=3))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    count = draw(st.integers(1, 3))
    if grows:  # concat: the lengths along the axis may differ
        sizes = [draw(st.integers(1, 3)) for _ in range(count)]
        kinds = [(*shape[: axis % len(shape)], n, *shape[axis % len(shape) + 1 :]) for n in sizes]
        axis = draw(st.sampled_from([axis, None]))
    else:
        kinds = [shape] * count
        axis = draw(st.integers(-len(shape) - 1, len(shape)))
    return Case(tuple(draw(numbers(kind)) for kind in kinds), lambda f, *arrays: f(arrays, axis=axis))


@st.composite
def repeats(draw):
    x = draw(numbers(draw(hnp.array_shapes(max_dims=3, max_side=3))))
    axis = draw(st.one_of(st.none(), axes_of(x.shape)))
    options = {} if axis is None else {"axis": axis}
    if draw(st.booleans()):
        times = draw(st.integers(1, 3))
        return Case((x,), lambda f, x: f(x, times, **options))
    counts = draw(hnp.arrays(np.int64, x.size if axis is None else x.shape[axis], elements=st.integers(0, 3)))
    return Case((x,), lambda f, x, counts: f(x, counts, **options), (counts,))


def tiles(shape):
    return st.lists(st.integers(1, 3), min_size=1, max_size=3).map(lambda times: ((tuple(times),), {}))


@st.composite
def casts(draw):
    dtype = draw(st.sampled_from(["float32", "float64"]))
    x = draw(numbers(draw(shapes)))
    return Case((x,), lambda f, x: f(x, getattr(nnx.namespace_of(x), dtype)))


def joined(results):
    """Several results as one array, in which each element has a place of its own."""
    xp = nnx.namespace_of(*results)
    return xp.concat([xp.reshape(result, (-1,)) for result in results])


@st.composite
def broadcasts_of_several(draw):
    kinds = draw(hnp.mutually_broadcastable_shapes(num_shapes=draw(st.integers(1, 3)), max_dims=3, max_side=3))
    arrays = [draw(numbers(shape)) for shape in kinds.input_shapes]
    free = draw(st.integers(1, len(arrays)))
    return Case(tuple(arrays[:free]), lambda f, *arrays: joined(f(*arrays)), tuple(arrays[free:]))


@st.composite
def grids(draw):
    arrays = [draw(numbers((draw(st.integers(1, 3)),))) for _ in range(draw(st.integers(1, 3)))]
    options = draw(st.fixed_dictionaries({}, optional={"indexing": st.sampled_from(["xy", "ij"])}))

    def call(f, first, *others):  # some libraries take one dtype alone
        xp = nnx.namespace_of(first)
        return joined(f(first, *(xp.astype(a, first.dtype) for a in others), **options))

    return Case(tuple(arrays), call)


@st.composite
def unstacked(draw):
    """Some of the parts, at least one, in an order of their own."""
    x = draw(numbers(draw(hnp.array_shapes(max_dims=3, max_side=3))))
    options = draw(st.fixed_dictionaries({} if x.ndim == 1 else {"axis": axes_of(x.shape)}))
    parts = draw(st.lists(st.integers(0, x.shape[options.get("axis", 0)] - 1), min_size=1, max_size=4))

    def call(f, x):
        found = f(x, **options)
        return joined([found[i] for i in parts])

    return Case((x,), call)


OPERATORS = {"to_device": array_api_compat.to_device}

CASES = {
    "astype": casts(),
    "broadcast_arrays": broadcasts_of_several(),
    "broadcast_to": moved(broadcasts),
    "concat": sequences(grows=True),
    "expand_dims": moved(lambda shape: st.integers(-len(shape) - 1, len(shape)).map(lambda a: ((), {"axis": a}))),
    "flip": moved(flips),
    "meshgrid": grids(),
    "moveaxis": moved(moves),
    "permute_dims": moved(permutations),
    "repeat": repeats(),
    "reshape": moved(reshapes),
    "roll": moved(rolls),
    "squeeze": moved(squeezes, hnp.array_shapes(max_side=3, max_dims=3).filter(lambda shape: 1 in shape)),
    "stack": sequences(grows=False),
    "tile": moved(tiles),
    "to_device": shapes.flatmap(numbers).map(lambda x: Case((x,), lambda f, x: f(x, array_api_compat.device(x)))),
    "tril": moved(triangles, hnp.array_shapes(min_dims=2, max_side=3)),
    "triu": moved(triangles, hnp.array_shapes(min_dims=2, max_side=3)),
    "unstack": unstacked(),
}
