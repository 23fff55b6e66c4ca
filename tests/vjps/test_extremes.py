"""Arrays of no axes, of no elements, of integers and of booleans: functions do with them what the library does."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import nnx
from nnx.tape.node import CONSTANT
from nnx.tape.tracked import Tracked
from nnx.vjps import STANDARD
from standard_calls import FUNCTIONS, VALUES, call, parameters

GROUP_OF = {name: group for group, names in STANDARD.names().items() for name in names}
DATA = ("x", "x1", "x2", "arrays", "obj", "condition", "indices")
TAKEN = [
    name
    for name in FUNCTIONS
    if GROUP_OF.get(name) in ("differentiable", "constant") and any(p.name in DATA for p in parameters(name))
]


def arrays_of(results):
    """The arrays among the results, which may be in named tuples."""
    yield from results if isinstance(results, (tuple, list)) else (results,)


def attempt(f):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(arrays_of(f())), None
    except Exception as error:
        return None, error


def cast(value, dtype):
    if isinstance(value, list):
        return [cast(item, dtype) for item in value]
    return np.asarray(value).astype(dtype) if np.asarray(value).dtype.kind == "f" else value


def of_shape(value, shape):
    if isinstance(value, list):
        return [of_shape(item, shape) for item in value]
    value = np.asarray(value)
    return np.full(shape, value.flat[0] if value.dtype.kind != "b" else True, dtype=value.dtype)


def on(flag, value):
    if isinstance(value, list):
        return [on(flag, item) for item in value]
    return nnx.asarray(value, device=flag)


def compare(found, expected):
    assert len(found) == len(expected)
    for y, e in zip(found, expected, strict=True):
        assert (y.shape, y.dtype) == (e.shape, e.dtype)
        np.testing.assert_allclose(nnx.to_numpy(y), nnx.to_numpy(e), rtol=1e-6, atol=1e-12)


def inside_grad(flag, f):
    found = []

    def loss(x):
        found.append(f(x))
        return x * 1.0

    nnx.grad(loss)(nnx.asarray(np.asarray(1.0, dtype="float32"), device=flag))
    return found[0]


@pytest.mark.parametrize("name", TAKEN)
def test_integers_and_booleans_pass_through(name, flag):
    """The results of constants are constants, with the library's own numbers and dtypes, or its own error."""

    def change(make, dtype):
        return lambda p, value: make(on(flag, cast(value, dtype))) if p in DATA else value

    for dtype in ("int64", "bool"):
        raw = nnx.namespace_of(nnx.asarray(1, device=flag))
        expected, error = attempt(lambda: call(raw, name, change(lambda a: a, dtype)))  # noqa: B023

        def tracked(x):
            xp = nnx.namespace_of(x)

            def make(a):
                return [xp.asarray(item) for item in a] if isinstance(a, list) else xp.asarray(a)

            return attempt(lambda: call(xp, name, change(make, dtype)))  # noqa: B023

        found, refusal = inside_grad(flag, tracked)
        assert (refusal is None) == (error is None), (dtype, refusal, error)
        if error is None:
            assert all(type(y) is Tracked and y.node is CONSTANT for y in found)
            compare([y.value for y in found], expected)


SHAPES = [(), (0,), (0, 3), (3, 0), (2, 0, 3)]
AXES = {  # the fewest and the most that the standard has
    **dict.fromkeys(["cumulative_prod", "cumulative_sum", "diff", "fft.fftn", "fft.ifftn", "sort"], (1, 9)),
    **dict.fromkeys(["tril", "triu"], (2, 9)),
    **dict.fromkeys(["linalg.outer", "meshgrid", "take"], (1, 1)),
}
SQUARE = {"cholesky", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matrix_power", "slogdet", "solve"}
COMPLEX = {"imag", *(name for name in TAKEN if name.startswith("fft.") and name[4:6] not in ("rf", "ih"))}
BESIDES = {  # an argument that may be left out, and what it is
    "linalg.svd": ("full_matrices", False),
    **{f"fft.{name}": ("axes", (-1,)) for name in ("fftn", "ifftn", "rfftn", "irfftn")},
}


def shapes_of(name):
    """Shapes of no axes and of no elements that the function has a result of."""
    if name.removeprefix("linalg.") in SQUARE:
        return [(0, 2, 2), (2, 0, 2, 2)]
    if name.startswith("fft."):
        return [(0, 3), (2, 0, 3)]
    least, most = AXES.get(name, (0, 9))
    return [shape for shape in SHAPES if least <= len(shape) <= most]


@pytest.mark.parametrize("name", [name for name in TAKEN if GROUP_OF[name] == "differentiable"])
def test_arrays_of_no_axes_and_of_no_elements(name, flag):
    """The results are those of the library, and each gradient has the shape and dtype of what it is by."""
    data = [p.name for p in parameters(name) if p.name in DATA and p.name not in ("condition", "indices")]
    raw = nnx.namespace_of(nnx.asarray(1, device=flag))
    taken = 0
    for shape in shapes_of(name)[:: 2 if "jax" in flag else 1]:  # which compiles each operation for each shape
        arrays = {p: on(flag, of_shape(VALUES.get(f"{name}.{p}", VALUES[p]), shape)) for p in data}
        if name in COMPLEX:
            arrays = {p: raw.astype(a, raw.complex128) for p, a in arrays.items()}
        besides, put = BESIDES.get(name, (None, None))
        others = {
            besides: put,
            "condition": on(flag, np.ones(shape, dtype=bool)),
            "indices": on(flag, np.zeros(shape, dtype="int64")),
            "dtype": raw.float64,
            "shape": (*shape, 3, 2)[-2:] if name == "broadcast_to" and not shape else shape,
        }

        def run(arrays, others=others, besides=besides):
            floats = [a for of_one in arrays.values() for a in (of_one if isinstance(of_one, list) else [of_one])]
            given, xp = others | arrays, nnx.namespace_of(*floats)
            return list(arrays_of(call(xp, name, given.get, besides)))

        expected, error = attempt(lambda: run(arrays))  # noqa: B023
        if error is not None:
            continue
        taken += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, pull = nnx.vjp(run, arrays)
            compare(found, expected)
            if not any(nnx.backend.is_float(raw, y.dtype) for y in found):
                continue
            (gradients,) = pull([nnx.namespace_of(y).ones_like(y) for y in found])
        for p, a in arrays.items():
            pairs = zip(gradients[p], a, strict=True) if isinstance(a, list) else [(gradients[p], a)]
            for g, x in pairs:
                assert (g.shape, g.dtype) == (x.shape, x.dtype)
                assert nnx.backend.device_of(g) == nnx.backend.device_of(x)
    assert taken or flag != "cpu"  # NumPy takes some for each; torch has no transforms of no elements
