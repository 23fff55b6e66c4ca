"""Assignment inside functions that are recorded as one step, and in models."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from assigning import X, total
from nnx.tape.tracked import Tracked

# --- functions that are one step ------------------------------------------------------------------


def replaced(x, y):
    """A function that assigns to its argument, and the argument's gradient with it."""
    z = x * y
    x[0, :] = 0.0
    return z + x


def expected_of_replaced(weights):
    by_x = weights * (X + 1)
    by_x[0] -= weights[0]
    return by_x, weights * X


def test_a_function_that_is_computed_again(make):
    weights = np.random.default_rng(0).normal(size=X.shape)
    w = make(weights, "float64")

    def loss(x, y):
        before = x * x
        z = nnx.remat(replaced)(x, y)
        return total(z * w) + total(before) + total(x)

    x = make(X, "float64")
    by_x, by_y = nnx.grad(loss, (0, 1))(x, x)
    assert_array_equal(nnx.to_numpy(x), X)
    expected = expected_of_replaced(weights)
    assert_allclose(nnx.to_numpy(by_x), expected[0] + 2 * X + 1, rtol=1e-12)
    assert_allclose(nnx.to_numpy(by_y), expected[1], rtol=1e-12)


def test_a_function_that_is_computed_again_more_than_once(make):
    def outer(x):
        constant = nnx.namespace_of(x).ones_like(x)

        def f(y, c):
            c[0, :] = c[0, :] * 5.0
            return y * y * c * x

        def g(y, c, x):
            c[0, :] = c[0, :] * 5.0
            x[1, :] = 0.0
            return y * y * c * x

        with pytest.raises(nnx.DifferentiationError, match="not among its arguments"):
            nnx.grad(lambda x: total(nnx.remat(f)(x, constant)))(x)
        value, pull = nnx.vjp(lambda y: nnx.remat(g)(y, constant, x), x)
        ones = nnx.namespace_of(x).ones_like(x)
        first, second = pull(ones)[0], pull(ones)[0]
        assert_array_equal(nnx.to_numpy(nnx.stop_gradient(first)), nnx.to_numpy(nnx.stop_gradient(second)))
        assert_array_equal(nnx.to_numpy(nnx.stop_gradient(constant)), np.ones_like(X))
        return total(second) + total(value)

    # Σ 2 x c x + x x c x, c being 5 in the first row and x 0 in the second
    expected = 4 * X + 3 * X**2
    expected[0] *= 5
    expected[1] = 0
    assert_allclose(nnx.to_numpy(nnx.grad(outer)(make(X, "float64"))), expected, rtol=1e-12)


def test_a_function_with_an_adjoint_of_its_own(make):
    def adjoint(g, y, x):
        result = g * y / x
        g[...], y[...], x[...] = 0.0, 0.0, 0.0  # tracked in the second derivative, and its own
        return (result * 2.0,)

    def outer(adjoint):
        square = nnx.custom_vjp(lambda x: x * x, adjoint)

        def loss(x):
            _, pull = nnx.vjp(square, x)
            c = x * 0.0 + 1.0
            (first,), (second,) = pull(c), pull(c)
            return total(first * second) + total(square(x)) + total(x)

        return loss

    x = make(X, "float64")
    found = nnx.grad(outer(on_arrays_of_its_own(adjoint)))(x)
    assert_allclose(nnx.to_numpy(found), 8 * X + 2 * X + 1, rtol=1e-12)
    assert_array_equal(nnx.to_numpy(x), X)


def on_arrays_of_its_own(adjoint):
    """``adjoint``, which assigns to what it gets: not to raw arrays, which are not its own."""

    def call(*arrays):
        if any(type(a) is Tracked for a in arrays):
            return adjoint(*arrays)
        (answer,) = adjoint(*(nnx.differentiable(nnx.namespace_of(a)).asarray(a) for a in arrays))
        return (answer.value,)

    return call


def test_options_of_a_function_with_an_adjoint_of_its_own(make):
    def loss(x):
        c = nnx.namespace_of(x).ones_like(x)
        f = nnx.custom_vjp(lambda x, *, c: x * 2.0, lambda g, y, x, *, c: (g * c,))
        y = f(x, c=c)
        c[...] = 50.0
        return total(y)

    assert_array_equal(nnx.to_numpy(nnx.grad(loss)(make(X))), np.ones_like(X))


# --- models ---------------------------------------------------------------------------------------


class Clipped(nnx.Module):
    """Assigns to a part of its parameter, and counts its calls in a part of a buffer."""

    weight: nnx.Parameter
    calls: nnx.Buffer

    def __init__(self, weight, calls):
        self.weight, self.calls = weight, calls

    def __call__(self, x):
        xp = nnx.namespace_of(x, self.weight)
        y = total(self.weight * x)
        self.weight[0, :] = self.weight[1, :] * 2.0
        self.calls = xp.asarray(self.calls, copy=True) * 1
        if type(self.calls) is not Tracked:
            self.calls = nnx.differentiable(xp).asarray(self.calls)
        self.calls[1] = self.calls[1] + 1
        return y + total(self.weight * x)


def make_model(make):
    return Clipped(make(X), make([0, 0], "int32"))


def check_gradient(found, times=1):
    expected = 2 * X
    expected[0] = X[0]
    expected[1] += 2 * X[0]
    assert_allclose(nnx.to_numpy(found), times * expected, rtol=1e-6)


@pytest.mark.parametrize("wrap", [lambda m: m, nnx.remat], ids=["plain", "remat"])
def test_the_parameter_of_a_model(make, wrap):
    model, x = make_model(make), make(X)
    weight, calls = model.weight, model.calls
    value, found = nnx.value_and_grad(lambda m, x: wrap(m)(x))(model, x)
    check_gradient(found["weight"])
    assert model.weight is weight
    assert_array_equal(nnx.to_numpy(weight), X)
    assert_array_equal(nnx.to_numpy(calls), 0)
    assert_array_equal(nnx.to_numpy(model.calls), [0, 1])
    assert type(model.calls) is type(calls)
    changed = np.concatenate([2 * X[1:2], X[1:]])
    assert_allclose(float(value), np.sum(X * X) + np.sum(changed * X), rtol=1e-6)


def test_a_model_that_fails_afterwards_is_as_it_was(make):
    model = make_model(make)

    def loss(m, x):
        m(x)
        raise RuntimeError("afterwards")

    with pytest.raises(RuntimeError, match="afterwards"):
        nnx.value_and_grad(loss)(model, make(X))
    assert_array_equal(nnx.to_numpy(model.weight), X)
    assert_array_equal(nnx.to_numpy(model.calls), 0)


def test_a_model_inside_another_differentiation(make):
    def outer(m, x):
        m.calls = m.calls * 1
        calls = nnx.namespace_of(x).asarray([0, 0], dtype=m.calls.dtype, device=m.calls.device)
        m.calls = calls if type(calls) is Tracked else nnx.differentiable(nnx.namespace_of(x)).asarray(calls)
        kept = m.calls

        def fails(m):
            m.calls[0] = 9
            raise RuntimeError("inside")

        with pytest.raises(RuntimeError, match="inside"):
            nnx.grad(fails)(m)
        assert_array_equal(nnx.to_numpy(kept), 0)  # the inner copy's buffer is its own
        value, found = nnx.value_and_grad(lambda m: m(x))(m)
        assert_array_equal(nnx.to_numpy(m.calls), [0, 1])
        assert_array_equal(nnx.to_numpy(nnx.stop_gradient(m.weight)), X)
        return value + total(found["weight"] * m.weight) * 0.0

    model = make_model(make)
    check_gradient(nnx.grad(outer)(model, make(X))["weight"])
    assert_array_equal(nnx.to_numpy(model.weight), X)
    assert_array_equal(nnx.to_numpy(model.calls), [0, 1])


def test_a_parameter_in_two_places(make):
    class Pair(nnx.Module):
        a: nnx.Parameter
        b: nnx.Parameter

        def __init__(self, array):
            self.a = self.b = array

        def __call__(self):
            self.a[0, :] = 0.0
            return total(self.a * self.b)  # one array still

    expected = 2 * X
    expected[0] = 0
    found = nnx.grad(lambda m: m())(Pair(make(X)))
    assert_array_equal(nnx.to_numpy(found["a"]), expected)
    frozen = Pair(make(X)).freeze("a")
    frozen_value, _ = nnx.value_and_grad(lambda m, x: total(x) + total(m.a * m.b) * 0.0, argnums=1)(frozen, make(X))
    assert float(frozen_value) == X.sum()
