"""Every derivative rule, against finite differences, torch's autograd, and NumPy's numbers on each backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import assume, given, seed, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import nnx
from nnx.backend import device_of
from nnx.tape.namespace import Table
from nnx.vjps import STANDARD


class Case(NamedTuple):
    """A call of a function ``f``, which is told its arrays and then what else it needs."""

    arrays: tuple
    call: Callable
    constants: tuple = ()


# --- strategies: a rule's name -> calls of it -------------------------------------------------

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
def clips(draw):
    shape = draw(shapes)
    x = draw(numbers(shape))
    low, high = (draw(st.sampled_from([None, "number", "array"])) for _ in range(2))
    assume(low is not None or high is not None)
    bounds = {"number": (-0.7, 0.8), "array": (draw(numbers(shape, -1, 0)), draw(numbers(shape, 0, 1)))}
    low, high = low and bounds[low][0], high and bounds[high][1]
    constants = tuple(bound for bound in (low, high) if isinstance(bound, np.ndarray))

    def call(f, x, *arrays):
        arrays = iter(arrays)
        return f(x, *(next(arrays) if isinstance(bound, np.ndarray) else bound for bound in (low, high)))

    return Case((x,), call, constants)


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


def sorts(shape):
    options = {"axis": axes_of(shape), "descending": st.booleans(), "stable": st.booleans()}
    return st.fixed_dictionaries({}, optional=options).map(lambda options: ((), options))


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


def accumulations(shape):
    axis = {"axis": axes_of(shape)}
    least, more = ({}, axis) if len(shape) == 1 else (axis, {})
    return st.fixed_dictionaries(least, optional={**more, "include_initial": st.booleans()}).map(lambda o: ((), o))


@st.composite
def differences(draw):
    x = draw(numbers(draw(hnp.array_shapes(max_dims=3, max_side=4))))
    axis = draw(axes_of(x.shape))
    options = draw(st.fixed_dictionaries({}, optional={"n": st.integers(1, 3)})) | {"axis": axis}
    ends = {name: draw(numbers(x.shape)) for name in ("prepend", "append") if draw(st.booleans())}
    return Case(
        (x,), lambda f, x, *arrays: f(x, **options, **dict(zip(ends, arrays, strict=True))), tuple(ends.values())
    )


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
def remainders(draw):
    """Numbers whose quotients are not whole, with dividends and divisors of either sign."""
    a, b = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)).input_shapes
    signs = draw(st.sampled_from([-1.0, 1.0])), draw(st.sampled_from([-1.0, 1.0]))
    a, b = signs[0] * draw(numbers(a, 1.05, 1.95)), signs[1] * draw(numbers(b, 0.99, 1.01))
    return draw(st.sampled_from([Case((a, b), lambda f, a, b: f(a, b)), Case((a,), lambda f, a: f(a, 0.98))]))


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
def choleskys(draw):
    """Of x xᵀ + 1: only symmetric matrices have factors, and a library may read one triangle alone."""
    options = draw(st.fixed_dictionaries({}, optional={"upper": st.booleans()}))

    def call(f, x):
        xp = nnx.namespace_of(x)
        product = x @ xp.matrix_transpose(x)
        return f(product + xp.linalg.matrix_power(product, 0), **options)

    return draw(invertible(call))


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


def matrix_norms():
    orders = st.sampled_from(["fro", 1, -1, math.inf, -math.inf])
    return st.fixed_dictionaries({}, optional={"ord": orders, "keepdims": st.booleans()})


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
def casts(draw):
    dtype = draw(st.sampled_from(["float32", "float64"]))
    x = draw(numbers(draw(shapes)))
    return Case((x,), lambda f, x: f(x, getattr(nnx.namespace_of(x), dtype)))


LINEAR = {
    "matmul": products("(m?,n),(n,p?)->(m?,p?)"),
    "matrix_transpose": moved(lambda shape: st.just(((), {})), hnp.array_shapes(min_dims=2, max_side=3)),
    "tensordot": tensordots(),
    "vecdot": vecdots(),
}
CASES = {
    "abs": unary(),
    "acos": unary(-0.9, 0.9),
    "acosh": unary(1.2, 3.0),
    "add": binary(),
    "asin": unary(-0.9, 0.9),
    "asinh": unary(),
    "astype": casts(),
    "atan": unary(),
    "atan2": binary(0.3, 2.0),
    "atanh": unary(-0.9, 0.9),
    "broadcast_to": moved(broadcasts),
    "clip": clips(),
    "concat": sequences(grows=True),
    "copysign": binary(0.3, 2.0),
    "cos": unary(),
    "cosh": unary(),
    "cumulative_prod": moved(accumulations),
    "cumulative_sum": moved(accumulations),
    "diff": differences(),
    "divide": binary(0.4, 2.0),
    "exp": unary(),
    "expand_dims": moved(lambda shape: st.integers(-len(shape) - 1, len(shape)).map(lambda a: ((), {"axis": a}))),
    "expm1": unary(),
    "flip": moved(flips),
    "getitem": indices(),
    "hypot": binary(0.3, 2.0),
    "log": unary(0.3, 3.0),
    "log10": unary(0.3, 3.0),
    "log1p": unary(-0.6, 3.0),
    "log2": unary(0.3, 3.0),
    "logaddexp": binary(),
    "max": reductions(),
    "maximum": binary(),
    "mean": reductions(),
    "min": reductions(),
    "minimum": binary(),
    "moveaxis": moved(moves),
    "multiply": binary(),
    "negative": unary(),
    "permute_dims": moved(permutations),
    "positive": unary(),
    "pow": binary(0.4, 2.0),
    "prod": reductions(),
    "reciprocal": unary(0.4, 2.0),
    "remainder": remainders(),
    "repeat": repeats(),
    "reshape": moved(reshapes),
    "roll": moved(rolls),
    "sin": unary(),
    "sinh": unary(),
    "sort": moved(sorts),
    "sqrt": unary(0.3, 3.0),
    "square": unary(),
    "squeeze": moved(squeezes, hnp.array_shapes(max_side=3, max_dims=3).filter(lambda shape: 1 in shape)),
    "stack": sequences(grows=False),
    "std": reductions(least=2, correction=st.sampled_from([0.0, 1.0])),
    "subtract": binary(),
    "sum": reductions(),
    "take": takes(),
    "take_along_axis": takes_along(),
    "tan": unary(-1.0, 1.0),
    "tanh": unary(),
    "tile": moved(tiles),
    "tril": moved(triangles, hnp.array_shapes(min_dims=2, max_side=3)),
    "triu": moved(triangles, hnp.array_shapes(min_dims=2, max_side=3)),
    "var": reductions(least=2, correction=st.sampled_from([0.0, 1.0])),
    "where": choices(),
    **LINEAR,
    **{f"linalg.{name}": strategy for name, strategy in LINEAR.items()},
    "linalg.cholesky": choleskys(),
    "linalg.cross": crosses(),
    "linalg.det": invertible(),
    "linalg.diagonal": matrices(diagonals),
    "linalg.inv": invertible(),
    "linalg.matrix_norm": matrices(matrix_norms),
    "linalg.matrix_power": powers_of_matrices(),
    "linalg.outer": outers(),
    "linalg.solve": solves(),
    "linalg.trace": matrices(diagonals),
    "linalg.vector_norm": reductions(ord=st.sampled_from([2, 1, math.inf, -math.inf, 0.5, 3, 4.5, -2])),
}

# --- checks -----------------------------------------------------------------------------------

every_rule = pytest.mark.parametrize("name", CASES)


def names(table: Table, prefix=""):
    extensions = (names(below, f"{prefix}{name}.") for name, below in table.extensions.items())
    return {prefix + name for name in table.rules}.union(*extensions)


def test_every_rule_has_a_case():
    assert set(CASES) == names(STANDARD)


def function(name, case):
    """``case`` as a function of its arrays, for ``name`` of whatever namespace they have."""

    def call(*arrays):
        xp = nnx.namespace_of(*arrays)
        for part in name.split("."):
            xp = (lambda x, key: x[key]) if part == "getitem" else getattr(xp, part)
        return case.call(xp, *arrays)

    return call


def on(flag, arrays, dtypes=()):
    dtypes = dtypes or ("float64",) * len(arrays)
    return [
        nnx.asarray(a.astype(d) if a.dtype.kind == "f" else a, device=flag) for a, d in zip(arrays, dtypes, strict=True)
    ]


def projected(f, constants, u):
    """Σ u f(x): a scalar, whose gradient every element of the result has a part in."""

    def scalar(*arrays):
        y = f(*arrays, *constants)
        xp = nnx.namespace_of(y)
        return xp.sum(xp.astype(y, xp.float64) * u)

    return scalar


def central_difference(f, arrays, directions, step=1e-5):
    ahead, behind = ([a + s * v for a, v in zip(arrays, directions, strict=True)] for s in (step, -step))
    return (f(*ahead) - f(*behind)) / (2 * step)


def along(gradients, directions):
    return sum(np.sum(g * v) for g, v in zip(gradients, directions, strict=True))


@every_rule
@settings(max_examples=15)
@given(data=st.data())
def test_finite_differences_of_first_and_second_order(name, data):
    case = data.draw(CASES[name])
    f, arrays, constants = function(name, case), on("cpu", case.arrays), case.constants
    y = f(*arrays, *constants)
    assume(y.dtype == np.float64)
    rng = np.random.default_rng(0)
    u, *directions = (rng.normal(size=a.shape) for a in (y, *arrays))
    loss = projected(f, constants, u)
    gradient = nnx.grad(loss, argnums=range(len(arrays)))
    assert_allclose(
        along(gradient(*arrays), directions), central_difference(loss, arrays, directions), rtol=1e-6, atol=1e-7
    )

    weights = [rng.normal(size=a.shape) for a in arrays]

    def slope(*arrays):
        parts = [nnx.namespace_of(g).sum(g * w) for g, w in zip(gradient(*arrays), weights, strict=True)]
        return sum(parts[1:], parts[0])

    second = nnx.grad(slope, argnums=range(len(arrays)))(*arrays)
    assert_allclose(along(second, directions), central_difference(slope, arrays, directions), rtol=1e-5, atol=1e-6)


@every_rule
@settings(max_examples=15)
@given(data=st.data())
def test_autograd_of_torch_agrees_in_every_mix_of_dtypes(name, data):
    torch = pytest.importorskip("torch")
    case = data.draw(CASES[name])
    dtypes = [data.draw(st.sampled_from(["float32", "float64"])) for _ in case.arrays]
    f = function(name, case)
    others = st.just(dtypes[0]) if name == "clip" else st.sampled_from(["float32", "float64"])
    constants = on("torch", case.constants, [data.draw(others) for _ in case.constants])
    inputs = [x.requires_grad_() for x in on("torch", case.arrays, dtypes)]
    theirs = f(*inputs, *constants)
    u = torch.randn(theirs.shape, dtype=theirs.dtype, generator=torch.Generator().manual_seed(0))
    expected = torch.autograd.grad(theirs, inputs, u)

    arrays = on("cpu", case.arrays, dtypes)
    values = [c.numpy() for c in constants]
    y, pull = nnx.vjp(lambda *arrays: f(*arrays, *values), *arrays)
    assert y.shape == tuple(theirs.shape)
    assert str(y.dtype) == str(theirs.dtype).removeprefix("torch.")
    rtol = 2e-4 if "float32" in {*dtypes, *(str(a.dtype) for a in (y, *values))} else 1e-11
    for g, x, e in zip(pull(u.numpy()), arrays, expected, strict=True):
        assert g.dtype == x.dtype
        assert g.shape == x.shape
        assert_allclose(g, e.numpy(), rtol=rtol, atol=rtol)


@every_rule
@seed(0)
@settings(max_examples=3, database=None)
@given(data=st.data())
def test_every_backend_has_the_numbers_of_numpy(each_flag, name, data):
    case = data.draw(CASES[name])
    f = function(name, case)

    def run(flag):
        arrays, constants = on(flag, case.arrays), on(flag, case.constants, [c.dtype for c in case.constants])
        y, pull = nnx.vjp(lambda *arrays: f(*arrays, *constants), *arrays)
        return arrays, y, pull(nnx.namespace_of(y).ones_like(y))

    _, expected, gradients = run("cpu")
    arrays, y, found = run(each_flag)
    assert_allclose(nnx.to_numpy(y), expected, rtol=1e-6 if y.dtype != arrays[0].dtype else 1e-12, atol=1e-12)
    for g, x, e in zip(found, arrays, gradients, strict=True):
        assert (g.dtype, g.shape, device_of(g)) == (x.dtype, x.shape, device_of(x))
        assert_allclose(nnx.to_numpy(g), e, rtol=1e-12, atol=1e-12)
