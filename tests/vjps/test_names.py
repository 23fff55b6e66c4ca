"""Every name of the standard: it is in one group, and behaves as the group says."""

from __future__ import annotations

import array_api_compat.numpy as compat
import numpy as np
import pytest

import nnx
from nnx.tape.namespace import Table
from nnx.tape.node import CONSTANT
from nnx.tape.tracked import Tracked
from nnx.vjps import STANDARD, differentiable

array_api_strict = pytest.importorskip("array_api_strict")

GROUPS = ("rules", "constant", "creation", "plain", "gaps", "extensions")
NOT_OF_THE_STANDARD = {"ArrayAPIStrictFlags", "Device", "__version__"}  # what array-api-strict has beside it
WRITTEN_OUT = {"asarray"}
METHODS = {"getitem", "to_device"}


def is_standard(name):
    return name not in NOT_OF_THE_STANDARD | WRITTEN_OUT | {"linalg", "fft"} and not name.endswith("_strict_flags")


def groups(table: Table, name: str):
    return [group for group in GROUPS if name in getattr(table, group)]


MAIN = sorted(filter(is_standard, array_api_strict.__all__))
EXTENSIONS = {
    "linalg": sorted(array_api_strict.linalg.__all__),
    "fft": sorted(array_api_strict.fft.__all__),
}


def test_the_walk_is_of_the_version_that_the_rules_are_for():
    assert array_api_strict.get_array_api_strict_flags()["api_version"] == "2025.12"


@pytest.mark.parametrize("name", MAIN)
def test_every_name_is_in_one_group(name):
    assert len(groups(STANDARD, name)) == 1


@pytest.mark.parametrize(("extension", "name"), [(e, name) for e, names in EXTENSIONS.items() for name in names])
def test_every_name_of_the_extensions_is_in_one_group(extension, name):
    assert len(groups(STANDARD.extensions[extension], name)) == 1


def test_no_group_has_names_of_its_own():
    known = {name for group in GROUPS for name in getattr(STANDARD, group)}
    assert known - METHODS - {"linalg", "fft"} == set(MAIN)
    for extension, names in EXTENSIONS.items():
        table = STANDARD.extensions[extension]
        assert {name for group in GROUPS for name in getattr(table, group)} == set(names)


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


# --- gaps -------------------------------------------------------------------------------------


ALL_GAPS = [(None, name) for name in sorted(STANDARD.gaps)] + [
    (extension, name) for extension, table in STANDARD.extensions.items() for name in sorted(table.gaps)
]


@pytest.mark.parametrize(("extension", "name"), ALL_GAPS)
def test_a_gap_raises_on_tracked_arrays(extension, name):
    def call(xp, x):
        function = getattr(getattr(xp, extension) if extension else xp, name)
        for bad in ((x,), ([x, x],), (np.ones((2, 2)), x)):
            with pytest.raises(nnx.MissingRuleError, match=rf"no derivative of {name}\(\).*stop_gradient"):
                function(*bad)
        with pytest.raises(nnx.MissingRuleError):
            function(np.ones((2, 2)), option={"nested": x})

    inside_grad(call)


def test_a_gap_takes_constants_and_raw_arrays():
    def call(xp, x):
        of_constant = xp.nextafter(nnx.stop_gradient(x), 3.0)
        assert type(of_constant) is Tracked
        assert of_constant.node is CONSTANT
        assert type(xp.nextafter(np.asarray([2.0, 1.0]), 3.0)) is np.ndarray
        return xp.linalg.pinv(nnx.stop_gradient(x)) @ x

    np.testing.assert_allclose(inside_grad(call).value, np.eye(2), atol=1e-12)


def test_gaps_of_the_outer_differentiation_raise_too():
    def outer(x):
        return nnx.grad(lambda y: y * nnx.namespace_of(x).nextafter(x, 2.0))(1.0)

    with pytest.raises(nnx.MissingRuleError, match="nextafter"):
        nnx.grad(outer)(3.0)


# --- constants --------------------------------------------------------------------------------

BITS = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift", "bitwise_invert"}
BOOLEAN = {"logical_and", "logical_or", "logical_xor", "logical_not", "all", "any"}
TWO = {
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "floor_divide", "isin"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"),
    *("logical_and", "logical_or", "logical_xor", "searchsorted"),
}


@pytest.mark.parametrize("name", sorted(STANDARD.constant))
def test_the_results_of_constants_carry_no_gradient(name):
    def call(xp, x):
        x = xp.reshape(x, (-1,))
        if name in BITS:
            x = xp.astype(x, xp.int64)
        if name in BOOLEAN:
            x = x > 1
        return getattr(xp, name)(*([x, x] if name in TWO else [x]))

    found = inside_grad(call)
    for part in found if isinstance(found, tuple) else (found,):
        assert type(part) is Tracked
        assert part.node is CONSTANT
        assert type(part.value) is not Tracked


def test_named_arguments_of_constants():
    def call(xp, x):
        x = xp.reshape(x, (-1,))
        return xp.searchsorted(x, x, sorter=xp.argsort(x))

    assert inside_grad(call).shape == (4,)


def test_named_results_keep_their_names():
    unique = inside_grad(lambda xp, x: xp.unique_counts(x))
    assert unique._fields == ("values", "counts")


# --- creation ---------------------------------------------------------------------------------

CREATION = {
    "arange": lambda f, x: f(x),
    "asarray": lambda f, x: f([x, 1.0]),
    "empty": None,
    "empty_like": None,
    "eye": None,
    "from_dlpack": lambda f, x: f(x),
    "full": lambda f, x: f((2,), x),
    "full_like": lambda f, x: f(np.ones(2), x),
    "linspace": lambda f, x: f(0.0, x, 3),
    "ones": None,
    "ones_like": None,
    "zeros": None,
    "zeros_like": None,
}


def test_every_creation_function_is_here():
    assert set(CREATION) == STANDARD.creation | WRITTEN_OUT


@pytest.mark.parametrize("name", sorted(name for name, call in CREATION.items() if call))
def test_creation_never_drops_a_gradient(name):
    def call(xp, x):
        with pytest.raises(nnx.DifferentiationError, match=rf"{name}\(\) of a tracked array would drop its gradient"):
            CREATION[name](getattr(xp, name), x[0, 0])

    inside_grad(call)


def test_creation_from_named_tracked_arguments_raises():
    def call(xp, x):
        with pytest.raises(nnx.DifferentiationError, match="would drop its gradient"):
            xp.full((2,), fill_value=x[0, 0])
        with pytest.raises(nnx.DifferentiationError, match="would drop its gradient"):
            xp.linspace(0.0, stop=x[0, 0], num=3)

    inside_grad(call)


def test_creation_from_constants():
    def call(xp, x):
        return [xp.full((2,), nnx.stop_gradient(x[0, 0])), xp.ones_like(x), xp.asarray([1.0, 2.0]), xp.arange(3)]

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


# --- the namespace ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["einsum", "dot", "concatenate", "ndarray", "random", "_private"])
def test_what_is_not_of_the_standard_is_missing(name):
    with pytest.raises(AttributeError, match=f"no {name!r}: it is not a function of the Array API standard"):
        getattr(differentiable(compat), name)


def test_the_namespace_lists_what_it_has():
    xp = differentiable(compat)
    names = dir(xp)
    assert set(MAIN) <= set(names)
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
    assert repr(xp.sin) == "<differentiable sin>"
