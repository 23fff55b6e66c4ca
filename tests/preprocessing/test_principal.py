"""PCA and whitening."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.preprocessing import PCA, ZCA, Whiten, principal

RNG = np.random.default_rng(0)
MIX = RNG.standard_normal((6, 6))
X = RNG.standard_normal((50, 6)) * [5, 3, 2, 1, 0.5, 0.2] @ MIX + RNG.uniform(-10, 10, 6)
ALL = pytest.mark.parametrize("make_transform", [PCA, Whiten, ZCA])


@pytest.fixture(params=["svd", "covariance"])
def path(request, monkeypatch):
    """Both ways to the directions."""
    monkeypatch.setattr(principal, "WORK", 0 if request.param == "covariance" else 10**18)
    monkeypatch.setattr(principal, "TALL", 2)
    return request.param


def as_theirs(y, theirs):
    """``y`` with the signs of its columns turned to those of scikit-learn."""
    return y * np.where((y * theirs).sum(axis=0) < 0, -1, 1)


@st.composite
def data(draw):
    """A matrix whose singular values are apart, so that its directions are determined."""
    n, d = draw(st.integers(3, 40)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    u, _, vt = np.linalg.svd(rng.standard_normal((n, d)), full_matrices=False)
    centred = u - u.mean(axis=0)
    return centred * 2.0 ** -np.arange(u.shape[1]) @ vt + rng.uniform(-3, 3, d)


@given(x=data(), share=st.floats(0.05, 0.99), use_covariance=st.booleans())
def test_it_is_that_of_scikit_learn(x, share, use_covariance):
    decomposition = pytest.importorskip("sklearn.decomposition")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(principal, "WORK", 0 if use_covariance else 10**18)
        patch.setattr(principal, "TALL", 1)
        rank = min(len(x) - 1, x.shape[1])
        for components in (rank, 1, share):
            theirs = decomposition.PCA(components, svd_solver="full").fit(x)
            if abs(np.cumsum(theirs.explained_variance_ratio_) - share).min() < 1e-6:
                continue
            ours = PCA(components).fit(x)
            expected = theirs.transform(x)
            assert ours(x).shape == expected.shape
            np.testing.assert_allclose(as_theirs(ours(x), expected), expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(ours.variance, theirs.explained_variance_, rtol=1e-6, atol=1e-12)
            np.testing.assert_allclose(ours.inverse(ours(x)), theirs.inverse_transform(expected), rtol=1e-5, atol=1e-6)
        theirs = decomposition.PCA(1, whiten=True, svd_solver="full").fit(x)
        ours = Whiten(0.0, components=1).fit(x)
        expected = theirs.transform(x)
        np.testing.assert_allclose(as_theirs(ours(x), expected), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pca_turns_the_axes(path, dtype, make, device, xp):
    x = make(X, dtype)
    pca = PCA().fit(x)
    y = pca(x)
    assert y.dtype == getattr(xp, dtype)
    assert nnx.backend.device_of(y) == device
    rtol = 1e-3 if dtype == "float32" else 1e-8
    host = nnx.to_numpy(y).astype("float64")
    covariance = np.cov(host.T)
    np.testing.assert_allclose(np.diag(covariance), nnx.to_numpy(pca.variance), rtol=rtol)
    np.testing.assert_allclose(np.diag(covariance), np.linalg.eigvalsh(np.cov(X.T))[::-1], rtol=rtol)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=rtol * covariance[0, 0])
    d = nnx.to_numpy(pca.directions)
    np.testing.assert_allclose(d @ d.T, np.eye(6), atol=rtol)
    np.testing.assert_allclose(nnx.to_numpy(pca.inverse(y)), X, atol=1e-4 if dtype == "float32" else 1e-10)
    np.testing.assert_allclose(nnx.to_numpy(pca.ratio).sum(), 1, rtol=1e-6)


def test_directions_have_the_same_signs_on_every_backend(path, make):
    ours, reference = PCA().fit(make(X, "float64")), PCA().fit(X)
    np.testing.assert_allclose(nnx.to_numpy(ours.directions), reference.directions, rtol=1e-6, atol=1e-9)
    largest = np.abs(reference.directions).argmax(axis=1)
    assert (reference.directions[np.arange(6), largest] > 0).all()


@pytest.mark.parametrize("components", [1, 3, 6, 0.5, 0.9, 0.999])
def test_components_that_are_kept(components, make):
    full = PCA().fit(X)
    pca = PCA(components).fit(make(X, "float64"))
    shares = np.cumsum(full.ratio)
    kept = components if isinstance(components, int) else int((shares <= components).sum()) + 1
    assert pca.directions.shape == (kept, 6)
    assert components == kept or shares[kept - 1] > components
    assert kept == 1 or components == kept or shares[kept - 2] <= components
    np.testing.assert_allclose(nnx.to_numpy(pca.ratio), full.ratio[:kept], rtol=1e-8)
    # what is lost is the variance of the directions that were dropped
    lost = X - nnx.to_numpy(pca.inverse(pca(make(X, "float64"))))
    np.testing.assert_allclose((lost**2).sum() / 49, full.variance[kept:].sum(), rtol=1e-6, atol=1e-12)


def test_fewer_examples_than_features(make):
    x = X[:4]
    y = nnx.to_numpy(PCA().fit_transform(make(x, "float64")))
    assert y.shape == (4, 4)
    np.testing.assert_allclose(y @ y.T, (x - x.mean(axis=0)) @ (x - x.mean(axis=0)).T, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("make_transform", [Whiten, ZCA])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whitened_data_have_no_correlation(make_transform, dtype, path, make):
    x = make(X, dtype)
    transform = make_transform(0.0).fit(x)
    y = nnx.to_numpy(transform(x)).astype("float64")
    tolerance = 2e-3 if dtype == "float32" else 1e-7
    np.testing.assert_allclose(np.cov(y.T), np.eye(6), atol=tolerance)
    np.testing.assert_allclose(nnx.to_numpy(transform.inverse(transform(x))), X, atol=2e-4)


def test_the_fudge_factor_is_that_of_the_formula(make):
    values, vectors = np.linalg.eigh(np.cov(X.T))
    values, vectors = values[::-1], vectors[:, ::-1]
    expected = (X - X.mean(axis=0)) @ vectors / np.sqrt(values + 0.5)
    y = nnx.to_numpy(Whiten(0.5).fit_transform(make(X, "float64")))
    np.testing.assert_allclose(as_theirs(y, expected), expected, rtol=1e-8, atol=1e-9)
    z = nnx.to_numpy(ZCA(0.5).fit_transform(make(X, "float64")))
    np.testing.assert_allclose(z, expected @ vectors.T, rtol=1e-8, atol=1e-9)


def test_zca_is_the_whitening_closest_to_the_data():
    """Of all rotations of white data; the inverse square root of the covariance is symmetric."""
    y, z = Whiten(0.0).fit_transform(X), ZCA(0.0).fit_transform(X)
    centred = X - X.mean(axis=0)
    rotation, _ = np.linalg.qr(RNG.standard_normal((6, 6)))
    for other in (y, y @ rotation, z @ rotation):
        assert ((z - centred) ** 2).sum() < ((other - centred) ** 2).sum()
    matrix = np.linalg.lstsq(centred, z, rcond=None)[0]
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-8)


@ALL
def test_it_does_not_depend_on_the_backend(make_transform, path, make):
    transform, reference = make_transform().fit(make(X)), make_transform().fit(X.astype("float32"))
    new = RNG.normal(0, 5, (7, 6))
    np.testing.assert_allclose(
        nnx.to_numpy(transform(make(new))), reference(new.astype("float32")), rtol=1e-2, atol=1e-2
    )


@ALL
def test_its_gradient(make_transform, device):
    transform = make_transform().fit(nnx.asarray(X, device=device, dtype="float64"))
    nnx.testing.check_gradients(lambda x: transform(x), X, device=device)


# --- data that cannot be whitened ---------------------------------------------------------------

CONSTANT = np.concatenate([X, np.full((50, 1), 0.1)], axis=1)
DETERMINED = np.concatenate([X, X[:, :1] - 2 * X[:, 1:2]], axis=1)
WHITENING = pytest.mark.parametrize("make_transform", [Whiten, ZCA])


@WHITENING
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x", [CONSTANT, DETERMINED, X[:5]], ids=["constant", "determined", "few"])
def test_without_a_fudge_factor_every_direction_must_vary(make_transform, x, dtype, path, make):
    rank = 4 if len(x) == 5 else 6
    message = (
        rf"with epsilon=0: {rank} of {min(x.shape)} directions .* give it an epsilon, or components={rank} at most"
    )
    with pytest.raises(nnx.ArgumentError, match=message):
        make_transform(0.0).fit(make(x, dtype))
    make_transform().fit(make(x, dtype))
    assert Whiten(0.0, components=rank).fit(make(x, dtype)).directions.shape[0] == rank


def test_a_constant_feature_becomes_zero_with_one(path, make):
    x = make(CONSTANT, "float64")
    y, z = (nnx.to_numpy(transform.fit_transform(x)) for transform in (Whiten(), ZCA()))
    np.testing.assert_allclose(y[:, 6], 0, atol=1e-9)
    np.testing.assert_allclose(z[:, 6], 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(y.T), np.diag([1] * 6 + [0]), atol=5e-3)


@WHITENING
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
def test_features_that_are_all_constant(make_transform, dtype, epsilon, path, make):
    with pytest.raises(nnx.ArgumentError, match="cannot whiten features that are all constant"):
        make_transform(epsilon).fit(make(np.full((30, 3), 0.1), dtype))


def test_pca_of_constant_features(make):
    pca = PCA(0.5).fit(make(np.full((30, 3), 0.1)))
    assert nnx.to_numpy(pca.ratio).tolist() == [0]
    np.testing.assert_array_equal(nnx.to_numpy(pca(make(np.full((2, 3), 0.1)))), np.zeros((2, 1)))


@pytest.mark.parametrize(("components", "count"), [(7, 50), (5, 4)])
def test_too_few_features_or_examples(components, count, make):
    for transform in (PCA(components), Whiten(components=components)):
        with pytest.raises(nnx.ArgumentError, match=rf"cannot have {components} components: {count} examples of 6"):
            transform.fit(make(X[:count]))


@pytest.mark.parametrize("components", [0, -1, 1.0, 1.5, 0.0, -0.5, True, "2", float("nan")])
@pytest.mark.parametrize("make_transform", [PCA, lambda components: Whiten(components=components)])
def test_components_that_make_no_sense(components, make_transform):
    with pytest.raises(nnx.ArgumentError, match="components is a whole number of at least 1, a share of the variance"):
        make_transform(components)


@WHITENING
@pytest.mark.parametrize("epsilon", [-1e-5, float("nan"), "1"])
def test_fudge_factors_that_make_no_sense(make_transform, epsilon):
    with pytest.raises(nnx.ArgumentError, match="epsilon must be a finite number of at least 0"):
        make_transform(epsilon)


@ALL
@pytest.mark.parametrize("shape", [(1, 3), (4, 3, 2)])
def test_what_is_no_matrix_of_two_examples(make_transform, shape, make):
    with pytest.raises(nnx.ShapeError, match=r"expected a matrix \(examples, features\) of two examples or more"):
        make_transform().fit(make(np.ones(shape)))


@ALL
@pytest.mark.parametrize("shape", [(5, 5), (5, 7), (6,), (5, 6, 1)])
def test_the_wrong_number_of_features(make_transform, shape, make):
    transform = make_transform().fit(make(X))
    for call in (transform, transform.inverse):
        with pytest.raises(nnx.ShapeError, match=r"expected an array of shape \(examples, 6\), got"):
            call(make(np.zeros(shape)))


def test_the_inverse_takes_components(make):
    pca = PCA(2).fit(make(X))
    assert pca.inverse(make(np.zeros((3, 2)))).shape == (3, 6)
    with pytest.raises(nnx.ShapeError, match=r"shape \(examples, 2\), got \(3, 6\)"):
        pca.inverse(make(np.zeros((3, 6))))


def test_text():
    assert repr(PCA()) == "PCA()"
    assert repr(PCA(0.9)) == "PCA(0.9)"
    assert repr(Whiten(components=3)) == "Whiten(1e-05, components=3)"
    assert repr(ZCA(0.1)) == "ZCA(0.1)"
