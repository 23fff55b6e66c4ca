"""Calls of indexing and selection."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

import nnx
from nnx.tape.tracked import Tracked
from rule_cases.drawing import Case, axes_of, moved, numbers


def sorts(shape):
    options = {"axis": axes_of(shape), "descending": st.booleans(), "stable": st.booleans()}
    return st.fixed_dictionaries({}, optional=options).map(lambda options: ((), options))


@st.composite
def choices(draw):
    c, a, b = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3)).input_shapes
    condition, a, b = draw(numbers(c)) > 0, draw(numbers(a)), draw(numbers(b))
    return draw(
        st.sampled_from(
            [
                Case((a, b), lambda f, a, b, c: f(c, a, b), (condition,)),
                Case((a,), lambda f, a, c: f(c, a, 0.5), (condition,)),
                Case((b,), lambda f, b, c: f(c, 0.5, b), (condition,)),
            ]
        )
    )


@st.composite
def indices(draw):
    x = draw(numbers(draw(hnp.array_shapes(max_dims=3, max_side=4))))
    if draw(st.booleans()):
        keys = hnp.basic_indices(x.shape, allow_newaxis=True)
        key = draw(keys.filter(lambda key: "-" not in str([p for p in np.atleast_1d(key) if isinstance(p, slice)])))
        return Case((x,), lambda f, x: f(x, key))
    if draw(st.booleans()):  # integer arrays, with which the standard allows integers alone; they repeat elements
        parts = [draw(st.one_of(indices_of(n).map(lambda a: a[:3]), st.integers(-n, n - 1))) for n in x.shape]
        size = min((len(part) for part in parts if isinstance(part, np.ndarray)), default=0)
        parts = [part[:size] if isinstance(part, np.ndarray) else part for part in parts]
        places = [i for i, part in enumerate(parts) if isinstance(part, np.ndarray)]

        def call(f, x, *arrays):
            arrays = iter(arrays)
            return f(x, tuple(next(arrays) if i in places else part for i, part in enumerate(parts)))

        return Case((x,), call, tuple(parts[i] for i in places))
    return Case((x,), lambda f, x, mask: f(x, mask), (draw(numbers(x.shape)) > 0,))


def indices_of(n):
    return st.lists(st.integers(-n, n - 1), min_size=1, max_size=5).map(np.asarray)


@st.composite
def takes(draw):
    x = draw(numbers(draw(hnp.array_shapes(max_dims=3, max_side=3))))
    axis = draw(axes_of(x.shape))
    index = draw(indices_of(x.shape[axis])) % x.shape[axis]
    options = draw(st.sampled_from([{}, {"axis": axis}])) if x.ndim == 1 else {"axis": axis}
    return Case((x,), lambda f, x, index: f(x, index, **options), (index,))


@st.composite
def takes_along(draw):
    x = draw(numbers(draw(hnp.array_shapes(max_dims=3, max_side=3))))
    axis = draw(axes_of(x.shape))
    shape = list(x.shape)
    shape[axis] = draw(st.integers(1, 4))
    index = draw(hnp.arrays(np.int64, tuple(shape), elements=st.integers(0, x.shape[axis] - 1)))
    return Case((x,), lambda f, x, index: f(x, index, axis=axis), (index,))


@st.composite
def assignments(draw):
    """Of a number or an array that is broadcast, to a place of which the standard says what it is."""
    x = draw(numbers(draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=4))))
    key = draw(st.one_of(basic_keys(x.shape), st.just("mask")))
    mask = draw(numbers(x.shape[: draw(st.integers(0, x.ndim))])) > 0
    place = x[mask if key == "mask" else key]
    shape = tuple(draw(st.sampled_from([1, n])) for n in place.shape)[draw(st.integers(0, place.ndim)) :]
    value = draw(numbers(shape))
    masks = (mask,) if isinstance(key, str) else ()
    return draw(
        st.sampled_from(
            [
                Case((x, value), lambda f, x, value, *masks: f(x, *(masks or (key,)), value), masks),
                Case((x,), lambda f, x, value, *masks: f(x, *(masks or (key,)), value), (value, *masks)),
                Case((x,), lambda f, x, *masks: f(x, *(masks or (key,)), 1.5), masks),
                Case((value,), lambda f, value, x, *masks: f(x, *(masks or (key,)), value), (x, *masks)),
            ]
        )
    )


def basic_keys(shape):
    """Integers, slices that go forward, and an ellipsis."""
    keys = hnp.basic_indices(shape, allow_newaxis=False)
    return keys.filter(lambda key: not any(isinstance(part, slice) and (part.step or 1) < 0 for part in parts_of(key)))


def parts_of(key):
    return key if isinstance(key, tuple) else (key,)


def assigned(x, key, value):
    """``x`` with another value in a place. A raw array is not changed, and gets values of its own dtype alone."""
    xp = nnx.namespace_of(x, value)
    x = (xp.asarray(x) if type(value) is Tracked else x) + 0
    x = x if hasattr(x, "__setitem__") else xp.asarray(x)  # NumPy's numbers are not its arrays
    x[key] = value if type(x) is Tracked or not hasattr(value, "dtype") else xp.astype(value, x.dtype)
    return x


OPERATORS = {"getitem": lambda x, key: x[key], "setitem": assigned}

CASES = {
    "getitem": indices(),
    "setitem": assignments(),
    "sort": moved(sorts),
    "take": takes(),
    "take_along_axis": takes_along(),
    "where": choices(),
}
