"""Where the rules of the ``linalg`` extension have an edge: the conventions that the chapter states."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx


def gradient(f, x):
    """The gradient of Σ f(linalg, x)."""

    def scalar(x):
        xp = nnx.namespace_of(x)
        return xp.sum(f(xp.linalg, x))

    return nnx.grad(scalar)(x)


@pytest.mark.filterwarnings("ignore:divide by zero")  # NumPy's own, in 0 ** -2
@pytest.mark.parametrize("order", [2, 1, math.inf, -math.inf, 0, 0.5, 3, -2])
def test_a_norm_has_zero_at_zero(order, make):
    g = gradient(lambda linalg, x: linalg.vector_norm(x, ord=order), make([[0.0, 0.0], [0.0, 0.0]]))
    assert_array_equal(nnx.to_numpy(g), np.zeros((2, 2)))


@pytest.mark.parametrize("order", [2, 1, math.inf, 0.5, 3])
def test_a_line_of_zeros_leaves_the_others_as_they_are(order, make):
    x = [[0.0, 0.0], [3.0, -4.0]]
    norms = lambda linalg, x: linalg.vector_norm(x, axis=-1, ord=order)  # noqa: E731
    g, alone = gradient(norms, make(x)), gradient(norms, make(x[1:]))
    assert_allclose(nnx.to_numpy(g), [[0.0, 0.0], *nnx.to_numpy(alone)])


@pytest.mark.parametrize("order", [2, 3])
def test_the_second_derivative_of_a_norm_at_zero_is_finite(order):
    norm = lambda x: nnx.namespace_of(x).linalg.vector_norm(x, ord=order)  # noqa: E731
    second = nnx.grad(lambda x: nnx.namespace_of(x).sum(nnx.grad(norm)(x)))(np.zeros(3))
    assert np.all(np.isfinite(second))


def test_the_norm_of_order_zero_counts(make):
    g = gradient(lambda linalg, x: linalg.vector_norm(x, ord=0) + x * 0, make([1.0, 0.0, -2.0]))
    assert_array_equal(nnx.to_numpy(g), [0, 0, 0])


def test_equal_extremes_share_the_gradient(make):
    g = gradient(lambda linalg, x: linalg.vector_norm(x, ord=math.inf), make([2.0, -2.0, 1.0, 2.0]))
    assert_allclose(nnx.to_numpy(g), np.asarray([1, -1, 0, 1]) / 3, rtol=1e-6)
    x = make([[1.0, 3.0], [-4.0, 2.0]])
    g = gradient(lambda linalg, x: linalg.matrix_norm(x, ord=1), x)
    assert_array_equal(nnx.to_numpy(g), [[0.5, 0.5], [-0.5, 0.5]])
    g = gradient(lambda linalg, x: linalg.matrix_norm(x, ord=math.inf), x)
    assert_array_equal(nnx.to_numpy(g), [[0, 0], [-1, 1]])


@pytest.mark.parametrize("upper", [False, True])
def test_the_gradient_of_a_factor_is_symmetric(upper, make):
    x = np.asarray([[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 2.0]])
    weights = np.random.default_rng(0).normal(size=(3, 3))
    g = gradient(lambda linalg, x: linalg.cholesky(x, upper=upper) * make(weights, "float64"), make(x, "float64"))
    g = nnx.to_numpy(g)
    assert_allclose(g, g.T, rtol=1e-13)
    change, step = np.asarray([[1.0, 0.3, -0.2], [0.3, -1.0, 0.7], [-0.2, 0.7, 0.4]]), 1e-6
    factors = (np.linalg.cholesky(x + s * change, upper=upper) for s in (step, -step))
    plus, minus = (np.sum(weights * factor) for factor in factors)
    assert_allclose(np.sum(g * change), (plus - minus) / (2 * step), rtol=1e-7)


def test_what_is_off_a_diagonal_stays_zero(make):
    weights = make([math.nan, 1.0])
    g = gradient(lambda linalg, x: linalg.diagonal(x, offset=1) * weights, make(np.ones((3, 3))))
    assert_array_equal(nnx.to_numpy(g), [[0, math.nan, 0], [0, 0, 1], [0, 0, 0]])


@pytest.mark.parametrize("offset", [-3, -1, 0, 2, 3])
@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (0, 2)])
def test_the_trace_of_any_shape(shape, offset, make):
    g = gradient(lambda linalg, x: linalg.trace(x, offset=offset), make(np.ones(shape)))
    assert_array_equal(nnx.to_numpy(g), np.eye(*shape, k=offset))


def test_a_trace_in_integers_stops_the_gradient(make):
    def loss(x):
        xp = nnx.namespace_of(x)
        return xp.astype(xp.linalg.trace(x, dtype=xp.int64), x.dtype) * x[0, 0]

    assert_array_equal(nnx.to_numpy(nnx.grad(loss)(make([[1.0, 5.0], [5.0, 2.0]]))), [[3, 0], [0, 0]])


def test_matrices_of_one_dtype_keep_it(assert_kept, make):
    x, b = make([[3.0, 1.0], [0.5, 2.0]]), make([1.0, 2.0])
    for name in ("inv", "det", "diagonal", "trace", "vector_norm", "matrix_norm"):
        assert_kept(lambda x, name=name: getattr(nnx.namespace_of(x).linalg, name)(x), x)
    assert_kept(lambda x: nnx.namespace_of(x).linalg.vector_norm(x, ord=3.0), x)
    assert_kept(lambda x: nnx.namespace_of(x).linalg.cholesky(x @ nnx.namespace_of(x).matrix_transpose(x)), x)
    assert_kept(lambda x, b: nnx.namespace_of(x, b).linalg.solve(x, b), x, b)


def test_second_order_under_a_compiler():
    jax = pytest.importorskip("jax")

    def loss(x):
        xp = nnx.namespace_of(x)
        linalg, y = xp.linalg, x @ xp.matrix_transpose(x)
        parts = linalg.cholesky(y), linalg.solve(y, x), xp.cumulative_prod(x, axis=0), xp.diff(x), linalg.inv(y)
        return sum((xp.sum(part) for part in parts), linalg.det(y) + linalg.vector_norm(x) + xp.prod(x))

    def squared_slope(x):
        xp = nnx.namespace_of(x)
        return xp.sum(nnx.grad(loss)(x) ** 2)

    x = np.asarray([[2.0, 0.5, -0.3], [0.1, -1.5, 0.4], [0.7, 0.2, 1.8]])
    gradient = nnx.grad(squared_slope)
    assert_allclose(jax.jit(gradient)(jax.numpy.asarray(x)), gradient(x), rtol=1e-9)
