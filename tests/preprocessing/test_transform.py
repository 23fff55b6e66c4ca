"""What all transforms share: fitting, saving, moving, and what they refuse."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import nnx
from nnx.preprocessing import PCA, ZCA, Center, MinMax, OneHot, Standardize, Transform, Whiten

X = np.random.default_rng(0).normal(3, 2, (20, 4))
FITTED = {
    "center": Center,
    "standardize": Standardize,
    "minmax": lambda: MinMax(-1.0, 1.0),
    "pca": lambda: PCA(2),
    "whiten": Whiten,
    "zca": lambda: ZCA(0.1),
}
ALL = pytest.mark.parametrize("make_transform", FITTED.values(), ids=FITTED)


def test_every_transform_is_tried_here():
    kinds = {
        kind for kind in vars(nnx.preprocessing).values() if isinstance(kind, type) and issubclass(kind, Transform)
    }
    assert {type(make()) for make in FITTED.values()} | {OneHot, Transform} == kinds


@ALL
def test_the_ways_to_call_it_agree(make_transform, make):
    x = make(X)
    transform = make_transform()
    assert transform.fit(x) is transform
    expected = nnx.to_numpy(transform(x))
    np.testing.assert_array_equal(nnx.to_numpy(transform.transform(x)), expected)
    np.testing.assert_array_equal(nnx.to_numpy(make_transform().fit_transform(x)), expected)


@ALL
def test_new_data_are_transformed_by_what_was_learned(make_transform, make):
    x = make(X)
    transform = make_transform().fit(x)
    whole, part = nnx.to_numpy(transform(x)), nnx.to_numpy(transform(x[:1, :]))
    np.testing.assert_allclose(part, whole[:1], rtol=1e-4, atol=1e-5)
    assert transform(x[:0, :]).shape == (0, *whole.shape[1:])


@ALL
def test_what_it_learned_lies_where_the_data_lie(make_transform, make, device, xp):
    transform = make_transform().fit(make(X))
    assert list(transform.arrays()) == list(transform.state)
    for array in transform.arrays().values():
        assert nnx.backend.device_of(array) == device
        assert array.dtype == xp.float32


@ALL
def test_it_is_saved_as_weights_are(make_transform, make, device, tmp_path):
    transform = make_transform().fit(make(X))
    nnx.save_weights(tmp_path / "transform.safetensors", transform)
    other = make_transform().load(nnx.load_weights(tmp_path / "transform.safetensors"), device=device)
    for name, array in transform.arrays().items():
        np.testing.assert_array_equal(nnx.to_numpy(other.arrays()[name]), nnx.to_numpy(array))
    np.testing.assert_allclose(nnx.to_numpy(other(make(X))), nnx.to_numpy(transform(make(X))), rtol=1e-4, atol=1e-6)


def test_labels_are_saved_too(tmp_path):
    encode = OneHot().fit(np.asarray([3, 5]))
    nnx.save_weights(tmp_path / "labels.safetensors", encode)
    other = OneHot().load(nnx.load_weights(tmp_path / "labels.safetensors"))
    assert other(np.asarray([5])).tolist() == [[0, 1]]


@ALL
def test_it_moves_to_a_device(make_transform, make, device):
    transform = make_transform().fit(X.astype("float32"))
    expected = transform(X.astype("float32"))
    assert transform.to(device) is transform
    np.testing.assert_allclose(nnx.to_numpy(transform(make(X))), expected, rtol=1e-4, atol=1e-5)


@ALL
def test_it_stands_in_a_sequential(make_transform, make, device):
    transform = make_transform().fit(make(X))
    features = transform(make(X)).shape[1]
    model = nnx.Sequential(transform, nnx.Linear(features, 2, device=device))
    expected = nnx.to_numpy(model[1](transform(make(X))))
    np.testing.assert_array_equal(nnx.to_numpy(model(make(X))), expected)
    gradients = nnx.grad(lambda model, x: nnx.namespace_of(y := model(x)).sum(y * y))(model, make(X))
    assert list(gradients) == ["1.weight", "1.bias"]


@ALL
def test_before_it_is_fitted(make_transform, make):
    transform = make_transform()
    for call in (transform, transform.transform, transform.inverse):
        with pytest.raises(nnx.StateError, match=r"is not fitted yet: call fit\(x\) on the training data first"):
            call(make(X))
    with pytest.raises(nnx.StateError, match="is not fitted yet"):
        transform.arrays()


@ALL
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite(make_transform, bad, make):
    x = X.copy()
    x[3, 1] = bad
    with pytest.raises(nnx.ArgumentError, match="cannot be fitted to NaN or infinity"):
        make_transform().fit(make(x))


@ALL
def test_a_fit_that_fails_leaves_what_was_learned(make_transform, make):
    transform = make_transform().fit(make(X))
    before = nnx.to_numpy(transform(make(X)))
    with pytest.raises(nnx.ArgumentError):
        transform.fit(make(np.full_like(X, np.nan)))
    np.testing.assert_array_equal(nnx.to_numpy(transform(make(X))), before)


@ALL
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4,), ()])
def test_data_without_examples_or_features(make_transform, shape, make):
    with pytest.raises(nnx.ShapeError, match=r"expected an array of shape \(examples, features\), with at least one"):
        make_transform().fit(make(np.zeros(shape)))


@ALL
@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_data_of_integers(make_transform, dtype, make):
    x = make(np.abs(X), dtype)
    fitted = make_transform().fit(make(X))
    for call in (make_transform().fit, fitted, fitted.inverse):
        with pytest.raises(nnx.DTypeError, match=r"expected an array of real floats, got dtype .*: cast it"):
            call(x)
        with pytest.raises(nnx.DTypeError, match="expected an array, got list"):
            call([[1.0, 2.0, 3.0, 4.0]])


@ALL
def test_data_of_another_dtype(make_transform, make):
    transform = make_transform().fit(make(X))
    with pytest.raises(nnx.DTypeError, match=r"was fitted to dtype .*float32 and got .*float64: cast the array"):
        transform(make(X, "float64"))


@ALL
def test_data_of_another_library(make_transform, flags):
    for flag, other in pairwise(flags):
        transform = make_transform().fit(nnx.asarray(X, device=flag, dtype="float32"))
        with pytest.raises(nnx.MixedLibrariesError, match="two libraries"):
            transform(nnx.asarray(X, device=other, dtype="float32"))


def test_arrays_of_another_kind():
    with pytest.raises(nnx.StateError, match=r"Standardize\(\) has the arrays mean, scale, got minimum, span: load it"):
        Standardize().load(MinMax().fit(X).arrays())


def test_a_tracked_array_cannot_be_fitted_to():
    with pytest.raises(nnx.DifferentiationError, match="fit it before, outside the function that is differentiated"):
        nnx.grad(lambda x: nnx.namespace_of(x).sum(Center().fit_transform(x)))(X)


def test_a_base_class_says_what_is_missing(make):
    with pytest.raises(NotImplementedError, match="write _learn"):
        Transform().fit(make(X))
