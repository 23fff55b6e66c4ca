"""``x[key] = value``: its derivatives, for every kind of key, its dtypes and its errors."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from assigning import X, during_grad, total, weighted
from nnx.tape.node import CONSTANT
from nnx.tape.tracked import Tracked


def assigned(x, key, value):
    """The library's own assignment, to a copy."""
    if hasattr(x, "at"):  # JAX's
        return x.at[key].set(value)
    y = nnx.namespace_of(x).asarray(x, copy=True)
    y[key] = value
    return y


def gradients(x, key, value, weights):
    """Those of Σ w y, y being x with value in the place of x[key]."""

    def loss(x, value):
        x[key] = value
        return nnx.namespace_of(x).sum(x * weights)

    return nnx.grad(loss, (0, 1))(x, value)


def transposed(linear, like, weights):
    """The gradient of Σ w f(v), f being linear, from the columns of f's matrix."""
    found = np.zeros(like.shape)
    for i in np.ndindex(like.shape):
        unit = np.zeros(like.shape)
        unit[i] = 1
        found[i] = np.sum(nnx.to_numpy(linear(unit)) * weights)
    return found


# --- the derivative -----------------------------------------------------------------------------

ROWS, LINE = np.asarray([[0, 2, 0], [-1, 0, 0]]), np.asarray([1, -3, 1])
MASK = np.asarray([True, False, True, True])
KEYS = {
    "a number": ((1, ...), ()),
    "a number from the end": ((-1, ...), (3,)),
    "a number, and no more": (1, (3,)),
    "a slice": ((slice(1, 3), ...), (3,)),
    "a slice, and no more": (slice(1, 3), (2, 1)),
    "steps": ((slice(None, None, 2), slice(0, 3, 2)), (2, 1)),
    "steps back": (slice(None, None, -1), (4, 3)),
    "steps back, of some": ((slice(3, 0, -2), 1), (2,)),
    "all": (..., (4, 3)),
    "all, one value": (..., ()),
    "the last axis": ((..., 2), (4,)),
    "an element": ((2, 1), ()),
    "a new axis": ((None, 1, ...), (1, 3)),
    "a new axis, and no more": ((None, 1), (3,)),
    "a new axis, one value": ((None, 1), ()),
    "new axes around": ((slice(1, 3), None, slice(0, 2), None), (1, 2, 1)),
    "axes of length 1 in front": (1, (1, 1, 3)),
    "a mask": (X > 5, (7,)),
    "a mask, one value": (X > 5, ()),
    "a mask, one value of an axis": (X > 5, (1,)),
    "a mask of rows": (MASK, (3, 3)),
    "a mask of rows, one row": (MASK, (3,)),
    "a mask of rows, one row of an axis": (MASK, (1, 3)),
    "a mask of rows, a column": (MASK, (3, 1)),
    "a mask in a tuple": ((MASK, slice(0, 2)), (3, 1)),
    "a mask of rows and a number": ((MASK, 1), (3,)),
    "a mask of none": (X > 99, (0,)),
    "a mask of none, one value": (X > 99, ()),
    "a mask of all": (np.asarray(True), (4, 3)),
    "nothing": ((slice(2, 2), ...), (0, 3)),
    "nothing, one value": (slice(2, 2), ()),
    "a number in an array": ((np.asarray(2), ...), (3,)),
    "a number in an array, and no more": (np.asarray(2), (3,)),
    "numbers in arrays": ((np.asarray(2), np.asarray(-1)), ()),
    "a list": ([0, 0, 2], (3, 3)),
    "one array": (ROWS, (2, 3, 3)),
    "one array, one row": (ROWS, (3,)),
    "one array, one value": (ROWS, ()),
    "an array and all after it": ((LINE, ...), (3, 3)),
    "all, then an array": ((..., LINE), (4, 3)),
    "an array, then a slice": ((LINE, slice(None, None, -1)), (3, 1)),
    "arrays that broadcast": ((ROWS, LINE), (2, 1)),
    "an array, a new axis, a number": ((LINE, None, 1), (3, 1)),
    "no numbers": (np.asarray([], dtype=int), (0, 3)),
}


@pytest.mark.parametrize(("key", "shape"), KEYS.values(), ids=KEYS)
def test_the_gradients_are_those_of_the_assignment(key, shape):
    rng = np.random.default_rng(0)
    value, weights = rng.normal(size=shape), rng.normal(size=X.shape)
    x = X.copy()
    by_x, by_value = gradients(x, key, value, weights)
    assert_array_equal(x, X)
    assert_array_equal(by_x, assigned(weights, key, 0.0))
    assert_allclose(by_value, transposed(lambda v: assigned(np.zeros_like(X), key, v), value, weights), rtol=1e-14)

    def squared(x, value):  # for the second order
        x[key] = value * value
        return total(x * x * weights)

    def slope(x, value):
        a, b = nnx.grad(squared, (0, 1))(x, value)
        return weighted(a) + weighted(b)

    found = nnx.grad(slope, (0, 1))(x, value)
    assert_allclose(found[0], assigned(2 * weights * nnx.grad(weighted)(X), key, 0.0), rtol=1e-12)
    curvature = 12 * value**2 * transposed(lambda v: assigned(np.zeros_like(X), key, v), value, weights)
    assert_allclose(found[1], curvature * nnx.grad(weighted)(value), rtol=1e-12)


OF_THE_STANDARD = [
    *("a number", "a number from the end", "a slice", "steps", "all", "all, one value", "the last axis", "an element"),
    *("a new axis", "a mask", "a mask, one value", "a mask of rows", "a mask of rows, one row", "a mask of none"),
    *("nothing", "numbers in arrays"),
]


@pytest.mark.parametrize("name", OF_THE_STANDARD)
def test_the_keys_of_the_standard_on_every_library(name, make):
    def on_device(part):
        return make(part, part.dtype) if isinstance(part, np.ndarray) else part

    key, shape = KEYS[name]
    value, weights = (np.random.default_rng(0).normal(size=s) for s in (shape, X.shape))
    expected = gradients(X, key, value, weights)
    x = make(X, "float64")
    there = tuple(map(on_device, key)) if isinstance(key, tuple) else on_device(key)
    found = gradients(x, there, make(value, "float64"), make(weights, "float64"))
    for g, e in zip(found, expected, strict=True):
        assert_allclose(nnx.to_numpy(g), e, rtol=1e-14)
    assert_array_equal(nnx.to_numpy(x), X)


@pytest.mark.parametrize("name", ["one array", "one array, one row", "arrays that broadcast"])
@pytest.mark.parametrize("flag", ["torch", "jax"])
def test_which_of_several_values_is_written_is_left_to_the_library(name, flag):
    pytest.importorskip(flag)
    key, shape = KEYS[name]
    there = (
        nnx.asarray(key, device=flag)
        if name != "arrays that broadcast"
        else tuple(nnx.asarray(part, device=flag) for part in key)
    )
    rng = np.random.default_rng(0)
    value, weights = rng.normal(size=shape), rng.normal(size=X.shape)
    _, found = gradients(
        *(nnx.asarray(X, device=flag), there), *(nnx.asarray(a, device=flag) for a in (value, weights))
    )
    zeros = nnx.asarray(np.zeros_like(X), device=flag)
    expected = transposed(lambda v: assigned(zeros, there, nnx.asarray(v, device=flag)), value, weights)
    assert_allclose(nnx.to_numpy(found), expected, rtol=1e-14)


@pytest.mark.parametrize("key", [(), ..., np.asarray(True)], ids=str)
@pytest.mark.parametrize("shape", [(), (1,)])
def test_arrays_of_no_axes(key, shape, make):
    key = make(key, "bool") if isinstance(key, np.ndarray) else key
    by_x, by_value = gradients(make(3.0), key, make(np.full(shape, 2.0)), make(5.0))
    assert (by_x.shape, by_value.shape) == ((), shape)
    assert_array_equal(nnx.to_numpy(by_x), 0)
    assert_array_equal(nnx.to_numpy(by_value), np.full(shape, 5))


def test_empty_arrays(make):
    by_x, by_value = gradients(make(np.zeros((0, 3))), (slice(None), 1), make(np.zeros(0)), make(np.zeros((0, 3))))
    assert (by_x.shape, by_value.shape) == ((0, 3), (0,))


def test_a_part_of_the_array_itself(make):
    def shifted(x):
        x[1:] = x[:-1]  # the right side is what x was before
        return weighted(x)

    weights = nnx.to_numpy(nnx.grad(weighted)(make([1.0, 2.0, 3.0])))
    expected = [weights[0] + weights[1], weights[2], 0.0]
    assert_allclose(nnx.to_numpy(nnx.grad(shifted)(make([1.0, 2.0, 3.0]))), expected, rtol=1e-6)


def test_a_recurrence_that_is_written_into_an_array(make):
    def product(x):
        xp = nnx.namespace_of(x)
        powers = xp.ones((5,), dtype=x.dtype, device=x.device)
        for i in range(1, 5):
            powers[i] = powers[i - 1] * x
        return total(powers)

    value, gradient = nnx.value_and_grad(product)(make(2.0))
    assert (float(value), float(gradient)) == (31.0, 1 + 4 + 12 + 32)
    assert float(nnx.grad(nnx.grad(product))(make(2.0))) == 2 + 12 + 48
    assert float(nnx.jvp(product, (make(2.0),), (make(1.0),))[1]) == 49


def test_under_a_compiler():
    jax = pytest.importorskip("jax")

    def loss(x, v, i):
        x[0, :] = v
        x[i, 1] = v[0] * v[1]
        x[x > 5.0] = v[2] ** 2
        x[i, None, 1:] += 1.0
        x[..., x[0, :] > 1.5] *= 2.0
        return weighted(x)

    def weighted(x):
        return nnx.namespace_of(x).sum(x * x)

    def without_the_mask_of_an_axis(x, v, i):
        x[0, :] = v
        x[i, 1] = v[0] * v[1]
        x[x > 5.0] = v[2] ** 2
        x[v[0] > x[:, 0]] = v
        x[i, None, 1:] += 1.0
        return weighted(x)

    gradient = nnx.grad(without_the_mask_of_an_axis, (0, 1))
    x, v, i = jax.numpy.asarray(X), jax.numpy.asarray([0.5, 1.5, 2.5]), jax.numpy.asarray(2)
    for found, eager, numpy in zip(
        jax.jit(gradient)(x, v, i), gradient(x, v, i), gradient(*map(np.asarray, (x, v, i))), strict=True
    ):
        assert_allclose(found, eager, rtol=1e-12)
        assert_allclose(found, numpy, rtol=1e-12)


# --- dtypes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("into", "of"), [("float32", "float64"), ("float64", "float32")])
@pytest.mark.parametrize(("key", "shape"), [(..., (4, 3)), ((0, 0), ()), ("mask", (7,))], ids=["all", "one", "mask"])
def test_the_dtype_is_that_of_the_array(into, of, key, shape, make):
    key = make(X > 5, "bool") if key == "mask" else key
    value = np.full(shape, 0.5)

    def loss(x, value):
        x[key] = value
        assert x.dtype == before
        return nnx.namespace_of(x).sum(x * x)

    x, v = make(X, into), make(value, of)
    before = x.dtype
    by_x, by_value = nnx.grad(loss, (0, 1))(x, v)
    assert (by_x.dtype, by_value.dtype) == (x.dtype, v.dtype)
    assert_allclose(nnx.to_numpy(by_value), np.ones(np.shape(value)))


def test_integers_and_booleans(make):
    def check(x):
        xp = nnx.namespace_of(x)
        i = xp.zeros((3,), dtype=xp.int32, device=x.device)
        i[1] = 5
        i[2] = xp.asarray(7, dtype=xp.int8, device=x.device)
        i[:1] = make([9], "int32")
        b = xp.asarray([True, False], device=x.device)
        b[1] = True
        b[0] = x[0, 0] > 1
        for array in (i, b):
            assert array.node is CONSTANT
            assert type(array.value) is not Tracked
        x[0, 0] = 3
        x[0, 1:] = make([4, 5], "int64")
        x[1, 0] = i[1]
        return i, b, x[:2, :]

    i, b, x = during_grad(check, make(X))
    assert_array_equal(nnx.to_numpy(i.value), [9, 5, 7])
    assert (i.dtype, str(i.dtype).rsplit(".")[-1]) == (make([1], "int32").dtype, "int32")
    assert_array_equal(nnx.to_numpy(b.value), [False, True])
    assert_array_equal(nnx.to_numpy(x.value), [[3, 4, 5], [5, 5, 6]])


KINDS = ["bool", "uint8", "int32", "float32", "complex64"]


@pytest.mark.parametrize("into", KINDS)
@pytest.mark.parametrize("of", KINDS)
def test_an_array_takes_no_values_of_a_greater_kind(into, of, make):
    def assign(x):
        xp = nnx.namespace_of(x)
        y = xp.zeros((2,), dtype=getattr(xp, into), device=x.device)
        y[:] = make([1, 0], of)
        assert y.dtype == getattr(xp, into)
        return y

    if KINDS.index(of) > KINDS.index(into):
        with pytest.raises(nnx.DTypeError, match=rf"keeps the dtype .*{into} of x, .* dtype .*{of}: cast"):
            during_grad(assign, make(X))
    else:
        assert_array_equal(nnx.to_numpy(during_grad(assign, make(X)).value), [1, 0])


@pytest.mark.parametrize(("into", "number"), [("bool", 1), ("int32", 1.0), ("int32", 1j), ("float32", 1j)])
def test_an_array_takes_no_number_of_a_greater_kind(into, number, make):
    def assign(x):
        xp = nnx.namespace_of(x)
        xp.zeros((2,), dtype=getattr(xp, into), device=x.device)[0] = number

    with pytest.raises(nnx.DTypeError, match=rf"cannot hold the {type(number).__name__} "):
        during_grad(assign, make(X))


def test_a_tracked_complex_number_in_a_real_array():
    with pytest.raises(nnx.DTypeError, match="complex"):
        nnx.vjp(lambda x, z: operator.setitem(x, (0, 0), z), X, np.asarray(1 + 2j))


def test_a_real_value_in_a_complex_array(make):
    def loss(z, x):
        z[:] = x
        return nnx.namespace_of(z).sum(nnx.namespace_of(z).real(z * z))

    by_z, by_x = nnx.grad(loss, (0, 1))(make([1j, 2j], "complex128"), make([3.0, 4.0]))
    assert_array_equal(nnx.to_numpy(by_z), [0, 0])
    assert by_x.dtype == make(1.0).dtype
    assert_array_equal(nnx.to_numpy(by_x), [6, 8])


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [(slice(0, 2), 1), X > 5, (None, 0, ...)], ids=["slice", "mask", "new axis"])
def test_a_value_that_does_not_fit(key, make):
    key = make(key, "bool") if isinstance(key, np.ndarray) else key
    with pytest.raises(nnx.ShapeError, match=r"shape \(5,\) cannot be assigned to x\[key\] of shape"):
        during_grad(lambda x: operator.setitem(x, key, make(np.ones(5))), make(X))


def test_a_mask_that_does_not_fit(make):
    with pytest.raises(Exception, match=r"(?i)index|mask|shape|bool"):
        during_grad(lambda x: operator.setitem(x, make([True], "bool"), 1.0), make(X))
    if not hasattr(make(X), "at"):  # JAX takes an index that is too great for the last one
        with pytest.raises(IndexError):
            during_grad(lambda x: operator.setitem(x, 7, 1.0), make(X))


@pytest.mark.parametrize("value", [[1.0, 2.0, 3.0], None, "1"], ids=str)
def test_a_value_that_is_none(value):
    with pytest.raises(nnx.DTypeError, match=r"expected an array or a number, got .*: make one with nnx\.asarray"):
        during_grad(lambda x: operator.setitem(x, 0, value))


def test_a_value_of_another_library():
    torch = pytest.importorskip("torch")
    with pytest.raises(nnx.MixedLibrariesError):
        during_grad(lambda x: operator.setitem(x, 0, torch.ones(3, dtype=torch.float64)))


@pytest.mark.parametrize("key", [0, slice(None)], ids=str)
def test_a_raw_array_takes_no_tracked_value(key, make):
    raw = nnx.asarray(np.zeros(3), device=nnx.backend.device_of(make(X)))
    with pytest.raises((TypeError, ValueError)) as caught:  # JAX's are never assigned to; torch has words of its own
        during_grad(lambda x: operator.setitem(raw, key, x[0, 0]), make(X))
    error = caught.value
    if type(raw) is np.ndarray:
        assert "make that with the functions of xp = nnx.namespace_of(x)" in str(error.__cause__ or error) or (
            "make the array with them" in str(error)
        )
    assert_array_equal(nnx.to_numpy(raw), 0)
