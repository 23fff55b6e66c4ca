"""Center, Standardize and MinMax."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nnx
from nnx.preprocessing import Center, MinMax, Standardize

RNG = np.random.default_rng(0)
X = RNG.normal([0, 5, -100], [1, 0.1, 30], (40, 3))
IMAGES = RNG.uniform(0, 255, (6, 5, 4, 3))
TRANSFORMS = {"center": Center, "standardize": Standardize, "minmax": MinMax}
ALL = pytest.mark.parametrize("kind", TRANSFORMS.values(), ids=TRANSFORMS)
# not numbers that are next to each other: scikit-learn takes ranges of rounding errors to be constant
numbers = st.integers(-(10**7), 10**7).map(lambda n: n / 64)
matrices = hnp.arrays("float64", st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=numbers)


@given(x=matrices, y=matrices)
def test_they_are_those_of_scikit_learn(x, y):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    y = np.resize(y, (len(y), x.shape[1]))
    pairs = [
        (Standardize(), preprocessing.StandardScaler()),
        (Center(), preprocessing.StandardScaler(with_std=False)),
        (MinMax(), preprocessing.MinMaxScaler()),
        (MinMax(-1.0, 3.0), preprocessing.MinMaxScaler((-1, 3))),
    ]
    for ours, theirs in pairs:
        theirs.fit(x)
        size = 1e-9 * (1 + np.abs(theirs.transform(y)).max())
        np.testing.assert_allclose(ours.fit_transform(x), theirs.transform(x), rtol=1e-6, atol=size)
        np.testing.assert_allclose(ours(y), theirs.transform(y), rtol=1e-6, atol=size)
        np.testing.assert_allclose(ours.inverse(ours(y)), y, rtol=1e-6, atol=1e-8 * (1 + np.abs(x).max()))


@ALL
def test_what_they_do_to_the_features(kind, make):
    y = nnx.to_numpy(kind().fit_transform(make(X)))
    if kind is MinMax:
        np.testing.assert_array_equal(y.min(axis=0), 0)
        np.testing.assert_allclose(y.max(axis=0), 1, rtol=1e-6)
    else:
        np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(y.std(axis=0), 1 if kind is Standardize else X.std(axis=0), rtol=1e-5)


def test_a_range_of_ones_own(make):
    y = nnx.to_numpy(MinMax(-2.0, 5.0).fit_transform(make(X)))
    np.testing.assert_allclose(y.min(axis=0), -2)
    np.testing.assert_allclose(y.max(axis=0), 5, rtol=1e-6)


@ALL
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_there_and_back_on_every_backend(kind, dtype, make, device, xp):
    x = make(X, dtype)
    transform = kind().fit(x)
    y = transform.transform(x)
    assert y.dtype == getattr(xp, dtype)
    assert nnx.backend.device_of(y) == device
    expected = kind().fit_transform(X.astype(dtype))
    np.testing.assert_allclose(nnx.to_numpy(y), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(nnx.to_numpy(transform.inverse(y)), X, rtol=1e-5, atol=1e-5)


@ALL
def test_constant_features_become_zero(kind, make):
    """Also where the sum of equal numbers is not their multiple."""
    x = make(np.stack([np.full(1001, 0.1), np.full(1001, 1e6), np.full(1001, 1e-30)], axis=1))
    y = nnx.to_numpy(kind().fit_transform(x))
    np.testing.assert_array_equal(y, np.zeros((1001, 3)))


def test_features_too_small_to_be_squared(make):
    x = np.asarray([[1e-30], [3e-30], [2e-30]])
    np.testing.assert_allclose(
        nnx.to_numpy(Standardize().fit_transform(make(x))), (x - x.mean()) / x.std(), rtol=1e-5, atol=1e-6
    )


def test_long_columns_in_float32(make):
    """A sum of 200,000 numbers round 1000 is off by more than a number."""
    x = 1000 + np.random.default_rng(0).standard_normal((200_000, 1))
    transform = Standardize().fit(make(x))
    host = x.astype("float32").astype("float64")
    np.testing.assert_allclose(nnx.to_numpy(transform.mean), [[host.mean()]], rtol=1e-6)
    np.testing.assert_allclose(nnx.to_numpy(transform.scale), [[host.std()]], rtol=1e-4)


@ALL
@pytest.mark.parametrize("axis", [0, (0,), (0, 1, 2), (2, 0), (0, 1, 2, 3)])
def test_statistics_over_several_axes(kind, axis, make):
    transform = kind(axis=axis).fit(make(IMAGES, "float64"))
    axes = (axis,) if isinstance(axis, int) else axis
    first = IMAGES.min(axis=axes, keepdims=True) if kind is MinMax else IMAGES.mean(axis=axes, keepdims=True)
    scales = {
        Center: lambda: np.ones(1),
        Standardize: lambda: IMAGES.std(axis=axes, keepdims=True),
        MinMax: lambda: IMAGES.max(axis=axes, keepdims=True) - first,
    }
    expected = (IMAGES - first) / scales[kind]()
    np.testing.assert_allclose(nnx.to_numpy(transform(make(IMAGES, "float64"))), expected, rtol=1e-9, atol=1e-9)


def test_images_of_another_size_have_the_same_channels(make):
    transform = Standardize(axis=(0, 1, 2)).fit(make(IMAGES))
    assert transform(make(RNG.uniform(0, 255, (2, 9, 7, 3)))).shape == (2, 9, 7, 3)
    with pytest.raises(nnx.ShapeError, match=r"was fitted to shape \(\.\.\., \.\.\., \.\.\., 3\), got \(2, 9, 7, 1\)"):
        transform(make(np.zeros((2, 9, 7, 1))))


@ALL
def test_their_gradient(kind, device):
    transform = kind().fit(nnx.asarray(X, device=device, dtype="float64"))
    nnx.testing.check_gradients(lambda x: transform(x), X, device=device)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)])
def test_ranges_that_are_empty(low, high):
    with pytest.raises(nnx.ArgumentError, match="low < high"):
        MinMax(low, high)


@ALL
@pytest.mark.parametrize("axis", [1, (1, 2), (), -1, (0, -1), "0", 0.0, [0]])
def test_the_examples_are_among_the_axes(kind, axis):
    with pytest.raises(nnx.ArgumentError, match="axis is 0, the examples, or a tuple of axes that has 0 among them"):
        kind(axis=axis)


@ALL
def test_axes_that_there_are_not(kind, make):
    with pytest.raises(nnx.ShapeError, match=r"expected an array with an axis 2, got shape \(40, 3\)"):
        kind(axis=(0, 2)).fit(make(X))


@ALL
@pytest.mark.parametrize("shape", [(5, 2), (5, 4), (5,), (5, 3, 1), (5, 1)])
def test_the_wrong_number_of_features(kind, shape, make):
    transform = kind().fit(make(X))
    for call in (transform, transform.inverse):
        with pytest.raises(nnx.ShapeError, match=r"was fitted to shape \(\.\.\., 3\), got"):
            call(make(np.zeros(shape)))


def test_text():
    assert repr(Center()) == "Center()"
    assert repr(Standardize(axis=(0, 1, 2))) == "Standardize(axis=(0, 1, 2))"
    assert repr(MinMax(0, 2, axis=(0, 1))) == "MinMax(0.0, 2.0, axis=(0, 1))"
