"""What the functions of the ``linalg`` extension answer on every library: names, dtypes, nothing, orders, compilers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import nnx

RNG = np.random.default_rng(2)
VECTORS = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
X = (VECTORS * [-1.0, 0.6, 2.0]) @ VECTORS.T
CHANGE = RNG.normal(size=(3, 3))

RESULTS = {
    "eig": ("eigenvalues", "eigenvectors"),
    "eigh": ("eigenvalues", "eigenvectors"),
    "qr": ("Q", "R"),
    "slogdet": ("sign", "logabsdet"),
    "svd": ("U", "S", "Vh"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_keep_their_names_and_dtypes(name, make):
    x = make([[2.0, 0.5], [0.5, -1.0]])
    beneath = getattr(nnx.namespace_of(x).linalg, name)(x)

    def loss(x):
        found = getattr(nnx.namespace_of(x).linalg, name)(x)
        assert isinstance(found, type(beneath))
        for part, raw, field in zip(found, beneath, RESULTS[name], strict=True):
            assert getattr(found, field) is part
            assert (part.dtype, part.shape) == (raw.dtype, raw.shape)
        return nnx.namespace_of(x).sum(nnx.namespace_of(x).abs(found[0])), found

    g, _ = nnx.grad(loss, has_aux=True)(x)
    assert (g.dtype, g.shape) == (x.dtype, x.shape)


def test_matrices_of_one_dtype_keep_it(assert_kept, make):
    x = make([[3.0, 1.0], [0.5, 2.0], [1.0, -1.0]])
    for f in (
        lambda linalg, x: linalg.svd(x, full_matrices=False)[0],
        lambda linalg, x: linalg.qr(x)[1],
        lambda linalg, x: linalg.pinv(x),
        lambda linalg, x: linalg.svdvals(x),
        lambda linalg, x: linalg.matrix_norm(x, ord="nuc"),
        lambda linalg, x: linalg.eigh(linalg.matrix_transpose(x) @ x)[1],
        lambda linalg, x: linalg.eigvalsh(linalg.matrix_transpose(x) @ x),
        lambda linalg, x: linalg.slogdet(linalg.matrix_transpose(x) @ x)[1],
        lambda linalg, x: nnx.namespace_of(x).real(linalg.eigvals(x[:2, :])),
    ):
        assert_kept(lambda x, f=f: f(nnx.namespace_of(x).linalg, x), x)


EMPTY = {
    "cholesky": lambda linalg, x: linalg.cholesky(x),
    "eigh": lambda linalg, x: linalg.eigh(x)[1],
    "eigvals": lambda linalg, x: nnx.namespace_of(x).real(linalg.eigvals(x)),
    "pinv": lambda linalg, x: linalg.pinv(x),
    "qr": lambda linalg, x: linalg.qr(x)[0],
    "slogdet": lambda linalg, x: linalg.slogdet(x)[1],
    "svd": lambda linalg, x: linalg.svd(x)[2],
}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("shape", [(0, 0), (0, 2, 2), (2, 0, 0)])
def test_of_nothing(name, shape, make):
    g = nnx.grad(lambda x: nnx.namespace_of(x).sum(EMPTY[name](nnx.namespace_of(x).linalg, x)))(make(np.zeros(shape)))
    assert g.shape == shape


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (0, 2, 3)])
@pytest.mark.parametrize("name", ["pinv", "qr", "thin svd", "svdvals"])
def test_of_nothing_that_is_not_square(name, shape, make):
    def call(x):
        linalg = nnx.namespace_of(x).linalg
        if name == "thin svd":
            return linalg.svd(x, full_matrices=False)[0]
        return linalg.qr(x)[0] if name == "qr" else getattr(linalg, name)(x)

    g = nnx.grad(lambda x: nnx.namespace_of(x).sum(call(x)))(make(np.zeros(shape)))
    assert g.shape == shape


SQUARES = {
    "cholesky": lambda linalg, x: linalg.cholesky(x @ linalg.matrix_transpose(x)),
    "eig": lambda linalg, x: linalg.eig(x).eigenvectors,
    "eigh": lambda linalg, x: linalg.eigh(x).eigenvectors ** 2,
    "eigvals": lambda linalg, x: linalg.eigvals(x),
    "inv": lambda linalg, x: linalg.inv(x),
    "matrix_norm": lambda linalg, x: linalg.matrix_norm(x, ord=2),
    "matrix_power": lambda linalg, x: linalg.matrix_power(x, -2),
    "outer": lambda linalg, x: linalg.outer(x[0, ...], x[1, ...]),
    "pinv": lambda linalg, x: linalg.pinv(x),
    "qr": lambda linalg, x: linalg.qr(x).Q * linalg.qr(x).R,
    "slogdet": lambda linalg, x: linalg.slogdet(x).logabsdet,
    "solve": lambda linalg, x: linalg.solve(x, x[0, ...]),
    "svd": lambda linalg, x: linalg.svd(x).U ** 2 * linalg.svd(x).Vh ** 2,
    "vecdot": lambda linalg, x: linalg.vecdot(x, x[0, ...]),
    "vector_norm": lambda linalg, x: linalg.vector_norm(x),
}


def real(y):
    xp = nnx.namespace_of(y)
    return xp.abs(y) ** 2 if xp.isdtype(y.dtype, "complex floating") else y


@pytest.mark.parametrize("name", SQUARES)
def test_products_with_jacobians_and_hessians_on_every_backend(name, make):
    """The pull-back of a pull-back: its formulas meet raw arrays and tracked ones on either side of an operator."""
    x, v = X, CHANGE + CHANGE.T
    f = lambda x: real(SQUARES[name](nnx.namespace_of(x).linalg, x))  # noqa: E731
    scalar = lambda x: nnx.namespace_of(x).sum(f(x) ** 2)  # noqa: E731
    expected = nnx.jvp(f, (x,), (v,))[1], nnx.hvp(scalar, (x,), (v,))[0]
    primal, tangent = make(x, "float64"), make(v, "float64")
    found = nnx.jvp(f, (primal,), (tangent,))[1], nnx.hvp(scalar, (primal,), (tangent,))[0]
    for a, b in zip(found, expected, strict=True):
        assert_allclose(nnx.to_numpy(a), b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", SQUARES)
def test_second_order_under_a_compiler(name):
    jax = pytest.importorskip("jax")
    loss = lambda x: nnx.namespace_of(x).sum(real(SQUARES[name](nnx.namespace_of(x).linalg, x)) ** 2)  # noqa: E731
    second = nnx.grad(lambda x: nnx.namespace_of(x).sum(nnx.grad(loss)(x) ** 2))
    assert_allclose(jax.jit(second)(jax.numpy.asarray(X)), second(X), rtol=1e-8, atol=1e-8)
