"""The operators that assign: ``x += y`` is ``x = x + y`` in the shape and dtype of x."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import nnx
from assigning import X, during_grad, total, weighted
from nnx.tape.node import CONSTANT

FLOATS = {"+=": "iadd", "-=": "isub", "*=": "imul", "/=": "itruediv", "**=": "ipow", "%=": "imod", "@=": "imatmul"}
BITS = {"&=": "iand", "|=": "ior", "^=": "ixor", "<<=": "ilshift", ">>=": "irshift"}


@pytest.mark.parametrize("name", FLOATS.values(), ids=FLOATS)
def test_an_operator_that_assigns_is_the_operator(name, make):
    in_place, plain = getattr(operator, name), getattr(operator, name[1:])
    square = X[:3]

    def loss(f):
        def scalar(x, y):
            other = x
            before = 1.0 * x
            z = f(x, y)
            assert z is not x
            assert other is x
            return weighted(z) + weighted(other, 1) + weighted(before, 2)

        return nnx.grad(scalar, (0, 1))

    x, y = make(square, "float64"), make(1.5 + np.cos(square), "float64")
    for found, expected in zip(loss(in_place)(x, y), loss(plain)(x, y), strict=True):
        assert_array_equal(nnx.to_numpy(found), nnx.to_numpy(expected))
    assert_array_equal(nnx.to_numpy(x), square)
    if name != "imatmul":
        for right in (2.0, make(3.0, "float64"), make([1.0, 2.0, 3.0], "float64")):
            found, expected = (during_grad(lambda x, f=f, r=right: f(x, r), x) for f in (in_place, plain))
            assert_array_equal(nnx.to_numpy(found.value), nnx.to_numpy(expected.value))


@pytest.mark.parametrize("name", [*BITS.values(), "ifloordiv"], ids=[*BITS, "//="])
def test_operators_on_integers(name, make):
    def check(x):
        xp = nnx.namespace_of(x)
        a = old = xp.asarray([12, 7], dtype=xp.int32, device=x.device)
        a = getattr(operator, name)(a, xp.asarray([2, 1], dtype=xp.int32, device=x.device))
        assert old is not a
        assert (a.dtype, a.node) == (xp.int32, CONSTANT)
        return a, old

    a, old = during_grad(check, make(X))
    host = np.asarray([12, 7], dtype="int32")
    assert_array_equal(nnx.to_numpy(a.value), getattr(operator, name)(host.copy(), np.asarray([2, 1], dtype="int32")))
    assert_array_equal(nnx.to_numpy(old.value), host)


def test_operators_on_booleans(make):
    def check(x):
        a = x > 3.0
        a &= x < 8.0
        a |= x > 11.0
        a ^= x > 0.0
        return a

    assert_array_equal(nnx.to_numpy(during_grad(check, make(X)).value), ~(((X > 3) & (X < 8)) | (X > 11)))


def test_operators_keep_the_dtype(make):
    def loss(x, y):
        x += y
        assert x.dtype == before
        return total(x * x)

    x, y = make(X, "float32"), make(X, "float64")
    before = x.dtype
    by_x, by_y = nnx.grad(loss, (0, 1))(x, y)
    assert (by_x.dtype, by_y.dtype) == (x.dtype, y.dtype)
    assert_array_equal(nnx.to_numpy(by_y), 4 * X)


@pytest.mark.parametrize(
    ("dtype", "name", "other"),
    [
        ("int32", "itruediv", 2),
        ("int32", "iadd", "float32"),
        ("float32", "iadd", "complex64"),
        ("uint8", "iadd", "int8"),
    ],
)
def test_operators_keep_the_kind(dtype, name, other, make):
    def check(x):
        xp = nnx.namespace_of(x)
        a = xp.ones((2,), dtype=getattr(xp, dtype), device=x.device)
        b = other if isinstance(other, int) else xp.ones((2,), dtype=getattr(xp, other), device=x.device)
        getattr(operator, name)(a, b)

    with pytest.raises((nnx.DTypeError, TypeError)) as caught:
        during_grad(check, make(X))
    if "strict" not in type(make(X)).__module__:  # which refuses the operator that is meant
        assert isinstance(caught.value, nnx.DTypeError)
        assert "keeps the dtype" in str(caught.value)


@pytest.mark.parametrize(("name", "symbol"), [("iadd", r"\+"), ("imul", r"\*"), ("imatmul", "@")])
def test_operators_keep_the_shape(name, symbol, make):
    other = np.ones((3, 2)) if name == "imatmul" else np.ones((2, 4, 3))
    message = rf"x {symbol}= \.\.\. keeps the shape \(4, 3\) of x, and made shape .*: write x = x {symbol} \.\.\."
    with pytest.raises(nnx.ShapeError, match=message):
        during_grad(lambda x: getattr(operator, name)(x, make(other)), make(X))


def test_an_operator_on_a_part(make):
    def loss(x):
        x[0, :] *= x[1, :]
        x[1:, 0] += 5.0
        x[x > 100.0] -= 1.0
        return total(x)

    expected = np.ones_like(X)
    expected[0], expected[1] = X[1], 1 + X[0]
    assert_array_equal(nnx.to_numpy(nnx.grad(loss)(make(X))), expected)


def test_sums_that_begin_with_a_number(make):
    def loss(x):
        sum_ = 0.0
        for row in x:
            sum_ += total(row * row)
        return sum_

    assert_array_equal(nnx.to_numpy(nnx.grad(loss)(make(X))), 2 * X)
