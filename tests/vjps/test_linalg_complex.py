"""Gradients of linear algebra by complex matrices, in JAX's convention: those of ``jax.vjp`` of JAX's own functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import nnx

jax = pytest.importorskip("jax")


class Function(NamedTuple):
    """A function of arrays of these shapes, in which "real" says that an array is not complex."""

    call: Callable
    shapes: tuple
    kinds: tuple = ()


def adjoint(xp, x):
    return xp.conj(xp.matrix_transpose(x))


def hermitian(xp, x):
    return (x + adjoint(xp, x)) * 0.5


def square(xp, x):
    """Positive definite."""
    product = x @ adjoint(xp, x)
    return product + xp.linalg.matrix_power(product, 0)


def of_svd(pick):
    return lambda xp, x: pick(xp, *xp.linalg.svd(x, full_matrices=False))


def weighted(xp, vectors, others):
    """Σ wⱼ vⱼ oⱼᴴ: what does not depend on the phases of the vectors."""
    products = (vectors[:, j : j + 1] @ adjoint(xp, others[:, j : j + 1]) for j in range(vectors.shape[-1]))
    return sum(w * product for w, product in zip([1.0, -0.6, 1.7], products, strict=False))


SQUARE, MATRIX = ((2, 3, 3),), ((3, 2),)
FUNCTIONS = {
    "matmul": Function(lambda xp, a, b: xp.matmul(a, b), ((2, 3, 2), (2, 4))),
    "matmul of a real matrix": Function(lambda xp, a, b: xp.matmul(a, b), ((3, 2), (2, 4)), ("real", "complex")),
    "matmul by a real vector": Function(lambda xp, a, b: xp.matmul(a, b), ((3, 2), (2,)), ("complex", "real")),
    "tensordot": Function(lambda xp, a, b: xp.tensordot(a, b, axes=2), ((2, 3, 2), (3, 2, 4))),
    "vecdot": Function(lambda xp, a, b: xp.vecdot(a, b), ((2, 3), (3,))),
    "vecdot of a real array": Function(lambda xp, a, b: xp.vecdot(a, b, axis=-1), ((3,), (2, 3)), ("real", "complex")),
    "matrix_transpose": Function(lambda xp, a: xp.matrix_transpose(a), MATRIX),
    "outer": Function(lambda xp, a, b: xp.linalg.outer(a, b), ((3,), (2,))),
    "cross": Function(lambda xp, a, b: xp.linalg.cross(a, b), ((2, 3), (3,))),
    "inv": Function(lambda xp, a: xp.linalg.inv(a), SQUARE),
    "solve": Function(lambda xp, a, b: xp.linalg.solve(a, b), ((3, 3), (3, 2))),
    "solve for a real vector": Function(lambda xp, a, b: xp.linalg.solve(a, b), ((3, 3), (3,)), ("complex", "real")),
    "det": Function(lambda xp, a: xp.linalg.det(a), SQUARE),
    "sign of slogdet": Function(lambda xp, a: xp.linalg.slogdet(a)[0], SQUARE),
    "logarithm of slogdet": Function(lambda xp, a: xp.linalg.slogdet(a)[1], SQUARE),
    "matrix_power": Function(lambda xp, a: xp.linalg.matrix_power(a, 3), SQUARE),
    "matrix_power below 0": Function(lambda xp, a: xp.linalg.matrix_power(a, -2), SQUARE),
    "trace": Function(lambda xp, a: xp.linalg.trace(a, offset=-1), MATRIX),
    "diagonal": Function(lambda xp, a: xp.linalg.diagonal(a, offset=-1), MATRIX),
    "cholesky": Function(lambda xp, a: xp.linalg.cholesky(square(xp, a)), SQUARE),
    "upper cholesky": Function(lambda xp, a: xp.linalg.cholesky(square(xp, a), upper=True), SQUARE),
    "pinv of tall": Function(lambda xp, a: xp.linalg.pinv(a), MATRIX),
    "pinv of wide": Function(lambda xp, a: xp.linalg.pinv(a), ((2, 3),)),
    "Q": Function(lambda xp, a: xp.linalg.qr(a)[0], MATRIX),
    "R": Function(lambda xp, a: xp.linalg.qr(a)[1], MATRIX),
    "Q of wide": Function(lambda xp, a: xp.linalg.qr(a)[0], ((2, 4),)),
    "R of wide": Function(lambda xp, a: xp.linalg.qr(a)[1], ((2, 4),)),
    "eigvalsh": Function(lambda xp, a: xp.linalg.eigvalsh(hermitian(xp, a)), SQUARE),
    "eigh": Function(
        lambda xp, a: (lambda w, v: weighted(xp, v * xp.exp(w), v))(*xp.linalg.eigh(hermitian(xp, a))), ((3, 3),)
    ),
    "eigvalsh of a product": Function(lambda xp, a: xp.linalg.eigvalsh(a @ adjoint(xp, a)), SQUARE),
    "eigvals": Function(lambda xp, a: xp.sum(xp.linalg.eigvals(a) ** 3, axis=-1), SQUARE),
    "eigvals of real": Function(lambda xp, a: xp.sum(xp.linalg.eigvals(a) ** 3, axis=-1), SQUARE, ("real",)),
    "svdvals": Function(lambda xp, a: xp.linalg.svdvals(a), ((2, 3, 2),)),
    "U": Function(of_svd(lambda xp, u, s, vh: weighted(xp, u, u)), MATRIX),
    "V": Function(of_svd(lambda xp, u, s, vh: weighted(xp, adjoint(xp, vh), adjoint(xp, vh))), ((2, 3),)),
    "U and V": Function(of_svd(lambda xp, u, s, vh: weighted(xp, u, adjoint(xp, vh))), ((3, 3),)),
    "all of svd": Function(of_svd(lambda xp, u, s, vh: weighted(xp, u * xp.exp(s), adjoint(xp, vh))), MATRIX),
    **{
        f"vector_norm {ord}": Function(lambda xp, a, o=ord: xp.linalg.vector_norm(a, ord=o, axis=-1), ((2, 3),))
        for ord in (2, 1, 3.5, -1, math.inf, -math.inf)
    },
    **{
        f"matrix_norm {ord}": Function(lambda xp, a, o=ord: xp.linalg.matrix_norm(a, ord=o), ((2, 3, 2),))
        for ord in ("fro", "nuc", 2, -2, 1, -1, math.inf, -math.inf)
    },
}


def drawn(rng, shape, kind="complex"):
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if kind == "complex" else x


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32))
def test_the_gradients_are_those_of_jax(name, seed):
    f, shapes, kinds = FUNCTIONS[name]
    rng = np.random.default_rng(seed)
    arrays = [drawn(rng, shape, kind) for shape, kind in zip(shapes, kinds or ("complex",) * len(shapes), strict=True)]
    theirs, their_pull = jax.vjp(lambda *arrays: f(jax.numpy, *arrays), *map(jax.numpy.asarray, arrays))
    y, pull = nnx.vjp(lambda *arrays: f(nnx.namespace_of(*arrays), *arrays), *arrays)
    assert y.dtype == theirs.dtype
    assert_allclose(y, theirs, rtol=1e-8, atol=1e-9)
    g = drawn(rng, y.shape, "complex" if y.dtype.kind == "c" else "real")
    for x, ours, expected in zip(arrays, pull(g), their_pull(jax.numpy.asarray(g)), strict=True):
        assert (ours.dtype, ours.shape) == (x.dtype, x.shape)
        scale = np.max(np.abs(expected))
        assert_allclose(ours, expected, rtol=1e-7, atol=1e-8 * (1 + scale))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_complex64_stays_complex64(name, make):
    f, shapes, kinds = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    names = {"complex": "complex64", "real": "float32"}
    hosts = [(drawn(rng, s, k), names[k]) for s, k in zip(shapes, kinds or ("complex",) * len(shapes), strict=True)]
    arrays = [make(host, dtype) for host, dtype in hosts]
    y, pull = nnx.vjp(lambda *arrays: f(nnx.namespace_of(*arrays), *arrays), *arrays)
    xp = nnx.namespace_of(y)
    assert y.dtype in (xp.complex64, xp.float32)
    for x, g in zip(arrays, pull(y), strict=True):
        assert (g.dtype, g.shape) == (x.dtype, x.shape)
        assert np.all(np.isfinite(nnx.to_numpy(g)))


def test_the_sign_of_a_complex_determinant_alone(make):
    """|sign| is 1, so that it has no gradient; the sign turns by the imaginary part of a change."""
    x = make(np.asarray([[1.0 + 1j, 2.0], [0.5j, 3.0]]), "complex128")
    size = nnx.grad(lambda x: nnx.namespace_of(x).abs(nnx.namespace_of(x).linalg.slogdet(x).sign) ** 2)(x)
    assert_allclose(nnx.to_numpy(size), np.zeros((2, 2)), atol=1e-15)
    turned = nnx.grad(lambda x: nnx.namespace_of(x).imag(nnx.namespace_of(x).linalg.slogdet(x).sign))(x)
    host = nnx.to_numpy(x)
    sign = np.linalg.slogdet(host)[0]
    assert_allclose(nnx.to_numpy(turned), -1j * sign.real * np.linalg.inv(host).T, rtol=1e-13)


@pytest.mark.parametrize("order", [2, 1, 3, math.inf, 0])
def test_norms_at_zero(order, make):
    zero = make(np.zeros((2, 3)), "complex64")
    g = nnx.grad(lambda x: nnx.namespace_of(x).linalg.vector_norm(x, ord=order))(zero)
    assert np.array_equal(nnx.to_numpy(g), np.zeros((2, 3)))


def test_the_gradient_of_a_hermitian_function_is_hermitian(make):
    x = drawn(np.random.default_rng(0), (3, 3))
    x = x @ x.conj().T + np.eye(3)
    for f in (
        lambda linalg, x: linalg.eigvalsh(x)[0],
        lambda linalg, x: nnx.namespace_of(x).abs(linalg.cholesky(x)[1, 0]),
    ):
        g = nnx.to_numpy(nnx.grad(lambda x, f=f: f(nnx.namespace_of(x).linalg, x))(make(x, "complex128")))
        assert_allclose(g, g.conj().T, atol=1e-13)
