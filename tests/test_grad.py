"""grad, value_and_grad, vjp and stop_gradient of functions of arrays and of nested arguments."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from nnx.tape.tracked import Tracked


def total(x):
    return nnx.namespace_of(x).sum(x)


def square(x):
    return total(x * x)


X = np.asarray([1.0, 2.0, 3.0])


class Point(NamedTuple):
    x: object
    y: object


# --- arguments --------------------------------------------------------------------------------


def test_the_gradient_has_the_library_shape_dtype_and_device_of_the_argument(make):
    for dtype in ("float32", "float64"):
        x = make(X, dtype)
        value, g = nnx.value_and_grad(square)(x)
        assert (type(g), g.shape, g.dtype, nnx.backend.device_of(g)) == (
            type(x),
            x.shape,
            x.dtype,
            nnx.backend.device_of(x),
        )
        assert value.dtype == x.dtype
        assert_allclose(nnx.to_numpy(g), 2 * X)
        assert_allclose(nnx.to_numpy(value), 14)


def test_nested_arguments_keep_their_structure():
    def f(p):
        return total(p["a"][0] * p["b"].x) + total(p["b"].y[0][1] * 3.0)

    one, two = np.asarray([1.0, 2.0]), np.asarray([5.0, 7.0])
    g = nnx.grad(f)({"a": [one, two], "b": Point(two, ((one, two), None))})
    assert list(g) == ["a", "b"]
    assert type(g["b"]) is Point
    assert type(g["b"].y) is tuple
    assert_array_equal(g["a"][0], two)
    assert_array_equal(g["a"][1], [0, 0])  # unused
    assert_array_equal(g["b"].x, one)
    assert_array_equal(g["b"].y[0][1], [3, 3])
    assert g["b"].y[1] is None


def test_the_function_gets_the_structures_it_was_called_with():
    seen = []
    nnx.grad(lambda p: seen.append(p) or total(p["a"].x))({"a": Point(X, [X]), "n": None})
    assert type(seen[0]["a"]) is Point
    assert type(seen[0]["a"].y) is list
    assert seen[0]["n"] is None


@pytest.mark.parametrize(
    ("argnums", "expected"),
    [
        (0, 3.0),
        (1, 2.0),
        (-1, 2.0),
        ((0,), (3.0,)),
        ((1, 0), (2.0, 3.0)),
        ([0, -1], (3.0, 2.0)),
        (np.int64(1), 2.0),
        ((), ()),
    ],
    ids=str,
)
def test_argnums(argnums, expected):
    value, g = nnx.value_and_grad(lambda x, y: x * y, argnums)(np.asarray(2.0), np.asarray(3.0))
    assert value == 6
    assert g == expected


def test_other_arguments_are_passed_on():
    seen = []

    def f(x, text, *rest, flag, y):
        seen.append((text, rest, flag, y))
        return square(x)

    nnx.grad(f)(X, "text", 1, None, flag=True, y=X)
    assert seen[0][:3] == ("text", (1, None), True)
    assert seen[0][3] is X


def test_one_array_in_two_arguments_has_a_gradient_by_each():
    a, b = nnx.grad(lambda x, y: total(x * x * y), (0, 1))(X, X)
    assert_array_equal(a, 2 * X * X)
    assert_array_equal(b, X * X)


@pytest.mark.parametrize("number", [3, 3.0])
def test_numbers_are_of_the_default_float_type(number):
    value, g = nnx.value_and_grad(lambda x: x * x)(number)
    assert (value, g, value.dtype, g.dtype) == (9, 6, np.float32, np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scalars_of_numpy_keep_their_dtype(dtype):
    assert nnx.grad(lambda x: x * x)(dtype(3)).dtype == dtype


def test_the_default_device_holds_for_numbers(device):
    with nnx.default_device(device):
        g = nnx.grad(lambda x: x * x)(3.0)
    assert nnx.backend.device_of(g) == device
    assert_allclose(nnx.to_numpy(g), 6)


def test_the_arguments_are_not_changed_and_not_shared(make):
    x = make(X)  # NumPy's cannot be written to
    before = nnx.to_numpy(x)
    nnx.grad(square)(x)
    assert_array_equal(nnx.to_numpy(x), before)


def test_a_changed_gradient_changes_no_later_one():
    g = nnx.grad(lambda x: x)(np.asarray(2.0))
    g *= 5
    assert nnx.grad(lambda x: x)(np.asarray(2.0)) == 1
    assert nnx.grad(lambda x: total(x * 1.0))(np.asarray([2.0])) == 1


# --- results ----------------------------------------------------------------------------------


def test_what_does_not_depend_on_the_argument_has_gradient_zero(make):
    x = make(X)
    y = make(3.0)
    for f in (lambda x: 2.5, lambda x: y, lambda x: nnx.namespace_of(x).sum(nnx.namespace_of(x).ones_like(x))):
        value, g = nnx.value_and_grad(f)(x)
        assert not isinstance(value, Tracked)
        assert (type(g), g.dtype) == (type(x), x.dtype)
        assert_array_equal(nnx.to_numpy(g), [0, 0, 0])


def test_auxiliary_results_are_untracked():
    def f(x):
        y = x * 2.0
        return total(y), {"y": y, "half": [x * 0.5, 7, None], "mask": x > 1, "text": "t"}

    (value, aux), g = nnx.value_and_grad(f, has_aux=True)(X)
    assert value == 12
    assert_array_equal(g, [2, 2, 2])
    assert_array_equal(aux["y"], 2 * X)
    assert_array_equal(aux["half"][0], X / 2)
    assert aux["half"][1:] == [7, None]
    assert_array_equal(aux["mask"], X > 1)
    assert aux["text"] == "t"
    assert all(type(a) is np.ndarray for a in (aux["y"], aux["half"][0], aux["mask"]))
    g, aux = nnx.grad(f, has_aux=True)(X)
    assert_array_equal(g, [2, 2, 2])
    assert aux["half"][1] == 7


def test_the_function_made_looks_like_the_one_given():
    assert nnx.grad(square).__name__ == nnx.value_and_grad(square).__name__ == "square"


# --- nesting ----------------------------------------------------------------------------------


def test_derivatives_of_every_order():
    f = d = lambda x: x**4
    for expected in (4 * 2.0**3, 12 * 2.0**2, 24 * 2.0, 24.0, 0.0):
        d = nnx.grad(d)
        assert d(np.asarray(2.0)) == expected
    assert nnx.grad(lambda x: nnx.value_and_grad(f)(x)[0])(np.asarray(2.0)) == 32


def test_perturbations_are_not_confused():
    one = np.asarray(1.0)
    assert nnx.grad(lambda x: x * nnx.grad(lambda y: x + y)(one))(one) == 1
    assert nnx.grad(lambda x: x * nnx.grad(lambda y: x * y)(one))(np.asarray(3.0)) == 6
    assert nnx.grad(lambda x: nnx.grad(lambda y: x)(one))(one) == 0
    assert nnx.grad(lambda x: nnx.grad(lambda y: y)(x))(one) == 0
    assert nnx.grad(lambda x: nnx.grad(lambda y: y * y * x)(x))(np.asarray(3.0)) == 12  # d/dx 2x²
    nested = nnx.grad(lambda x: nnx.grad(lambda y: nnx.grad(lambda z: x * y * z + z**3 * x)(x))(2.0 * x))
    assert nested(np.asarray(3.0)) == 1


def test_a_stopped_inner_variable():
    f = nnx.grad(lambda x: nnx.grad(lambda y: nnx.stop_gradient(x) * y * y)(x))
    assert f(np.asarray(3.0)) == 6  # d/dx (2 c x) with c = 3 held fixed


INNER = {
    "getitem": lambda xp, y: xp.sum(y[1:] * y[:2]),
    "mask": lambda xp, y: xp.sum(y[y > 1] ** 2),
    "max": lambda xp, y: xp.max(y) * xp.sum(xp.abs(y)),
    "where": lambda xp, y: xp.sum(xp.where(y > 1, y * y, 0.0)),
    "softmax": lambda xp, y: xp.sum(nnx.softmax(y) ** 2),
}


@pytest.mark.parametrize("name", INNER)
def test_a_gradient_at_a_constant_of_an_outer_differentiation(name):
    inner = nnx.grad(lambda y: INNER[name](nnx.namespace_of(y), y))
    by_grad = nnx.grad(lambda x: total(inner(nnx.stop_gradient(x)) * x))(X)
    by_vjp = nnx.grad(
        lambda x: total(nnx.vjp(lambda y: INNER[name](nnx.namespace_of(y), y), x * 0 + X)[1](np.ones(()))[0] * x)
    )
    assert_allclose(by_grad, inner(X))
    assert_allclose(by_vjp(X), inner(X))


def test_a_hessian_vector_product(make):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3, 3))
    matrix, x, v = make(a, "float64"), make(X, "float64"), make([1.0, -1.0, 0.5], "float64")

    def f(x):
        xp = nnx.namespace_of(x)
        return xp.sum(xp.tanh(xp.matmul(x, matrix)) ** 2)

    hvp = nnx.grad(lambda x: total(nnx.grad(f)(x) * v))(x)
    step = 1e-6
    g = lambda x: nnx.to_numpy(nnx.grad(f)(x))  # noqa: E731
    expected = (g(x + v * step) - g(x - v * step)) / (2 * step)
    assert_allclose(nnx.to_numpy(hvp), expected, rtol=1e-6)


def test_auxiliary_results_of_an_inner_gradient_stay_tracked_by_the_outer():
    def outer(x):
        _, aux = nnx.grad(lambda y: (y * y, y * x), has_aux=True)(x)
        return aux

    assert nnx.grad(outer)(np.asarray(3.0)) == 6


# --- vjp --------------------------------------------------------------------------------------


def test_a_pull_back_may_be_called_many_times():
    value, pull = nnx.vjp(lambda x: x**3, X)
    assert_array_equal(value, X**3)
    for row in np.eye(3):
        (g,) = pull(row)
        assert_array_equal(g, 3 * X**2 * row)


def test_the_rows_of_a_jacobian(normal):
    x, w = normal(3, dtype="float64"), normal(3, 4, dtype="float64")
    y, pull = nnx.vjp(lambda x: nnx.namespace_of(x).matmul(x, w), x)
    xp = nnx.namespace_of(y)
    rows = [nnx.to_numpy(pull(xp.astype(xp.arange(4, device=y.device) == i, y.dtype))[0]) for i in range(4)]
    assert_allclose(np.stack(rows), nnx.to_numpy(w).T)


def test_nested_values_and_several_primals():
    def f(x, y):
        return {"sum": x + y, "rest": [x * y, 3.0, None, x > y]}

    a, b = X, X[::-1].copy()
    value, pull = nnx.vjp(f, a, b)
    assert_array_equal(value["rest"][0], a * b)
    zero = np.zeros(3)
    by_a, by_b = pull({"sum": zero, "rest": [np.ones(3), 0.0, None, zero > 1]})
    assert_array_equal(by_a, b)
    assert_array_equal(by_b, a)


def test_auxiliary_results_of_vjp():
    value, pull, aux = nnx.vjp(lambda x: (x * 2.0, x + 1.0), X, has_aux=True)
    assert_array_equal(aux, X + 1)
    assert type(aux) is np.ndarray
    assert_array_equal(pull(value)[0], 4 * X)


def test_a_pull_back_is_differentiable_by_its_cotangent():
    _, pull = nnx.vjp(lambda x: x**2, X)
    g = nnx.grad(lambda c: total(pull(c)[0] ** 2))(np.ones(3))
    assert_allclose(g, 2 * (2 * X) ** 2)
    by_both = nnx.grad(lambda x: total(nnx.vjp(lambda y: y**2, x)[1](x * 1.0)[0]))(X)
    assert_allclose(by_both, 4 * X)


def test_pull_backs_from_two_threads():
    _, pull = nnx.vjp(lambda x: nnx.namespace_of(x).exp(x), X)
    found = {}

    def run(scale):
        for _ in range(200):
            (g,) = pull(np.full(3, float(scale)))
            found.setdefault(scale, []).append(np.array_equal(g, scale * np.exp(X)))

    threads = [threading.Thread(target=run, args=(scale,)) for scale in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[1] + found[2])
    assert len(found[1] + found[2]) == 400


@pytest.mark.parametrize(
    ("cotangent", "error"),
    [
        (np.ones(2), nnx.ShapeError),
        (np.ones((3, 1)), nnx.ShapeError),
        (np.ones(3, dtype=np.float32), nnx.DTypeError),
        (1.0, nnx.DTypeError),
        (None, nnx.DTypeError),
    ],
)
def test_a_cotangent_that_does_not_fit(cotangent, error):
    _, pull = nnx.vjp(lambda x: x * 2.0, X)
    with pytest.raises(error, match="cotangent"):
        pull(cotangent)


def test_a_complex_value_has_a_pull_back():
    value, pull = nnx.vjp(lambda x: x * 1j, X)
    assert_array_equal(pull(value)[0], -X)  # the real part of 1j * value


# --- stop_gradient ----------------------------------------------------------------------------


def test_stop_gradient_of_nested_arrays():
    def f(x):
        stopped = nnx.stop_gradient({"a": [x * x], "b": None, "c": 2.0})
        assert (stopped["b"], stopped["c"]) == (None, 2.0)
        return total(x * stopped["a"][0])

    assert_array_equal(nnx.grad(f)(X), X * X)


def test_stop_gradient_outside_is_the_identity():
    assert nnx.stop_gradient(X) is X


def test_stop_gradient_holds_at_every_level():
    f = nnx.grad(lambda x: nnx.grad(lambda y: nnx.stop_gradient(x * y) * y)(x))
    assert f(np.asarray(3.0)) == 0


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: x, r"shape \(3,\): reduce it with sum"),
        (lambda x: (total(x), x), "has_aux=True"),
        (lambda x: None, "NoneType"),
        (lambda x: 1, "int"),
        (lambda x: [total(x)], "list"),
        (lambda x: nnx.namespace_of(x).argmax(x), "dtype int64"),
        (lambda x: nnx.namespace_of(x).any(x > 1), "dtype bool"),
    ],
)
def test_a_function_that_answers_no_number(f, message):
    with pytest.raises(nnx.DifferentiationError, match=message):
        nnx.grad(f)(X)


@pytest.mark.parametrize("f", [total, lambda x: (total(x), 1, 2), lambda x: [total(x), 1]])
def test_auxiliary_results_that_are_not_a_pair(f):
    with pytest.raises(nnx.DifferentiationError, match=r"\(value, aux\)"):
        nnx.grad(f, has_aux=True)(X)


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_an_argument_that_has_no_derivative(dtype):
    for x in (X.astype(dtype), [X, {"a": X.astype(dtype)}]):
        with pytest.raises(nnx.DTypeError, match=f"dtype {dtype}: expected a floating-point dtype"):
            nnx.grad(lambda x: 1.0)(x)


def test_an_argument_of_integers_inside_another_gradient():
    with pytest.raises(nnx.DTypeError, match="int64"):
        nnx.grad(lambda x: nnx.grad(total)(nnx.namespace_of(x).argsort(x)))(X)


@pytest.mark.parametrize(
    "argument", ["text", True, object(), {1, 2}, [X, "text"], square], ids=lambda a: type(a).__name__
)
def test_an_argument_that_is_no_array(argument):
    with pytest.raises(nnx.DifferentiationError, match="argnums="):
        nnx.grad(lambda x: 1.0)(argument)


@pytest.mark.parametrize("argnums", [2, -3, (0, 5)], ids=str)
def test_argnums_out_of_range(argnums):
    with pytest.raises(nnx.DifferentiationError, match="called with 2 arguments"):
        nnx.grad(lambda x, y: square(x), argnums)(X, X)


@pytest.mark.parametrize("argnums", [(0, 0), (1, -1)], ids=str)
def test_argnums_twice(argnums):
    with pytest.raises(nnx.DifferentiationError, match="twice"):
        nnx.grad(lambda x, y: square(x), argnums)(X, X)


def test_exceptions_pass_and_leave_nothing_behind():
    def failing(x):
        x * x
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        nnx.grad(failing)(X)
    with pytest.raises(KeyError, match="mine"):
        nnx.grad(lambda x: nnx.grad(failing)(x))(X)
    assert_array_equal(nnx.grad(square)(X), 2 * X)


# --- compilers and devices without values -----------------------------------------------------


def test_under_jit():
    jax = pytest.importorskip("jax")
    x, w = (jax.numpy.asarray(np.random.default_rng(i).normal(size=shape)) for i, shape in enumerate([(4, 3), (3, 2)]))

    def loss(w, x):
        xp = nnx.namespace_of(w)
        y = nnx.softmax(nnx.gelu(xp.matmul(x, w)))
        return xp.mean(xp.where(y > 0.4, y, y**2)) + xp.max(y[1:, :1])

    both = nnx.value_and_grad(loss, (0, 1))
    for order in (both, nnx.value_and_grad(lambda w, x: total(both(w, x)[1][0] ** 2))):
        value, g = order(w, x)
        jit_value, jit_g = jax.jit(order)(w, x)
        assert_allclose(jit_value, value, rtol=1e-12)
        jax.tree_util.tree_map(lambda a, b: assert_allclose(a, b, rtol=1e-10), jit_g, g)


def test_agreement_with_grad_of_jax():
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray(X)

    def loss(x):
        xp = nnx.namespace_of(x)
        return xp.sum(xp.log1p(xp.exp(x)) * xp.cos(x)) / xp.sqrt(xp.sum(x * x))

    assert_allclose(nnx.grad(loss)(x), jax.grad(loss)(x), rtol=1e-12)
    assert_allclose(
        nnx.grad(lambda x: total(nnx.grad(loss)(x)[:2]))(x),
        jax.grad(lambda x: total(jax.grad(loss)(x)[:2]))(x),
        rtol=1e-12,
    )


def test_on_the_device_meta():
    torch = pytest.importorskip("torch")
    x = torch.ones(3, device="meta")
    value, g = nnx.value_and_grad(lambda x: nnx.namespace_of(x).mean(nnx.sigmoid(x) ** 2))(x)
    assert (value.device.type, g.device.type, g.shape, g.dtype) == ("meta", "meta", x.shape, x.dtype)
