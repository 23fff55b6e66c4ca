"""jvp, hvp, jacobian and hessian, against torch.func and JAX."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import nnx

# of torch's own forward mode, when it is first used
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3))
V = RNG.normal(size=(2, 3))
W = RNG.normal(size=(3, 4))


class Point(NamedTuple):
    x: object
    y: object


class Affine(nnx.Module):
    weight: nnx.Parameter
    bias: nnx.Parameter
    calls: nnx.Buffer

    def __init__(self, weight, bias, calls):
        self.weight, self.bias, self.calls = weight, bias, calls

    def __call__(self, x):
        self.calls = self.calls + 1
        return nnx.tanh(nnx.namespace_of(x, self.weight).matmul(x, self.weight) + self.bias)


def close(a, b, rtol=1e-10, atol=1e-12):
    assert_allclose(nnx.to_numpy(a), np.asarray(b), rtol=rtol, atol=atol)


# Each is written once, in functions that torch and jax.numpy have under the names of the standard.
FUNCTIONS = {
    "elementwise": lambda xp, x: xp.sin(x) * x,
    "matmul": lambda xp, x: xp.matmul(xp.tanh(x), xp.reshape(x, (3, 2))),
    "broadcast": lambda xp, x: x[:, :1] * x**2,
    "scalar": lambda xp, x: xp.sum(xp.exp(x) * x[0, 0]),
    "where": lambda xp, x: xp.where(x > 0, x * x, xp.sin(x)),
    "linear": lambda xp, x: x * 3.0,
    "index": lambda xp, x: x[1:, ::2] * x[0, 1],
}
SCALARS = {
    "quartic": lambda xp, x: xp.sum(x**4) + xp.sum(x) ** 2,
    "tanh": lambda xp, x: xp.sum(xp.tanh(x) * xp.sin(x[0, 0])),
    "quadratic": lambda xp, x: xp.sum(x * x),
    "linear": lambda xp, x: xp.sum(x) * 2.0,
}


def ours(f):
    return lambda x: f(nnx.namespace_of(x), x)


@pytest.fixture(params=["torch", "jax"])
def reference(request):
    """The functional derivatives of another library: ``(jvp, jacobian, hessian)`` of NumPy arrays."""
    if request.param == "torch":
        torch = pytest.importorskip("torch")
        to, of, func, xp = torch.tensor, (lambda t: t.detach().numpy()), torch.func, torch
    else:
        func = pytest.importorskip("jax")
        import jax.numpy as xp

        to, of = xp.asarray, np.asarray

    def jvp(f, x, v):
        return [of(t) for t in func.jvp(lambda x: f(xp, x), (to(x),), (to(v),))]

    return (
        jvp,
        lambda f, x: of(func.jacrev(lambda x: f(xp, x))(to(x))),
        lambda f, x: of(func.hessian(lambda x: f(xp, x))(to(x))),
    )


# --- the numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jvp_and_jacobian_agree_with_other_libraries(make, reference, name):
    f, x, v = FUNCTIONS[name], make(X, "float64"), make(V, "float64")
    value, tangent = nnx.jvp(ours(f), (x,), (v,))
    expected_value, expected = reference[0](f, X, V)
    close(value, expected_value)
    close(tangent, expected)
    j = nnx.jacobian(ours(f))(x)
    assert j.shape == value.shape + x.shape
    close(j, reference[1](f, X))


@pytest.mark.parametrize("name", SCALARS)
def test_hessian_and_its_products_agree_with_other_libraries(make, reference, name):
    f, x, v = SCALARS[name], make(X, "float64"), make(V, "float64")
    expected = reference[2](f, X)
    h = nnx.hessian(ours(f))(x)
    assert h.shape == (2, 3, 2, 3)
    close(h, expected)
    (hv,) = nnx.hvp(ours(f), (x,), (v,))
    close(hv, np.tensordot(expected, V, axes=2))


def test_dtype_and_device_are_kept(make, device):
    x, v = make(X), make(V)
    results = [
        *nnx.jvp(ours(FUNCTIONS["matmul"]), (x,), (v,)),
        *nnx.hvp(ours(SCALARS["tanh"]), (x,), (v,)),
        nnx.jacobian(ours(FUNCTIONS["matmul"]))(x),
        nnx.hessian(ours(SCALARS["tanh"]))(x),
    ]
    for result in results:
        assert result.dtype == x.dtype
        assert nnx.backend.device_of(result) == device
    assert len(results) == 5


@pytest.mark.parametrize("shape", [(0,), (0, 2)])
def test_empty_values_and_arguments(make, shape):
    x = make(np.zeros(shape), "float64")
    assert nnx.jacobian(lambda x: x * 2.0)(x).shape == shape + shape
    assert nnx.jacobian(lambda x: nnx.namespace_of(x).sum(x))(x).shape == shape
    y = make(X, "float64")
    assert nnx.jacobian(lambda y: y[:0, :])(y).shape == (0, 3, 2, 3)
    assert nnx.jvp(lambda x: x * 2.0, (x,), (x,))[1].shape == shape
    assert nnx.hessian(lambda x: nnx.namespace_of(x).sum(x * x))(x).shape == shape + shape


def test_numbers():
    value, tangent = nnx.jvp(lambda x, y: x * y, (3.0, 2), (1, 10.0))
    assert (value, tangent, tangent.dtype) == (6, 32, np.float32)
    assert nnx.jacobian(lambda x: x**3)(2.0) == 12
    assert nnx.jacobian(lambda x: x**3)(2.0).shape == ()
    assert nnx.hessian(lambda x: x**3)(2.0) == 12
    assert nnx.hvp(lambda x: x**3, (2.0,), (3,)) == (36,)


def test_a_value_that_does_not_depend_on_the_argument(make):
    x, c = make(X, "float64"), make(V, "float64")
    close(nnx.jvp(lambda x: c, (x,), (x,))[1], np.zeros_like(V))
    close(nnx.jacobian(lambda x: c)(x), np.zeros((2, 3, 2, 3)))
    close(nnx.hessian(lambda x: nnx.namespace_of(c).sum(c))(x), np.zeros((2, 3, 2, 3)))
    close(nnx.hvp(lambda x: nnx.namespace_of(c).sum(c), (x,), (x,))[0], np.zeros_like(V))


@given(
    shape=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    axis=st.integers(-3, 2),
    name=st.sampled_from(["sum", "squares", "roll", "outer"]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_matrices_and_products_agree_for_every_shape(shape, axis, name, seed):
    """u·(J v) = (uᵀ J)·v, and both are J; H is symmetric, and H v its product."""
    rng = np.random.default_rng(seed)
    x, v = rng.normal(size=shape), rng.normal(size=shape)
    axis = None if not shape else axis % len(shape)

    def f(x):
        xp = nnx.namespace_of(x)
        y = xp.tanh(x) * x
        if name == "outer":
            return xp.reshape(y, (-1, 1)) * xp.reshape(x, (1, -1))
        if name == "roll":
            return xp.roll(y, 1, axis=axis) * x
        return xp.sum(y, axis=axis) if name == "sum" else xp.sum(y * y, axis=axis, keepdims=True)

    j = nnx.jacobian(f)(x)
    y, tangent = nnx.jvp(f, (x,), (v,))
    u = rng.normal(size=y.shape)
    assert j.shape == y.shape + x.shape
    assert_allclose(np.tensordot(j, v, axes=x.ndim), tangent, rtol=1e-10, atol=1e-12)
    assert_allclose(np.tensordot(u, j, axes=y.ndim), nnx.vjp(f, x)[1](u)[0], rtol=1e-10, atol=1e-12)

    scalar = lambda x: nnx.namespace_of(x).sum(f(x) * u)  # noqa: E731
    h = nnx.hessian(scalar)(x)
    assert_allclose(h, np.moveaxis(h, range(x.ndim), range(-x.ndim, 0)) if x.ndim else h, rtol=1e-10, atol=1e-12)
    assert_allclose(np.tensordot(h, v, axes=x.ndim), nnx.hvp(scalar, (x,), (v,))[0], rtol=1e-10, atol=1e-12)


# --- structures -------------------------------------------------------------------------------


def test_argnums_of_jacobian_and_hessian(make):
    x, y = make([1.0, 2.0], "float64"), make([3.0, 5.0, 7.0], "float64")

    def outer(x, y):
        return x[:, None] * y[None, :] ** 2

    by_x, by_y = nnx.jacobian(outer, (0, 1))(x, y)
    assert (by_x.shape, by_y.shape) == ((2, 3, 2), (2, 3, 3))
    close(by_x, np.einsum("ik,j->ijk", np.eye(2), np.asarray([9.0, 25.0, 49.0])))
    close(by_y, np.einsum("i,j,jk->ijk", [1.0, 2.0], [6.0, 10.0, 14.0], np.eye(3)))
    close(nnx.jacobian(outer, -1)(x, y), nnx.to_numpy(by_y))
    (only,) = nnx.jacobian(outer, [1])(x, y)
    close(only, nnx.to_numpy(by_y))

    h = nnx.hessian(lambda x, y: nnx.namespace_of(x).sum(outer(x, y)), (0, 1))(x, y)
    assert [[block.shape for block in row] for row in h] == [[(2, 2), (2, 3)], [(3, 2), (3, 3)]]
    close(h[0][1], np.tile([6.0, 10.0, 14.0], (2, 1)))
    close(h[1][0], nnx.to_numpy(h[0][1]).T)
    close(h[1][1], np.eye(3) * 6.0)


def test_trees_in_and_out(make):
    a, b = make([1.0, 2.0], "float64"), make([3.0, 4.0], "float64")

    def f(p):
        return {"product": p["a"] * p["p"].x, "rest": [nnx.namespace_of(p["a"]).sum(p["p"].x ** 2), None]}

    tree = {"a": a, "p": Point(b, None)}
    j = nnx.jacobian(f)(tree)
    close(j["product"]["a"], np.diag([3.0, 4.0]))
    close(j["product"]["p"].x, np.diag([1.0, 2.0]))
    close(j["rest"][0]["a"], [0, 0])
    close(j["rest"][0]["p"].x, [6, 8])
    assert j["rest"][1] is None
    assert j["product"]["p"].y is None

    value, tangent = nnx.jvp(f, (tree,), ({"a": b, "p": Point(a, None)},))
    close(value["product"], [3, 8])
    close(tangent["product"], [9 + 1, 16 + 4])
    close(tangent["rest"][0], 2 * (3 + 8))
    assert tangent["rest"][1] is None

    (hv,) = nnx.hvp(lambda p: nnx.namespace_of(p["a"]).sum(f(p)["product"]), (tree,), ({"a": b, "p": Point(a, None)},))
    close(hv["a"], [1, 2])
    close(hv["p"].x, [3, 4])
    assert hv["p"].y is None


def test_tangents_of_what_does_not_vary():
    x = np.asarray([3.0, 1.0])
    _, tangent = nnx.jvp(lambda x: (nnx.namespace_of(x).argsort(x), x > 2, 2.5, x), (x,), (x,))
    assert_array_equal(tangent[0], [0, 0])
    assert (tangent[0].dtype.kind, tangent[1].dtype.kind) == ("i", "b")
    assert not tangent[1].any()
    assert tangent[2] is None
    assert_array_equal(tangent[3], x)


def test_models(make):
    model = Affine(make(W, "float64"), make(np.zeros(4), "float64"), make(0, "int32"))
    x = make(X, "float64")
    run = lambda model: model(x)  # noqa: E731
    j = nnx.jacobian(run)(model)
    assert int(nnx.to_numpy(model.calls)) == 1
    assert {name: block.shape for name, block in j.items()} == {"weight": (2, 4, 3, 4), "bias": (2, 4, 4)}
    slope = 1 - np.tanh(X @ W) ** 2
    close(j["bias"], np.einsum("ij,jk->ijk", slope, np.eye(4)))

    tangents = {"weight": make(W, "float64"), "bias": make(np.ones(4), "float64")}
    _, tangent = nnx.jvp(run, (model,), (tangents,))
    assert int(nnx.to_numpy(model.calls)) == 2
    close(tangent, slope * (X @ W + 1))

    def loss(model):
        y = model(x)
        return nnx.namespace_of(y).sum(y * y)

    (hv,) = nnx.hvp(loss, (model,), (tangents,))
    h = nnx.hessian(loss)(model)
    expected = np.einsum("ijk,k->ij", nnx.to_numpy(h["weight"]["bias"]), np.ones(4))
    expected += np.einsum("ijkl,kl->ij", nnx.to_numpy(h["weight"]["weight"]), W)
    close(hv["weight"], expected)


def test_auxiliary_results_and_options(make):
    x = make(X, "float64")
    j, aux = nnx.jacobian(lambda x, *, scale: (x * scale, {"n": 7, "y": x * 1.0}), has_aux=True)(x, scale=2.0)
    close(j, 2 * np.eye(6).reshape(2, 3, 2, 3))
    assert aux["n"] == 7
    assert type(aux["y"]) is type(x)


# --- nesting ----------------------------------------------------------------------------------


def test_derivatives_of_derivatives(make):
    x, v = make(X, "float64"), make(V, "float64")
    total = lambda x: nnx.namespace_of(x).sum(x)  # noqa: E731
    f = lambda x: nnx.namespace_of(x).exp(x) * x  # noqa: E731
    second = (X + 2) * np.exp(X)
    close(nnx.grad(lambda x: total(nnx.jvp(f, (x,), (v,))[1]))(x), V * second)
    close(nnx.grad(lambda v: total(nnx.jvp(f, (x,), (v,))[1]))(v), (X + 1) * np.exp(X))
    close(nnx.jvp(lambda x: nnx.jvp(f, (x,), (v,))[1], (x,), (v,))[1], V * V * second)
    close(nnx.jvp(nnx.grad(lambda x: total(f(x))), (x,), (v,))[1], V * second)
    third = nnx.jacobian(nnx.hessian(lambda x: total(x**4)))(make([1.0, 2.0], "float64"))
    close(third, np.einsum("i,ij,ik->ijk", [24.0, 48.0], np.eye(2), np.eye(2)))
    close(nnx.grad(lambda x: total(nnx.hvp(lambda x: total(x**4), (x,), (v,))[0]))(x), 24 * X * V)


def test_perturbations_are_not_confused():
    inner = lambda x: nnx.jvp(lambda y: x + y, (1.0,), (1.0,))[1]  # noqa: E731
    assert nnx.jvp(lambda x: x * inner(x), (3.0,), (1.0,))[1] == 1
    assert nnx.grad(lambda x: x * inner(x))(3.0) == 1


def test_what_is_stopped_has_no_tangent():
    assert nnx.jvp(lambda x: nnx.stop_gradient(x) * x, (3.0,), (1.0,)) == (9, 3)
    assert nnx.hvp(lambda x: nnx.stop_gradient(x) * x * x, (3.0,), (1.0,)) == (6,)


def test_one_walk_back_for_a_product_whatever_the_number_of_results():
    """Products take no loop over elements, as the matrices do."""
    calls = []

    def f(x):
        calls.append(x)
        return nnx.namespace_of(x).sin(x)

    x = np.linspace(0, 1, 100_000)
    _, tangent = nnx.jvp(f, (x,), (x,))
    assert_allclose(tangent, np.cos(x) * x, rtol=1e-12)
    (hv,) = nnx.hvp(lambda x: nnx.namespace_of(x).sum(f(x)), (x,), (x,))
    assert_allclose(hv, -np.sin(x) * x, rtol=1e-12)
    assert len(calls) == 2


def test_under_jit():
    jax = pytest.importorskip("jax")
    x, v = jax.numpy.asarray(X), jax.numpy.asarray(V)
    f = ours(SCALARS["tanh"])
    for made in (
        lambda x, v: nnx.jvp(f, (x,), (v,))[1],
        lambda x, v: nnx.hvp(f, (x,), (v,))[0],
        lambda x, v: nnx.hessian(f)(x),
    ):
        assert_allclose(jax.jit(made)(x, v), made(x, v), rtol=1e-10, atol=1e-12)


# --- mistakes ---------------------------------------------------------------------------------

F64 = np.ones(3)


@pytest.mark.parametrize(
    ("tangents", "error", "message"),
    [
        ((np.ones(2),), nnx.ShapeError, r"of shape \(3,\) was expected, as its primal; got \(2,\)"),
        ((np.ones(()),), nnx.ShapeError, r"of shape \(3,\)"),
        ((F64.astype("float32"),), nnx.DTypeError, "of dtype float64 was expected, as its primal; got float32"),
        ((1.0,), nnx.DTypeError, "an array of dtype float64, as its primal; got a float"),
        ((None,), nnx.DTypeError, "got a NoneType"),
        ((), nnx.DifferentiationError, "a tuple of 1; got a tuple of 0"),
        ((F64, F64), nnx.DifferentiationError, "a tuple of 1; got a tuple of 2"),
        (F64, nnx.DifferentiationError, r"such as \(x,\); got a ndarray"),
    ],
    ids=str,
)
def test_a_tangent_that_does_not_fit(tangents, error, message):
    with pytest.raises(error, match=message):
        nnx.jvp(lambda x: x * 2.0, (F64,), tangents)
    with pytest.raises(error, match=message.replace("tangent", "vector")):
        nnx.hvp(lambda x: nnx.namespace_of(x).sum(x * x), (F64,), tangents)


@pytest.mark.parametrize("tangent", [{"a": F64}, {"a": F64, "b": None, "c": F64}, [F64, None], F64], ids=str)
def test_a_tangent_of_another_structure(tangent):
    with pytest.raises(nnx.DifferentiationError, match="a dict with the keys 'a', 'b'; got"):
        nnx.jvp(lambda p: p["a"], ({"a": F64, "b": None},), (tangent,))
    with pytest.raises(nnx.DifferentiationError, match="None is None"):
        nnx.jvp(lambda p: p["a"], ({"a": F64, "b": None},), ({"a": F64, "b": F64},))


def test_primals_that_are_no_tuple():
    with pytest.raises(nnx.DifferentiationError, match="primals are a tuple"):
        nnx.jvp(lambda x: x, F64, (F64,))
    with pytest.raises(nnx.DifferentiationError, match="primals are a tuple"):
        nnx.hvp(lambda x: x, F64, (F64,))


def test_values_that_have_no_derivative():
    with pytest.raises(nnx.DTypeError, match="dtype int64: use has_aux=True"):
        nnx.jacobian(lambda x: nnx.namespace_of(x).argsort(x))(F64)
    with pytest.raises(nnx.DifferentiationError, match="answered a str"):
        nnx.jacobian(lambda x: [x, "text"])(F64)
    with pytest.raises(nnx.DifferentiationError, match=r"shape \(3,\)"):
        nnx.hessian(lambda x: x)(F64)
    with pytest.raises(nnx.DTypeError, match="dtype int64: expected a floating-point dtype"):
        nnx.jvp(lambda x: x, (np.arange(3),), (np.arange(3),))
    with pytest.raises(nnx.DTypeError, match="dtype complex128: answer its real and imaginary parts"):
        nnx.jacobian(lambda x: x * 1j)(F64)


def test_a_complex_value_of_real_numbers():
    value, pushed = nnx.jvp(lambda x: x * x * 1j, (F64,), (F64,))
    assert_allclose(value, F64 * F64 * 1j)
    assert_allclose(pushed, 2 * F64 * F64 * 1j)
