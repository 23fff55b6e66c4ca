"""Decompositions of matrices where values are equal or 0, and their options: the conventions of the chapter."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx

RNG = np.random.default_rng(1)
WEIGHTS = RNG.normal(size=(5, 5))


def orthogonal(n):
    return np.linalg.qr(RNG.normal(size=(n, n)))[0]


def with_eigenvalues(*values):
    v = orthogonal(len(values))
    return (v * np.asarray(values)) @ v.T


def with_singular_values(rows, columns, *values):
    middle = np.zeros((rows, columns))
    np.fill_diagonal(middle, values)
    return orthogonal(rows) @ middle @ orthogonal(columns)


def total(f):
    """Σ w f(linalg, x), for fixed numbers w."""

    def scalar(x):
        xp = nnx.namespace_of(x)
        y = f(xp.linalg, x)
        w = xp.asarray(np.cos(np.arange(prod(y.shape))).reshape(y.shape).tolist(), dtype=y.dtype, device=y.device)
        return xp.sum(y * w)

    return scalar


def assert_slopes(f, x, make, *, changes=None, rtol=1e-6):
    """That the gradient of ``total(f)`` has the slopes of finite differences, along the rows of ``changes``."""
    f = total(f)
    g, step = nnx.to_numpy(nnx.grad(f)(make(x, "float64"))), 1e-6
    assert np.all(np.isfinite(g))
    for change in RNG.normal(size=(3, *x.shape)) if changes is None else changes:
        ahead, behind = (float(f(make(x + s * change, "float64"))) for s in (step, -step))
        assert_allclose(np.sum(g * change), (ahead - behind) / (2 * step), rtol=rtol, atol=1e-7)


def symmetric_changes(n):
    changes = RNG.normal(size=(3, n, n))
    return changes + np.swapaxes(changes, -1, -2)


# --- eigenvalues that are equal ---------------------------------------------------------------

REPEATED = {
    "by rounding apart": with_eigenvalues(1.0, 1.0, 1.0, 3.0, 3.0),
    "equal": np.diag([1.0, 1.0, 1.0, 3.0, 3.0]),
    "one": np.eye(5),
    "zero": np.zeros((5, 5)),
}


@pytest.mark.parametrize("name", REPEATED)
def test_a_function_of_equal_eigenvalues(name, make):
    x = REPEATED[name]
    values, v = np.linalg.eigh(x)
    g = nnx.grad(lambda x: (xp := nnx.namespace_of(x)).sum(xp.exp(xp.linalg.eigvalsh(x))))(make(x, "float64"))
    assert_allclose(nnx.to_numpy(g), (v * np.exp(values)) @ v.T, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["by rounding apart", "equal"])
def test_the_projector_onto_the_space_of_equal_eigenvalues(name, make):
    def projector(linalg, x):
        v = linalg.eigh(x).eigenvectors[:, :3]
        return v @ linalg.matrix_transpose(v)

    assert_slopes(projector, REPEATED[name], make, changes=symmetric_changes(5))


def test_what_gradients_by_values_and_vectors_cannot_tell(make):
    """exp of a matrix at 1: its derivative by W is e W, of which only the diagonal is in the gradients."""

    def loss(x):
        xp = nnx.namespace_of(x)
        values, v = xp.linalg.eigh(x)
        return xp.sum(v * xp.exp(values) @ xp.matrix_transpose(v) * make(WEIGHTS, "float64"))

    assert_allclose(
        nnx.to_numpy(nnx.grad(loss)(make(np.eye(5), "float64"))), np.e * np.diag(np.diag(WEIGHTS)), rtol=1e-12
    )


def test_the_second_derivative_of_the_sum_of_equal_eigenvalues(make):
    """The first is the projector onto their space, which has a derivative."""
    largest = lambda x: nnx.namespace_of(x).sum(nnx.namespace_of(x).linalg.eigvalsh(x)[3:])  # noqa: E731
    assert_slopes(lambda linalg, x: nnx.grad(largest)(x), REPEATED["equal"], make, changes=symmetric_changes(5))


def test_the_gradient_of_eigh_is_symmetric(make):
    x = with_eigenvalues(-1.0, 0.5, 2.0)
    g = nnx.grad(total(lambda linalg, x: linalg.eigh(x)[1] ** 2))(make(x, "float64"))
    assert_allclose(nnx.to_numpy(g), nnx.to_numpy(g).T, atol=1e-13)


def test_equal_eigenvalues_of_a_general_matrix(make):
    g = nnx.grad(lambda x: (xp := nnx.namespace_of(x)).real(xp.sum(xp.linalg.eigvals(x) ** 2)))(
        make(np.eye(3), "float64")
    )
    assert_allclose(nnx.to_numpy(g), 2 * np.eye(3), rtol=1e-13)


def test_eigenvectors_of_a_general_matrix_keep_their_length(make):
    x = make(np.diag([1.0, -1.0, 2.5]) + 0.3 * WEIGHTS[:3, :3], "float64")
    g = nnx.grad(
        total(lambda linalg, x: nnx.namespace_of(x).sum(nnx.namespace_of(x).abs(linalg.eig(x)[1]) ** 2, axis=-2))
    )(x)
    assert_allclose(nnx.to_numpy(g), np.zeros((3, 3)), atol=1e-13)


# --- singular values that are equal, or 0 -----------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4)])
@pytest.mark.parametrize("values", [(2.0, 2.0, 2.0), (3.0, 1.5, 1.5)])
def test_the_polar_factor_where_singular_values_are_equal(shape, values, make):
    def polar(linalg, x):
        u, _, vh = linalg.svd(x, full_matrices=False)
        return u @ vh

    assert_slopes(polar, with_singular_values(*shape, *values), make)


def test_the_projector_onto_the_space_of_equal_singular_values(make):
    def projector(linalg, x):
        u = linalg.svd(x, full_matrices=False).U[:, :2]
        return u @ linalg.matrix_transpose(u)

    assert_slopes(projector, with_singular_values(4, 3, 3.0, 3.0, 1.0), make)


def test_the_projector_onto_what_a_matrix_of_low_rank_spans(make):
    """Along changes that leave the other singular values 0, and along others too: they are far from the first."""

    def projector(linalg, x):
        vh = linalg.svd(x, full_matrices=False).Vh[:2, :]
        return linalg.matrix_transpose(vh) @ vh

    assert_slopes(projector, with_singular_values(5, 4, 3.0, 1.0, 0.0, 0.0), make)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_singular_values_at_zero_have_the_derivative_zero(shape, make):
    for f in (lambda linalg, x: linalg.svdvals(x), lambda linalg, x: linalg.matrix_norm(x, ord="nuc")):
        assert_array_equal(nnx.to_numpy(nnx.grad(total(f))(make(np.zeros(shape)))), np.zeros(shape))


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4)])
def test_equal_singular_values(shape, make):
    x = with_singular_values(*shape, 2.0, 2.0, 2.0)
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    g = nnx.grad(lambda x: (xp := nnx.namespace_of(x)).sum(xp.linalg.svdvals(x) ** 2))(make(x, "float64"))
    assert_allclose(nnx.to_numpy(g), 4 * u @ vh, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("order", [2, -2, "nuc", "fro", 1, -1, np.inf, -np.inf])
def test_a_matrix_norm_has_zero_at_zero(order, make):
    g = nnx.grad(lambda x: nnx.namespace_of(x).linalg.matrix_norm(x, ord=order))(make(np.zeros((2, 3))))
    assert_array_equal(nnx.to_numpy(g), np.zeros((2, 3)))


def test_the_nuclear_norm_of_a_matrix_of_low_rank(make):
    g = nnx.grad(lambda x: nnx.namespace_of(x).linalg.matrix_norm(x, ord="nuc"))(make(np.diag([3.0, 0.0, 2.0])))
    assert_array_equal(nnx.to_numpy(g), np.diag([1.0, 0.0, 1.0]))


def test_equal_largest_singular_values_share_the_gradient(make):
    g = nnx.grad(lambda x: nnx.namespace_of(x).linalg.matrix_norm(x, ord=2))(make(np.diag([2.0, 2.0, 1.0])))
    assert_allclose(nnx.to_numpy(g), np.diag([0.5, 0.5, 0.0]), atol=1e-7)


@pytest.mark.parametrize("order", [2, "nuc"])
def test_norms_of_matrices_without_elements(order, make):
    for shape in ((0, 0), (0, 3), (2, 0, 3)):
        g = nnx.grad(lambda x: nnx.namespace_of(x).sum(nnx.namespace_of(x).linalg.matrix_norm(x, ord=order)))(
            make(np.zeros(shape))
        )
        assert g.shape == shape


def test_an_order_that_matrices_have_not():
    with pytest.raises(nnx.ArgumentError, match="'nuc', 1, -1, 2, -2, inf or -inf, got 3"):
        nnx.grad(lambda x: nnx.namespace_of(x).linalg.matrix_norm(x, ord=3))(np.eye(2))


# --- vectors that complete others -------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (2, 3, 2)])
def test_singular_values_of_a_full_decomposition(shape, make):
    x = RNG.normal(size=shape)
    full, thin = (nnx.grad(total(lambda linalg, x, f=f: linalg.svd(x, full_matrices=f).S ** 2)) for f in (True, False))
    assert_allclose(nnx.to_numpy(full(make(x, "float64"))), nnx.to_numpy(thin(make(x, "float64"))), rtol=1e-12)
    second = [nnx.grad(lambda x, g=g: nnx.namespace_of(x).sum(g(x) ** 3))(make(x, "float64")) for g in (full, thin)]
    assert_allclose(nnx.to_numpy(second[0]), nnx.to_numpy(second[1]), rtol=1e-9)


@pytest.mark.parametrize(("shape", "lost", "kept"), [((4, 2), "U", "Vh"), ((2, 4), "Vh", "U")])
def test_the_added_vectors_of_a_full_decomposition(shape, lost, kept, make):
    x = make(RNG.normal(size=shape), "float64")
    with pytest.raises(
        nnx.MissingRuleError, match=f"adds vectors to {lost} of a matrix of {shape[0]} rows.*full_matrices=False"
    ):
        nnx.grad(total(lambda linalg, x: getattr(linalg.svd(x), lost) ** 2))(x)
    full, thin = (
        nnx.grad(total(lambda linalg, x, f=f: getattr(linalg.svd(x, full_matrices=f), kept) ** 2))(x)
        for f in (True, False)
    )
    assert_allclose(nnx.to_numpy(full), nnx.to_numpy(thin), rtol=1e-10, atol=1e-12)


def test_a_tall_complete_qr(make):
    x = make(RNG.normal(size=(4, 2)), "float64")
    with pytest.raises(nnx.MissingRuleError, match="4 rows and 2 columns: pass mode='reduced'"):
        nnx.grad(total(lambda linalg, x: linalg.qr(x, mode="complete").Q ** 2))(x)
    complete = nnx.grad(total(lambda linalg, x: linalg.qr(x, mode="complete").R[:2, :] ** 2))(x)
    reduced = nnx.grad(total(lambda linalg, x: linalg.qr(x).R ** 2))(x)
    assert_allclose(nnx.to_numpy(complete), nnx.to_numpy(reduced), rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 2), (2, 4)])
def test_a_complete_qr_of_no_more_rows_than_columns(shape, make):
    x = make(RNG.normal(size=shape), "float64")
    q = lambda linalg, x, **mode: linalg.qr(x, **mode).Q ** 2  # noqa: E731
    r = lambda linalg, x, **mode: linalg.qr(x, **mode).R  # noqa: E731
    for f in (q, r):
        complete = nnx.grad(total(lambda linalg, x, f=f: f(linalg, x, mode="complete")))(x)
        reduced = nnx.grad(total(f))(x)
        assert_allclose(nnx.to_numpy(complete), nnx.to_numpy(reduced), rtol=1e-12, atol=1e-14)


# --- pseudo-inverses --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4)])
def test_the_pseudo_inverse_of_a_matrix_of_low_rank(shape, make):
    """Along changes of its factors, which leave its rank."""
    left, right = RNG.normal(size=(shape[0], 2)), make(RNG.normal(size=(2, shape[1])), "float64")
    assert_slopes(lambda linalg, x: linalg.pinv(x @ right), left, make)
    assert_slopes(lambda linalg, x: linalg.pinv(x @ right, rtol=1e-6), left, make)
