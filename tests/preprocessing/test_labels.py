"""One-hot labels."""

from __future__ import annotations

import numpy as np
import pytest

import nnx
from nnx.preprocessing import OneHot, one_hot

LABELS = np.asarray([[2, 0, 1], [1, 1, 2]])


@pytest.mark.parametrize("ids", ["int8", "int32", "int64", "uint8"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_rows_of_zeros_and_a_one(ids, dtype, make, device, xp):
    y = one_hot(make(LABELS, ids), 4, dtype=dtype)
    assert y.dtype == getattr(xp, dtype)
    assert nnx.backend.device_of(y) == device
    np.testing.assert_array_equal(nnx.to_numpy(y), np.eye(4)[LABELS])


def test_more_classes_than_the_dtype_of_the_labels_has_numbers(make):
    np.testing.assert_array_equal(nnx.to_numpy(one_hot(make([3, 127], "int8"), 300)), np.eye(300)[[3, 127]])


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (5,)])
def test_any_shape(shape, make):
    assert one_hot(make(np.zeros(shape), "int64"), 2).shape == (*shape, 2)


def test_it_is_what_a_loss_takes_for_probabilities(normal, make):
    logits, labels = normal(2, 3, 4), make(LABELS, "int64")
    a, b = (nnx.losses.cross_entropy(logits, target) for target in (labels, one_hot(labels, 4)))
    np.testing.assert_allclose(nnx.to_numpy(a), nnx.to_numpy(b), rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "text"), [([0, -1], "from -1 to 0"), ([4, 1], "from 1 to 4"), ([-128], "from -128")]
)
def test_labels_out_of_range(labels, text, make):
    with pytest.raises(nnx.LabelError, match=rf"labels from 0 to 3 were expected, got labels {text}"):
        one_hot(make(labels, "int8"), 4)


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_labels_are_integers(dtype, make):
    for call in (lambda x: one_hot(x, 2), OneHot().fit):
        with pytest.raises(nnx.DTypeError, match=r"labels are integers, got dtype .*: cast them"):
            call(make([0, 1], dtype))
        with pytest.raises(nnx.DTypeError, match="labels are an array of integers, got a list"):
            call([0, 1])


def test_dtypes_that_there_are_not(make):
    for call in (lambda: one_hot(make([0], "int64"), 2, dtype="float"), lambda: OneHot(dtype="float")):
        with pytest.raises(nnx.DTypeError, match="a dtype is a name of the Array API standard"):
            call()


@pytest.mark.parametrize("classes", [0, -1, 2.0, None])
def test_classes_there_must_be(classes, make):
    with pytest.raises(nnx.ArgumentError, match="classes must be a whole number of at least 1"):
        one_hot(make([0], "int64"), classes)


class TestOneHot:
    def test_a_column_for_each_label(self, make, device):
        labels = make([30, 10, 20, 10], "int32")
        encode = OneHot().fit(labels)
        y = encode(labels)
        assert nnx.backend.device_of(y) == device
        np.testing.assert_array_equal(nnx.to_numpy(encode.classes), [10, 20, 30])
        np.testing.assert_array_equal(nnx.to_numpy(y), np.eye(3)[[2, 0, 1, 0]])
        np.testing.assert_array_equal(nnx.to_numpy(encode.inverse(y)), [30, 10, 20, 10])
        assert encode.inverse(y).dtype == labels.dtype

    def test_it_is_that_of_scikit_learn(self):
        preprocessing = pytest.importorskip("sklearn.preprocessing")
        labels = np.random.default_rng(0).integers(0, 50, 30) * 3
        expected = preprocessing.LabelBinarizer().fit_transform(labels)
        np.testing.assert_array_equal(OneHot().fit_transform(labels), expected)

    def test_the_inverse_of_predictions(self, make):
        encode = OneHot().fit(make([5, 7], "int64"))
        scores = make([[[0.2, 0.8], [0.9, 0.1]]])
        np.testing.assert_array_equal(nnx.to_numpy(encode.inverse(scores)), [[7, 5]])

    def test_labels_that_it_does_not_know(self, make):
        encode = OneHot().fit(make([1, 3], "int64"))
        with pytest.raises(nnx.LabelError, match="was fitted to 2 labels, and got others among labels from 1 to 2"):
            encode(make([1, 2], "int64"))

    def test_negative_labels(self, make):
        with pytest.raises(nnx.LabelError, match="labels of 0 or more were expected, got labels from -1 to 3"):
            OneHot().fit(make([3, -1], "int64"))

    def test_no_labels(self, make):
        with pytest.raises(nnx.ShapeError, match="expected at least one label"):
            OneHot().fit(make([], "int64"))

    def test_before_it_is_fitted(self, make):
        for call in (OneHot(), OneHot().inverse):
            with pytest.raises(nnx.StateError, match=r"OneHot\(\) is not fitted yet"):
                call(make([1], "int64"))

    def test_rows_of_another_length(self, make):
        with pytest.raises(nnx.ShapeError, match=r"expected an array of shape \(\.\.\., 2\), got"):
            OneHot().fit(make([1, 3], "int64")).inverse(make(np.zeros((4, 3))))

    def test_text_and_dtype(self, make, xp):
        encode = OneHot(dtype="float64")
        assert repr(encode) == "OneHot(dtype='float64')"
        assert encode.fit_transform(make([1], "int64")).dtype == xp.float64
