"""Functions whose adjoint the user writes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from nnx.tape.tracked import Tracked

X = np.asarray([0.5, -1.0, 2.0])


def total(x):
    return nnx.namespace_of(x).sum(x)


def made(answer, f=lambda x: x * 2.0):
    return nnx.custom_vjp(f, lambda g, y, *args: answer(g))


def exp(x):
    """The exponential."""
    assert type(x) is not Tracked
    return nnx.namespace_of(x).exp(x)


exp = nnx.custom_vjp(exp, lambda g, y, x: (g * y,))


def test_the_adjoint_is_used_and_not_the_steps(make):
    x = make(X, "float64")
    tripled = nnx.custom_vjp(lambda x: x * 2.0, lambda g, y, x: (g * 3.0,))
    assert_allclose(nnx.to_numpy(tripled(x)), 2 * X)
    value, g = nnx.value_and_grad(lambda x: total(tripled(x)))(x)
    assert_allclose(nnx.to_numpy(value), 2 * X.sum())
    assert_array_equal(nnx.to_numpy(g), [3, 3, 3])


def test_dtype_and_device_are_kept(make, assert_kept):
    assert_kept(exp, make(X))


def test_every_order_by_composition_of_the_adjoint(make):
    x = make(X, "float64")
    d = lambda x: total(exp(x) * x)  # noqa: E731
    for order in range(1, 5):
        d = lambda x, d=d: total(nnx.grad(d)(x))  # noqa: E731
        assert_allclose(nnx.to_numpy(d(x)), np.sum((X + order) * np.exp(X)), rtol=1e-12)
    close = lambda a, b: assert_allclose(nnx.to_numpy(a), b, rtol=1e-12)  # noqa: E731
    close(nnx.hessian(lambda x: total(exp(x)))(x), np.diag(np.exp(X)))
    close(nnx.jacobian(exp)(x), np.diag(np.exp(X)))
    close(nnx.jvp(exp, (x,), (x,))[1], X * np.exp(X))
    close(nnx.hvp(lambda x: total(exp(x)), (x,), (x,))[0], X * np.exp(X))


def test_the_second_derivative_is_that_of_the_adjoint_code(make):
    x = make(X, "float64")
    f = nnx.custom_vjp(lambda x: x * 0.0, lambda g, y, x: (g * x**3,))
    assert_allclose(nnx.to_numpy(nnx.grad(lambda x: total(f(x)))(x)), X**3)
    assert_allclose(nnx.to_numpy(nnx.grad(lambda x: total(nnx.grad(lambda x: total(f(x)))(x)))(x)), 3 * X**2)


def test_check_gradients_accepts_a_right_adjoint_and_finds_a_wrong_one():
    nnx.testing.check_gradients(exp, X)
    with pytest.raises(AssertionError):
        nnx.testing.check_gradients(nnx.custom_vjp(lambda x: x * x, lambda g, y, x: (g * x,)), X)


def test_a_run_that_is_compared_step_by_step_on_every_backend(flags):
    nnx.testing.check_backends(lambda x: exp(x * 2.0) * x, X, backends=flags)


def test_several_arguments_results_and_options(make):
    seen = []

    def f(p, n, y, *, scale):
        return {"sum": p["a"] + y, "rest": [p["a"] * y * scale, p["a"] > 0, None, n]}

    def adjoint(g, out, p, n, y, *, scale):
        seen.append(g)
        assert n == 7
        a, by_product = p["a"], g["rest"][0]
        return {"a": g["sum"] + by_product * y * scale, "b": None}, None, g["sum"] + by_product * a * scale

    f_ = nnx.custom_vjp(f, adjoint)
    a, b, y = make(X, "float64"), make(X, "float64"), make(X[::-1], "float64")

    def loss(call):
        def of(p, y):
            out = call(p, 7, y, scale=2.0)
            assert out["rest"][2:] == [None, 7]
            xp = nnx.namespace_of(out["sum"])
            return total(out["sum"] ** 2) + total(xp.where(out["rest"][1], out["rest"][0], out["rest"][0] * 0.5))

        return of

    expected = nnx.grad(loss(f), (0, 1))({"a": a, "b": b}, y)
    found = nnx.grad(loss(f_), (0, 1))({"a": a, "b": b}, y)
    assert_allclose(nnx.to_numpy(found[0]["a"]), nnx.to_numpy(expected[0]["a"]))
    assert_array_equal(nnx.to_numpy(found[0]["b"]), 0 * X)
    assert_allclose(nnx.to_numpy(found[1]), nnx.to_numpy(expected[1]))
    assert len(seen) == 1  # once, though there are two results and two arguments
    assert seen[0]["rest"][1:] == [None, None, None]


def test_a_result_to_which_no_path_leads_has_cotangent_zero(make):
    def adjoint(g, y, x):
        assert_array_equal(nnx.to_numpy(g[1]), 0 * X)
        return (g[0] + g[1],)

    f = nnx.custom_vjp(lambda x: (x * 1.0, x * 5.0), adjoint)
    assert_array_equal(nnx.to_numpy(nnx.grad(lambda x: total(f(x)[0]))(make(X, "float64"))), [1, 1, 1])


def test_none_is_a_gradient_of_zero(make):
    x = make(X)
    f = nnx.custom_vjp(lambda x, y: x * y, lambda g, y, *args: (None, g))
    a, b = nnx.grad(lambda x, y: total(f(x, y)), (0, 1))(x, x)
    assert_array_equal(nnx.to_numpy(a), [0, 0, 0])
    assert_array_equal(nnx.to_numpy(b), [1, 1, 1])
    assert a.dtype == x.dtype


def test_an_array_in_two_arguments_has_the_sum(make):
    f = nnx.custom_vjp(lambda x, y: x - y, lambda g, out, x, y: (g * 2.0, g * 5.0))
    assert_array_equal(nnx.to_numpy(nnx.grad(lambda x: total(f(x, x)))(make(X))), [7, 7, 7])


def test_arguments_of_two_differentiations(make):
    x, y = make(X, "float64"), make(2.0, "float64")
    f = nnx.custom_vjp(lambda x, y: x * x * y, lambda g, out, x, y: (g * 2.0 * x * y, total(g * x * x)))
    mixed = nnx.grad(lambda y: total(nnx.grad(lambda x: total(f(x, y)))(x)))(y)
    assert_allclose(nnx.to_numpy(mixed), 2 * X.sum())
    mixed = nnx.grad(lambda x: nnx.grad(lambda y: total(f(x, y)))(y))(x)
    assert_allclose(nnx.to_numpy(mixed), 2 * X)


def test_a_gradient_that_nothing_tracks_inside_an_outer_differentiation(make):
    x, zero = make(X, "float64"), make(0 * X, "float64")
    f = nnx.custom_vjp(lambda x, y: x * 2.0 + y * 0.0, lambda g, out, x, y: (g * 2.0, zero))
    inner = nnx.grad(lambda x: total(x * f(x, x)))
    assert_allclose(nnx.to_numpy(nnx.grad(lambda x: total(inner(x) ** 2))(x)), 32 * X)


def test_without_differentiation_the_function_computes_alone():
    calls = []
    f = nnx.custom_vjp(lambda x: x * 2.0, lambda *args: calls.append(args))
    assert type(f(X)) is np.ndarray
    assert type(nnx.grad(lambda x: total(x * nnx.stop_gradient(f(x))))(X)) is np.ndarray
    assert calls == []
    assert (exp.__name__, exp.__doc__) == ("exp", "The exponential.")


def test_under_jit():
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray(X)
    g = nnx.grad(lambda x: total(exp(x) * x))
    assert_allclose(jax.jit(g)(x), g(x), rtol=1e-12)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda g: (g[:2],), nnx.ShapeError, r"must answer shape \(3,\) by argument 0.*answered shape \(2,\)"),
        (lambda g: (g[None, :],), nnx.ShapeError, r"answered shape \(1, 3\)"),
        (lambda g: (g.astype("float32"),), nnx.DTypeError, "dtype float64 by argument 0.*answered float32"),
        (lambda g: (1.0,), nnx.DTypeError, "must answer an array by argument 0, or None; it answered a float"),
        (
            lambda g: g,
            nnx.DifferentiationError,
            "a tuple with one entry for each of 1 arguments; it answered a ndarray",
        ),
        (lambda g: (g, g), nnx.DifferentiationError, "answered 2 entries"),
        (lambda g: [g], nnx.DifferentiationError, "answered a list"),
        (lambda g: None, nnx.DifferentiationError, "answered a NoneType"),
    ],
)
def test_an_adjoint_that_does_not_fit(answer, error, message):
    with pytest.raises(error, match=message):
        nnx.grad(lambda x: total(made(answer)(x)))(X)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda g: ({"a": g},), "a dict of 2 by argument 0, as that argument is; it answered a dict of 1"),
        (lambda g: (g,), "it answered a ndarray"),
        (lambda g: ({"a": g, "b": [g, g]},), r"a list of 1 by argument 0\['b'\].*a list of 2"),
    ],
)
def test_an_adjoint_of_another_structure(answer, message):
    f = made(answer, lambda p: p["a"] * p["b"][0])
    with pytest.raises(nnx.DifferentiationError, match=message):
        nnx.grad(lambda p: total(f(p)))({"a": X, "b": [X]})


def test_a_gradient_by_integers():
    f = made(lambda g: (g, g), lambda x, n: x * 2.0)
    with pytest.raises(nnx.DTypeError, match="argument 1, which is no array of floats: answer None"):
        nnx.grad(lambda x: total(f(x, np.arange(3))))(X)


def test_arrays_that_are_used_and_are_no_arguments():
    def outer(w, x):
        return total(nnx.custom_vjp(lambda x: x * w, lambda g, y, x: (g,))(x))

    with pytest.raises(nnx.DifferentiationError, match="not among its arguments: pass it as an argument"):
        nnx.grad(outer, (0, 1))(X, X)
    with pytest.raises(nnx.DifferentiationError, match="as a keyword argument"):
        nnx.grad(lambda x: total(exp(x=x)))(X)


def test_a_model_is_refused():
    with pytest.raises(nnx.DifferentiationError, match="got a Linear: pass the arrays"):
        exp(nnx.Linear(2, 3))


def test_a_complex_result():
    def loss(x, adjoint):
        y = made(adjoint, lambda x: x * 1j)(x)
        return total(nnx.namespace_of(y).imag(y) ** 2)

    real = lambda g: (nnx.namespace_of(g).real(g * 1j),)  # noqa: E731
    assert_array_equal(nnx.grad(loss)(X, real), 2 * X)
    with pytest.raises(nnx.DTypeError, match="must answer dtype float64 by argument 0, .* answered complex128"):
        nnx.grad(loss)(X, lambda g: (g * 1j,))
