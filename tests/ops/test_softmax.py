"""softmax, log_softmax and the cross-entropy of class ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nnx
from nnx.ops import log_softmax, softmax, softmax_cross_entropy
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)
X = rng.standard_normal((2, 4, 3))
IDS = np.asarray([[0, 2, 1, 1], [2, 2, 0, 1]])
BOTH = pytest.mark.parametrize("f", [softmax, log_softmax], ids=["softmax", "log_softmax"])


@BOTH
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_values_and_gradients_are_those_of_torch(f, axis, assert_as_torch):
    torch = pytest.importorskip("torch")
    theirs = torch.softmax if f is softmax else torch.log_softmax
    assert_as_torch(lambda x: f(x, axis=axis), lambda x: theirs(x, dim=axis), X)


@BOTH
@pytest.mark.parametrize("axis", [-1, 0])
def test_gradients_of_first_and_second_order(f, axis, device):
    check_gradients(lambda x: f(x, axis=axis), X[0], device=device)


@BOTH
def test_backends_agree(f, flags):
    check_backends(f, X.astype("float32"), backends=flags)


@BOTH
@pytest.mark.parametrize("shape", [(1,), (0, 3), (2, 3)])
def test_dtype_device_and_shape_are_kept(f, shape, normal, assert_kept):
    assert assert_kept(f, normal(*shape)).shape == shape


@given(x=hnp.arrays("float32", (3, 5), elements=st.floats(-1e4, 1e4, width=32)))
def test_softmax_is_a_distribution_and_log_softmax_its_logarithm(x):
    y = softmax(x)
    assert (y >= 0).all()
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_softmax(x)), y, rtol=1e-3, atol=1e-30)


def test_logits_of_ten_thousand(make):
    x = make([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
    np.testing.assert_allclose(nnx.to_numpy(softmax(x)), [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
    np.testing.assert_allclose(nnx.to_numpy(log_softmax(x))[0], [0, -2e4, -1e4])
    loss, pull = nnx.vjp(lambda x: softmax_cross_entropy(x, make([1, 2], "int64")), x)
    np.testing.assert_allclose(nnx.to_numpy(loss), [2e4, np.log(3)], rtol=1e-6)
    (gradient,) = pull(make([1, 1]))
    np.testing.assert_allclose(nnx.to_numpy(gradient), [[1, -1, 0], [1 / 3, 1 / 3, -2 / 3]], rtol=1e-6)


@pytest.mark.parametrize("mean", [False, True])
def test_cross_entropy_has_the_values_and_gradients_of_torch(mean, assert_as_torch):
    torch = pytest.importorskip("torch")

    def theirs(x, ids):
        reduction = "mean" if mean else "none"
        return torch.nn.functional.cross_entropy(x.movedim(-1, 1), ids, reduction=reduction)

    assert_as_torch(lambda x, ids: softmax_cross_entropy(x, ids, mean=mean), theirs, X, IDS)


@pytest.mark.parametrize("mean", [False, True])
def test_cross_entropy_gradients_of_first_and_second_order(mean, device):
    check_gradients(lambda x, ids: softmax_cross_entropy(x, ids, mean=mean), X, IDS, device=device)


@pytest.mark.parametrize("mean", [False, True])
def test_cross_entropy_on_all_backends(mean, flags):
    check_backends(lambda x, ids: softmax_cross_entropy(x, ids, mean=mean), X.astype("float32"), IDS, backends=flags)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_labels_of_any_integer_dtype(dtype, device, make):
    if device.backend.name == "torch" and dtype in {"uint16", "uint32", "uint64"}:
        pytest.skip("torch has few functions for these dtypes")
    x = make(X, "float64")
    expected = nnx.to_numpy(softmax_cross_entropy(x, make(IDS, "int64")))
    labels = make(IDS, dtype)
    value, pull = nnx.vjp(lambda x: softmax_cross_entropy(x, labels), x)
    np.testing.assert_allclose(nnx.to_numpy(value), expected, rtol=1e-12)
    assert np.isfinite(nnx.to_numpy(pull(value)[0])).all()


def test_more_classes_than_the_labels_dtype_can_count(make):
    x = make(rng.standard_normal((2, 300)), "float64")
    expected = nnx.to_numpy(softmax_cross_entropy(x, make([3, 44], "int64")))
    np.testing.assert_allclose(nnx.to_numpy(softmax_cross_entropy(x, make([3, 44], "int8"))), expected, rtol=1e-12)


def test_the_order_of_memory_does_not_matter():
    loss = nnx.value_and_grad(lambda x: softmax_cross_entropy(x, IDS[0], mean=True))
    value, gradient = loss(X[0])
    fortran_value, fortran_gradient = loss(np.asfortranarray(X[0]))
    np.testing.assert_allclose(fortran_value, value, rtol=1e-12)
    np.testing.assert_allclose(fortran_gradient, gradient, rtol=1e-12)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_a_label_out_of_range(labels, device, make):
    x, ids = make(X[0, :2]), make(labels, "int64")
    if device.backend.readable(ids):
        with pytest.raises(nnx.LabelError, match=f"from 0 to 2 were expected.*from {min(labels)} to {max(labels)}"):
            softmax_cross_entropy(x, ids)
    else:
        assert np.isnan(nnx.to_numpy(softmax_cross_entropy(x, ids))).sum() == 1


def test_under_a_compiler_a_label_out_of_range_is_nan():
    jax = pytest.importorskip("jax")
    loss = jax.jit(lambda x, ids: softmax_cross_entropy(x, ids))(X[0, :2], np.asarray([1, 3]))
    assert np.isnan(np.asarray(loss)).tolist() == [False, True]


def test_labels_of_another_byte_order():
    logits, ids = np.zeros((3, 3), np.float32), np.asarray([0, 2, 1])
    swapped = ids.astype(ids.dtype.newbyteorder())
    expected = nnx.ops.softmax_cross_entropy(logits, ids)
    np.testing.assert_array_equal(nnx.ops.softmax_cross_entropy(logits, swapped), expected)


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_labels_that_are_no_integers_are_refused(dtype, make):
    with pytest.raises(nnx.DTypeError, match=r"integer class ids were expected, got dtype .*: cast them"):
        nnx.ops.softmax_cross_entropy(make([[1.0, 2.0], [3.0, 4.0]]), make([0, 1], dtype))
