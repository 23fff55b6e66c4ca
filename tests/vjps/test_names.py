"""Every name of the standard: it is in one group, and no function passes a tracked array on as if it were none."""

from __future__ import annotations

import warnings

import array_api_compat.numpy as compat
import numpy as np
import pytest

import nnx
from nnx.tape.namespace import Table
from nnx.tape.node import CONSTANT
from nnx.tape.tracked import Tracked
from nnx.vjps import STANDARD, differentiable
from standard_calls import (
    EXTENSIONS,
    FUNCTIONS,
    MAIN,
    MATRIX,
    OPERATORS,
    VALUES,
    WHOLE,
    WRITTEN_OUT,
    call,
    look_up,
    parameters,
    strict,
)

GROUPS = ("rules", "compositions", "constant", "creation", "plain", "extensions")

# --- the groups -----------------------------------------------------------------------------------


def test_the_walk_is_of_the_version_that_the_rules_are_for():
    assert strict.get_array_api_strict_flags()["api_version"] == "2025.12"
    assert strict.__array_api_version__ == "2025.12"


def test_every_name_is_differentiable_or_has_no_derivative_by_nature():
    """Each is in exactly one of the sets, and no name is left over: there is no gap."""
    names = STANDARD.names()
    names["differentiable"] = names["differentiable"] - OPERATORS | WRITTEN_OUT
    assert list(names) == ["differentiable", "constant", "creation", "plain"]
    assert sorted(name for group in names.values() for name in group) == sorted(WHOLE)
    print({group: len(found) for group, found in names.items()})  # shown by pytest -s


@pytest.mark.parametrize(("extension", "table"), [("", STANDARD), *STANDARD.extensions.items()])
def test_no_name_is_in_two_groups(extension, table: Table):
    listed = [name for group in GROUPS for name in getattr(table, group)]
    assert len(listed) == len(set(listed))
    expected = EXTENSIONS[extension] if extension else MAIN - WRITTEN_OUT
    assert set(listed) - (set() if extension else OPERATORS) == expected
    assert extension or set(table.operators) >= OPERATORS


# --- a tracked array in the place of each argument ------------------------------------------------

IN_INTEGERS = {name for name in STANDARD.constant if name.startswith("bitwise")}
IN_BOOLEANS = {name for name in STANDARD.constant if name.startswith("logical")} | {"all", "any"}
ZERO_BY_NATURE = {"sign"}  # of real numbers; a composition, since of complex ones it is not


def outcomes(name, replaced, like):
    """What comes of a tracked array in a call: of one that is differentiated by, inside another level and not."""

    def outcome(x):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = call(xp, name, lambda p, value: like(x, value) if p == replaced else value, replaced)
        except Exception as error:
            return error
        results = result if isinstance(result, (tuple, list)) else [result]
        if all(type(y) is Tracked and y.node is not CONSTANT for y in results):
            return "gradient"
        if all(type(y) is Tracked for y in results):
            return "constant" if all(y.node is CONSTANT for y in results) else "some"
        return "raw" if any(map(nnx.backend.is_array, results)) else "no array"

    xp, found = differentiable(compat), []

    def inner(x):
        def also(y):
            found.append(outcome(x))
            return y * 1.0

        nnx.grad(also)(1.0)
        return outcome(x)

    def loss(x):
        found.append(inner(x))
        return xp.sum(x)

    nnx.grad(loss)(MATRIX)
    return found


def an_array(x, value):
    """``value`` as it depends on ``x``."""
    xp = nnx.namespace_of(x)
    total = xp.sum(x) * 0.0
    if isinstance(value, list):
        return [an_array(x, item) for item in value]
    if isinstance(value, (np.ndarray, int, float)):
        return total + np.asarray(value, dtype=np.float64)
    return total + 1.0  # a dtype, a device, a word: nothing that a number could be


def a_list(x, value):
    return [an_array(x, value), an_array(x, value)]


ARGUMENTS = [(name, p.name) for name in FUNCTIONS for p in parameters(name)]
GROUP_OF = {name: group for group, names in STANDARD.names().items() for name in names} | dict.fromkeys(
    WRITTEN_OUT, "differentiable"
)


def test_every_argument_has_a_value():
    assert {p for _, p in ARGUMENTS} <= VALUES.keys() | {
        *("api_version", "boolean_indexing", "data_dependent_shapes", "enabled_extensions")  # array-api-strict's own
    }


DATA = ("x", "x1", "x2", "arrays", "obj", "fill_value", "start", "stop", "prepend", "append", "condition", "indices")


def expected(name, replaced):
    """What comes of a tracked array as that argument, where it is taken."""
    if (name.endswith("_like") and replaced == "x") or name in ZERO_BY_NATURE:
        return "constant"
    return {"differentiable": "gradient", "constant": "constant", "creation": "an error", "plain": "no array"}[
        GROUP_OF[name]
    ]


@pytest.mark.parametrize(("name", "replaced"), ARGUMENTS, ids=lambda part: part.replace(".", "_"))
def test_no_argument_drops_a_gradient(name, replaced):
    for like in [an_array, a_list] if replaced in DATA else [an_array]:
        for found in outcomes(name, replaced, like):
            if isinstance(found, Exception):
                refusals = (TypeError, ValueError, IndexError) + (AttributeError,) * (like is a_list)
                assert isinstance(found, refusals), repr(found)
            else:
                assert found == expected(name, replaced), (like, found)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if GROUP_OF[name] == "differentiable"])
def test_every_argument_that_is_an_array_has_a_gradient(name):
    data = [p.name for p in parameters(name) if p.name in DATA and p.name not in ("condition", "indices")]
    assert data
    for replaced in data:
        for found in outcomes(name, replaced, an_array):
            assert found == expected(name, replaced)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if GROUP_OF[name] == "constant"])
def test_results_that_no_derivative_is_by_are_constants(name):
    def cast(x, value):
        xp = nnx.namespace_of(x)
        tracked = an_array(x, value)
        if name in IN_INTEGERS:
            return xp.astype(tracked, xp.int64)
        return tracked > 0 if name in IN_BOOLEANS else tracked

    def check(xp, x):
        first, *others = [p.name for p in parameters(name) if p.name in DATA]
        args = [cast(x, VALUES.get(f"{name}.{p}", VALUES[p])) for p in (first, *others)]
        results = look_up(xp, name)(*args)
        for y in results if isinstance(results, tuple) else (results,):
            assert type(y) is Tracked
            assert y.node is CONSTANT
            assert type(y.value) is not Tracked
        expected = look_up(compat, name)(*(nnx.stop_gradient(a).value for a in args))
        for y, e in zip(*((r if isinstance(r, tuple) else (r,)) for r in (results, expected)), strict=True):
            np.testing.assert_array_equal(y.value, e)

    inside_grad(check)


def inside_grad(f, x=None):
    """What ``f(xp, x)`` answers while ``x`` is differentiated."""
    x = np.asarray([[0.5, 1.5], [0.25, 2.0]]) if x is None else x
    found = []

    def loss(x):
        xp = nnx.namespace_of(x)
        found.append(f(xp, x))
        return xp.sum(x)

    nnx.grad(loss)(x)
    return found[0]


def test_named_arguments_of_constants():
    def call(xp, x):
        x = xp.reshape(x, (-1,))
        return xp.searchsorted(x, x, sorter=xp.argsort(x))

    assert inside_grad(call).shape == (4,)


def test_named_results_keep_their_names():
    unique = inside_grad(lambda xp, x: xp.unique_counts(x))
    assert unique._fields == ("values", "counts")


# --- creation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("arange", lambda f, x: f(x)),
        ("arange", lambda f, x: f(0.0, stop=x)),
        ("eye", lambda f, x: f(2, k=x)),
        ("from_dlpack", lambda f, x: f(x)),
        ("zeros", lambda f, x: f(x)),
        ("ones", lambda f, x: f((2, x))),
        ("fft.fftfreq", lambda f, x: f(4, d=x)),
        ("fft.rfftfreq", lambda f, x: f(4, d=x)),
    ],
)
def test_creation_never_drops_a_gradient(name, call):
    def check(xp, x):
        last = name.split(".")[-1]
        with pytest.raises(nnx.DifferentiationError, match=rf"{last}\(\) of a tracked array would drop its gradient"):
            call(look_up(xp, name), x[0, 0])

    inside_grad(check)


def test_creation_answers_constants():
    def call(xp, x):
        return [
            *(xp.full((2,), 1.0), xp.full((2,), nnx.stop_gradient(x[0, 0])), xp.ones_like(x), xp.asarray([1.0, 2.0])),
            *(xp.arange(3), xp.fft.fftfreq(4), xp.linspace(0.0, 1.0, 3), xp.eye(2), xp.zeros_like(np.ones(2))),
        ]

    for made in inside_grad(call):
        assert type(made) is Tracked
        assert made.node is CONSTANT
        assert type(made.value) is np.ndarray


def test_asarray_of_a_tracked_array_keeps_its_gradient():
    def loss(x):
        xp = nnx.namespace_of(x)
        return xp.sum(xp.asarray(xp.asarray(x, dtype=xp.float32), copy=True) ** 2)

    gradient = nnx.grad(loss)(np.asarray([1.0, 2.0]))
    assert gradient.dtype == np.float64
    np.testing.assert_array_equal(gradient, [2.0, 4.0])


# --- the namespace --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["einsum", "dot", "concatenate", "ndarray", "random", "_private"])
def test_what_is_not_of_the_standard_is_missing(name):
    with pytest.raises(AttributeError, match=f"no {name!r}: it is not a function of the Array API standard"):
        getattr(differentiable(compat), name)


def test_the_namespace_lists_what_it_has():
    xp = differentiable(compat)
    names = dir(xp)
    assert set(names) >= MAIN - WRITTEN_OUT
    assert all(hasattr(xp, name) for name in names)
    assert xp is differentiable(compat)
    assert repr(xp) == "<namespace nnx.differentiable(array_api_compat.numpy)>"


def test_dtypes_and_numbers_are_those_of_the_library():
    xp = differentiable(compat)
    assert xp.float32 is compat.float32
    assert (xp.pi, xp.newaxis) == (np.pi, None)
    assert inside_grad(lambda xp, x: xp.result_type(x, np.float32)) == np.float64
    assert inside_grad(lambda xp, x: xp.finfo(x).bits) == 64


def test_functions_are_named_in_tracebacks():
    xp = differentiable(compat)
    assert xp.stack.__name__ == "stack"
    assert xp.ones.__name__ == "ones"
    assert xp.sin.__name__ == "sin"
    assert repr(xp.sum) == "<differentiable sum>"


# --- the extensions -------------------------------------------------------------------------------


def test_results_of_an_extension_are_of_the_whole_namespace(make):
    """Not of the extension: ``linalg`` alone knows no sum."""

    def check(x):
        xp = nnx.namespace_of(x)
        c = nnx.stop_gradient(x)
        results = [
            *(xp.linalg.inv(x), xp.linalg.inv(c), xp.linalg.matrix_rank(x), *xp.linalg.qr(c), *xp.linalg.slogdet(c)),
            *(xp.linalg.matrix_norm(x), xp.linalg.matrix_norm(c), xp.fft.fftfreq(4, device=x.device), xp.fft.rfft(x)),
            *(xp.fft.fftshift(c), xp.linalg.trace(x), xp.linalg.outer(c[0, :], x[0, :])),
        ]
        for y in results:
            assert type(y) is Tracked
            assert y.__array_namespace__() is xp is y.xp
            assert (y + y).shape == y.shape
        assert float(nnx.stop_gradient(xp.fft.fftfreq(4, device=x.device) + 1.0)[0]) == 1.0
        return xp.sum(xp.linalg.inv(c) * x)

    gradient = nnx.grad(check)(make(MATRIX))
    np.testing.assert_allclose(nnx.to_numpy(gradient), np.linalg.inv(MATRIX), rtol=1e-5)
