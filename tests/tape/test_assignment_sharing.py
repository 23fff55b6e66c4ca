"""Assignment to a part of a tracked array: who sees the change, and who does not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from assigning import X, total


def test_all_names_of_an_array_see_the_change_and_what_was_made_of_it_does_not(make):
    def loss(x):
        same, row, double, duplicate, deep = x, x[0, :], 2 * x, copy.copy(x), copy.deepcopy({"x": [x]})
        xp = nnx.namespace_of(x)
        others = [xp.asarray(x, copy=True), xp.astype(x, x.dtype), xp.reshape(x, x.shape, copy=True), +x]
        x[0, :] = 0.0
        assert same is x
        assert_array_equal(nnx.to_numpy(nnx.stop_gradient(same))[0], 0)
        for other in (duplicate, deep["x"][0], *others):
            assert_array_equal(nnx.to_numpy(nnx.stop_gradient(other)), X)
        assert_array_equal(nnx.to_numpy(nnx.stop_gradient(row)), X[0])
        return xp.sum(same) + xp.sum(row) * 10 + xp.sum(double) * 100 + xp.sum(duplicate) * 5000

    x = make(X)
    found = nnx.grad(loss)(x)
    assert_array_equal(nnx.to_numpy(x), X)
    expected = np.full(X.shape, 5201.0)
    expected[0] += 10 - 1
    assert_array_equal(nnx.to_numpy(found), expected)


def test_a_copy_is_its_own(make):
    def loss(x):
        xp = nnx.namespace_of(x)
        copies = [copy.copy(x), copy.deepcopy(x), xp.asarray(x, copy=True), xp.astype(x, x.dtype, copy=True)]
        for y in copies:
            y[...] = 0.0
        both = copy.deepcopy([x, x])
        both[0][...] = 0.0  # two names of one array are so in the copy too
        assert both[0] is both[1]
        return xp.sum(x * x) + sum(xp.sum(y) for y in (*copies, *both))

    assert_array_equal(nnx.to_numpy(nnx.grad(loss)(make(X))), 2 * X)


def test_an_array_that_was_handed_on_as_it_is(make):
    def loss(x):
        xp = nnx.namespace_of(x)
        y = xp.asarray(x)
        y[0, :] = 0.0  # which is x itself, as with NumPy
        return xp.sum(x * x)

    assert_array_equal(nnx.to_numpy(nnx.grad(loss)(make(X))), np.where(np.arange(4)[:, None] == 0, 0, 2 * X))


def test_what_an_operation_has_kept(make):
    def loss(x):
        y = x * x
        z = nnx.namespace_of(x).exp(y / 100)
        y[...] = 0.0
        z[...] = z * y + z
        x[...] = 7.0
        return total(z)

    expected = np.exp(X**2 / 100) * X / 50
    assert_allclose(nnx.to_numpy(nnx.grad(loss)(make(X, "float64"))), expected, rtol=1e-12)


def test_keys_are_as_they_were_when_they_were_used(make):
    def loss(x):
        xp = nnx.namespace_of(x)
        row, mask = xp.asarray(1, device=x.device), xp.asarray([True, False, False], device=x.device)
        start = xp.asarray(0, device=x.device)
        y = x[row, 0] + total(x[0, :][mask]) * 10 + total(x[start:2, 2]) * 100
        x[row, 1] = 0.0
        x[start:1, 1] = 0.0
        row[...], start[...], mask[1] = 3, 1, True
        return y + total(x[:, 1]) * 1000

    found = nnx.to_numpy(nnx.grad(loss)(make(X)))
    assert_array_equal(found, [[10, 0, 100], [1, 0, 100], [0, 1000, 0], [0, 1000, 0]])


def test_an_array_of_the_caller_that_is_no_argument(make):
    c = make(X)

    def loss(x):
        y = nnx.namespace_of(x).asarray(c)  # a constant over the very same array
        y[...] = x
        y[0, 0] = 5.0
        return total(y * c)

    expected = X.copy()
    expected[0, 0] = 0
    assert_array_equal(nnx.to_numpy(nnx.grad(loss)(make(X))), expected)
    assert_array_equal(nnx.to_numpy(c), X)


def test_an_argument_that_a_gradient_is_by(make):
    def loss(x):
        kept = x * x
        x[0, :] = x[1, :] ** 3
        return total(kept) + total(x)

    expected = 2 * X + 1
    expected[0] -= 1
    expected[1] += 3 * X[1] ** 2
    assert_allclose(nnx.to_numpy(nnx.grad(loss)(make(X))), expected, rtol=1e-6)
    value, pull = nnx.vjp(loss, make(X))
    for _ in range(2):
        assert_allclose(nnx.to_numpy(pull(nnx.namespace_of(value).ones_like(value))[0]), expected, rtol=1e-6)


def test_an_argument_that_the_result_does_not_depend_on_any_more(make):
    def loss(x, y):
        x[...] = 0.0
        return total(x) + total(y)

    by_x, by_y = nnx.grad(loss, (0, 1))(make(X), make(X))
    assert_array_equal(nnx.to_numpy(by_x), np.zeros_like(X))
    assert_array_equal(nnx.to_numpy(by_y), np.ones_like(X))


def test_one_array_as_two_arguments(make):
    def outer(x):
        def inner(a, b):  # each is an array of its own, though both stand for x
            a[0, :] = 0.0
            return total(a * b)

        a, b = nnx.grad(inner, (0, 1))(x, x)
        a[...] = 0.0
        return total(b * b) + total(a)

    expected = 2 * X
    expected[0] = 0
    assert_array_equal(nnx.to_numpy(nnx.grad(outer)(make(X))), expected)


def test_gradients_are_arrays_of_their_own(make):
    def outer(x):
        g, h = nnx.grad(lambda a, b: total((a + b) * x), (0, 1))(x, x)
        g[...] = 0.0
        return total(h * h)

    assert_array_equal(nnx.to_numpy(nnx.grad(outer)(make(X))), 2 * X)

    def again(x):
        value, pull = nnx.vjp(lambda y: +y, x)
        c = x * 3.0
        (g,) = pull(c)
        g[...] = 0.0
        value[...] = 0.0
        return total(c * pull(c)[0])

    assert_allclose(nnx.to_numpy(nnx.grad(again)(make(X))), 18 * X)


def test_an_outer_array_inside_an_inner_differentiation(make):
    def outer(x):
        before = x * x

        def inner(y):
            z = x * y
            x[0, :] = 0.0  # the outer function's own array, which all see from here
            return total(z) + total(x * y * 10)

        g = nnx.grad(inner)(before)
        return total(g) + total(x)

    # g is x + 10 x', and x' is x without its first row
    expected = np.full(X.shape, 12.0)
    expected[0] = 1.0
    assert_array_equal(nnx.to_numpy(nnx.grad(outer)(make(X))), expected)


def test_an_outer_array_may_not_take_what_ends_with_an_inner_differentiation(make):
    def outer(x):
        kept = nnx.namespace_of(x).zeros_like(x)

        def inner(y):
            kept[...] = y * x
            return total(y)

        nnx.grad(inner)(x)
        return total(kept * x)

    with pytest.raises(nnx.DifferentiationError, match=r"differentiation that has ended.*has_aux=True"):
        nnx.grad(outer)(make(X))


def test_a_value_of_an_inner_differentiation_in_an_array_of_its_own(make):
    def outer(x):
        def inner(y):
            z = x * 1.0
            z[0, :] = y[1, :] * x[1, :]
            return total(z * z)

        return total(nnx.grad(inner)(x) ** 2)

    def expected(x):
        y = x.copy()
        g = np.zeros_like(x)
        g[1] = 2 * y[1] * x[1] ** 2
        return np.sum(g**2)

    found = nnx.to_numpy(nnx.grad(outer)(make(X, "float64")))
    for i in np.ndindex(X.shape):
        d = np.zeros_like(X)
        d[i] = 1e-4
        assert_allclose(found[i], (expected(X + d) - expected(X - d)) / 2e-4, rtol=1e-6, atol=1e-6)


def test_between_the_forward_and_the_pull(make):
    kept = []

    def f(x):
        y = x * x
        kept.extend([x, y])
        return {"y": y}

    value, pull = nnx.vjp(f, make(X))
    for array in kept:  # the very arrays that the function got and answered
        array[...] = 0.0
    if hasattr(value["y"], "__setitem__") and not hasattr(value["y"], "at"):
        value["y"][...] = 0.0
    ones = nnx.namespace_of(make(X)).ones_like(make(X))
    for _ in range(2):
        assert_array_equal(nnx.to_numpy(pull({"y": ones})[0]), 2 * X)


def test_between_the_forward_and_the_pull_inside_another(make):
    def outer(x):
        value, pull = nnx.vjp(lambda y: y * y * x, x)
        c = x * 0.0 + 1.0
        value[...] = 0.0
        x[0, :] = 0.0  # of which the pull-back knows what it was
        (g,) = pull(c)
        c[...] = 0.0
        return total(g) + total(value) + total(x)

    expected = 4 * X + 1
    expected[0] -= 1
    assert_allclose(nnx.to_numpy(nnx.grad(outer)(make(X, "float64"))), expected)


def test_results_beside_the_value(make):
    def f(x):
        y = x * 2.0
        found = {"before": y * 1.0, "y": y}
        y[...] = 3.0
        return total(x), found

    _, aux = nnx.grad(f, has_aux=True)(make(X))
    assert_array_equal(nnx.to_numpy(aux["y"]), np.full(X.shape, 3.0))
    assert_array_equal(nnx.to_numpy(aux["before"]), 2 * X)
