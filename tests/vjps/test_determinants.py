"""The derivatives of determinants, which exist where there is no inverse, against minors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx

RNG = np.random.default_rng(0)


def det(x):
    return nnx.namespace_of(x).linalg.det(x)


def minor(x, i, j):
    return np.delete(np.delete(x, i, 0), j, 1)


def by_minors(x):
    """The cofactors of ``x``."""
    n = range(len(x))
    return np.asarray([[(-1) ** (i + j) * np.linalg.det(minor(x, i, j)) for j in n] for i in n])


def by_minors_of_minors(x, w):
    """The derivative of Σ w ∘ cofactors."""
    n = range(len(x))
    if len(x) == 1:
        return np.zeros((1, 1))
    return np.asarray([[(-1) ** (i + j) * np.sum(by_minors(minor(x, i, j)) * minor(w, i, j)) for j in n] for i in n])


def with_values(values):
    n = len(values)
    left, right = (np.linalg.qr(RNG.normal(size=(n, n)))[0] for _ in range(2))
    return (left * values) @ right


MATRICES = {
    "regular": RNG.normal(size=(4, 4)),
    "one row": np.ones((1, 1)),
    "zero of one row": np.zeros((1, 1)),
    "zero of two": np.zeros((2, 2)),
    "zero of three": np.zeros((3, 3)),
    "zero of four": np.zeros((4, 4)),
    "a row of zeros": np.asarray([[0.0, 0, 0], [1, 2, 3], [4, 5, 7]]),
    "two rows alike": np.asarray([[1.0, 2, 3], [1, 2, 3], [4, 5, 7]]),
    "rank one": np.ones((4, 4)),
    "singular but for rounding": np.arange(1.0, 10).reshape(3, 3),
    "of a path": np.diag([1.0, 2, 2, 2, 1]) - np.diag(np.ones(4), 1) - np.diag(np.ones(4), -1),
    "one value 0": with_values([2.0, 1, 0.5, 0.7, 0]),
    "two values 0": with_values([2.0, 1, 0.5, 0, 0]),
    "three values 0": with_values([2.0, 1, 0, 0, 0]),
    "one value near 0": with_values([2.0, 1, 0.5, 0.7, 1e-11]),
    "two values near 0": with_values([2.0, 1, 0.5, 1e-11, 3e-11]),
    "tiny": np.arange(1.0, 10).reshape(3, 3) * 1e-20,
    "huge": np.arange(1.0, 10).reshape(3, 3) * 1e20,
}


@pytest.mark.parametrize("name", MATRICES)
def test_first_and_second_order_wherever_there_is_an_inverse_or_none(name, make):
    x, w = MATRICES[name], np.cos(np.arange(MATRICES[name].size)).reshape(MATRICES[name].shape)
    size, n = np.max(np.abs(x)) or 1.0, len(x)
    first = nnx.grad(det)
    g = first(make(x, "float64"))
    assert_allclose(nnx.to_numpy(g), by_minors(x), rtol=1e-11, atol=1e-13 * size ** (n - 1))
    second = nnx.grad(lambda x: nnx.namespace_of(x).sum(first(x) * make(w, "float64")))(make(x, "float64"))
    assert_allclose(nnx.to_numpy(second), by_minors_of_minors(x, w), rtol=1e-9, atol=1e-11 * size ** max(n - 2, 0))


@pytest.mark.parametrize("name", ["regular", "two rows alike", "rank one", "two values near 0"])
def test_the_same_in_complex_numbers(name, make):
    x, w = MATRICES[name] * np.exp(0.4j), np.exp(1j * np.arange(MATRICES[name].size)).reshape(MATRICES[name].shape)
    (g,) = nnx.vjp(det, make(x, "complex128"))[1](make(1j, "complex128"))
    assert_allclose(nnx.to_numpy(g), 1j * by_minors(x), rtol=1e-11, atol=1e-13)
    cofactors = lambda x: nnx.vjp(det, x)[1](nnx.namespace_of(x).ones_like(x[0, 0]))[0]  # noqa: E731
    (second,) = nnx.vjp(cofactors, make(x, "complex128"))[1](make(w, "complex128"))
    assert_allclose(nnx.to_numpy(second), by_minors_of_minors(x, w), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["two rows alike", "zero of two", "zero of three", "rank one of three"])
def test_third_order_at_a_singular_matrix(name, make):
    """det(X + t C) is a polynomial in t, whose coefficient of t³ is det(C)."""
    x = np.ones((3, 3)) if name == "rank one of three" else MATRICES[name]
    change = RNG.normal(size=x.shape)
    f = lambda t: det(t * make(change, "float64") + make(x, "float64"))  # noqa: E731
    third = nnx.grad(nnx.grad(nnx.grad(f)))(make(0.0, "float64"))
    assert_allclose(nnx.to_numpy(third), 6 * np.linalg.det(change) if len(x) == 3 else 0, rtol=1e-9, atol=1e-9)


def test_singular_matrices_beside_others_in_one_batch(make):
    names = ["two rows alike", "a row of zeros", "zero of three", "singular but for rounding"]
    x = np.stack([np.diag([1.0, 2, 3]), *(MATRICES[name] for name in names), np.diag([1e12, 1e-12, 1.0])])
    g = nnx.grad(lambda x: nnx.namespace_of(x).sum(det(x)))(make(x, "float64"))
    assert_allclose(nnx.to_numpy(g), [by_minors(each) for each in x], rtol=1e-11, atol=1e-13)


def test_scales_apart_are_not_singular(make):
    """Condition 1e24, but every element of the cofactors has its digits."""
    x = np.diag([1e12, 1e-12, 3.0])
    g = nnx.grad(det)(make(x, "float64"))
    assert_allclose(np.diag(nnx.to_numpy(g)), [3e-12, 3e12, 1.0], rtol=1e-14)
    second = nnx.grad(lambda x: nnx.grad(det)(x)[0, 0])(make(x, "float64"))
    assert_allclose(np.diag(nnx.to_numpy(second)), [0, 3.0, 1e-12], rtol=1e-14, atol=1e-30)


def test_float32_stays_float32(make, assert_kept):
    for name in ("regular", "two rows alike"):
        assert_kept(det, make(MATRICES[name]))
        g = nnx.grad(det)(make(MATRICES[name]))
        assert_allclose(nnx.to_numpy(g), by_minors(MATRICES[name].astype("float32")), rtol=2e-5, atol=2e-6)


@pytest.mark.filterwarnings("ignore:invalid value encountered in det")  # NumPy's own
def test_not_a_number_stays_so(make):
    g = nnx.grad(det)(make([[1.0, np.nan], [2.0, 4.0]]))
    assert np.all(np.isnan(nnx.to_numpy(g)))


@pytest.mark.parametrize("shape", [(0, 0), (0, 3, 3), (2, 0, 0)])
def test_of_nothing(shape, make):
    g = nnx.grad(lambda x: nnx.namespace_of(x).sum(det(x)))(make(np.zeros(shape)))
    assert g.shape == shape


@pytest.mark.parametrize("name", ["regular", "two rows alike", "rank one", "singular but for rounding", "two values 0"])
def test_under_a_compiler(name):
    jax = pytest.importorskip("jax")
    x, first = MATRICES[name], nnx.grad(det)
    second = nnx.grad(lambda x: nnx.namespace_of(x).sum(first(x) ** 2))
    for f in (first, second):
        assert_allclose(jax.jit(f)(jax.numpy.asarray(x)), f(x), rtol=1e-9, atol=1e-11)


def test_the_sign_of_a_real_matrix_is_constant(make):
    x = make([[1.0, 2.0], [3.0, 4.0]])
    assert_array_equal(nnx.to_numpy(nnx.grad(lambda x: nnx.namespace_of(x).linalg.slogdet(x)[0])(x)), np.zeros((2, 2)))


def test_the_logarithm_has_the_inverse(make):
    x = np.asarray([[1.0, 2.0], [3.0, 4.0]])
    g = nnx.grad(lambda x: nnx.namespace_of(x).linalg.slogdet(x).logabsdet)(make(x, "float64"))
    assert_allclose(nnx.to_numpy(g), np.linalg.inv(x).T, rtol=1e-12)


def test_the_logarithm_has_no_derivative_at_a_singular_matrix():
    with pytest.raises(np.linalg.LinAlgError, match="[Ss]ingular"):
        nnx.grad(lambda x: nnx.namespace_of(x).linalg.slogdet(x)[1])(np.ones((2, 2)))
