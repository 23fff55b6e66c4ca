"""Losses of probabilities, against torch and against their formulae; tests/losses/test_losses.py has what all share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx import losses
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)
LOGITS = 3 * rng.standard_normal((5, 4))
IDS = np.asarray([0, 3, 1, 1, 2])
PROBABILITIES = rng.dirichlet(np.ones(4), 5)
CLASS_WEIGHTS = rng.uniform(0.5, 2, 4)
SHARES = rng.uniform(0.1, 0.9, (5, 4))

REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
SMOOTHING = pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
TARGETS = pytest.mark.parametrize("target", [IDS, PROBABILITIES], ids=["ids", "probabilities"])


@REDUCTIONS
@SMOOTHING
@TARGETS
def test_cross_entropy_is_that_of_torch(reduction, label_smoothing, target, assert_as_torch):
    torch = pytest.importorskip("torch")
    options = {"reduction": reduction, "label_smoothing": label_smoothing}
    assert_as_torch(
        lambda x, y: losses.cross_entropy(x, y, **options),
        lambda x, y: torch.nn.functional.cross_entropy(x, y, **options),
        LOGITS,
        target,
    )


@REDUCTIONS
def test_cross_entropy_of_sequences_is_that_of_torch(reduction, assert_as_torch):
    torch = pytest.importorskip("torch")
    assert_as_torch(
        lambda x, y: losses.cross_entropy(x, y, reduction=reduction),
        lambda x, y: torch.nn.functional.cross_entropy(x.movedim(-1, 1), y, reduction=reduction),
        rng.standard_normal((2, 3, 4)),
        np.asarray([[0, 1, 3], [2, 2, 0]]),
    )


def test_one_hot_probabilities_cost_what_ids_do(make):
    x, ids, one_hot = make(LOGITS, "float64"), make(IDS, "int64"), make(np.eye(4)[IDS], "float64")
    for options in ({}, {"class_weights": make(CLASS_WEIGHTS, "float64")}):
        for reduction in ("mean", "sum", "none"):
            found, expected = (losses.cross_entropy(x, y, reduction=reduction, **options) for y in (one_hot, ids))
            np.testing.assert_allclose(nnx.to_numpy(found), nnx.to_numpy(expected), rtol=1e-12)


@REDUCTIONS
@SMOOTHING
@pytest.mark.parametrize("ignored", [None, 1, -100])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_and_ignored_ids_are_those_of_torch(
    reduction, label_smoothing, ignored, weighted, make, assert_as_torch
):
    torch = pytest.importorskip("torch")
    ids = np.where(np.arange(5) == 4, -100, IDS) if ignored == -100 else IDS
    ours = theirs = {"reduction": reduction, "label_smoothing": label_smoothing}
    if ignored is not None:
        ours = theirs = ours | {"ignore_index": ignored}
    if weighted:
        ours = ours | {"class_weights": make(CLASS_WEIGHTS, "float64")}
        theirs = theirs | {"weight": torch.tensor(CLASS_WEIGHTS)}
    assert_as_torch(
        lambda x, y: losses.cross_entropy(x, y, **ours),
        lambda x, y: torch.nn.functional.cross_entropy(x, y, **theirs),
        LOGITS,
        ids,
    )


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_class_weights_of_probabilities_are_those_of_torch(reduction, make, assert_as_torch):
    torch = pytest.importorskip("torch")
    c = make(CLASS_WEIGHTS, "float64")
    assert_as_torch(
        lambda x, y: losses.cross_entropy(x, y, class_weights=c, reduction=reduction),
        lambda x, y: torch.nn.functional.cross_entropy(x, y, torch.tensor(CLASS_WEIGHTS), reduction=reduction),
        LOGITS,
        PROBABILITIES,
    )


@TARGETS
def test_class_weights_have_gradients_and_agree_on_all_backends(target, device, flags):
    def loss(x, y, c, w):
        return losses.cross_entropy(x, y, class_weights=c, weights=w, label_smoothing=0.1)

    arrays = LOGITS, target, CLASS_WEIGHTS, rng.uniform(0.5, 2, 5)
    check_gradients(loss, *arrays, device=device)
    check_backends(loss, *arrays, backends=flags)


def test_class_weights_and_weights_multiply(make):
    x, ids, c, w = make(LOGITS, "float64"), make(IDS, "int64"), make(CLASS_WEIGHTS, "float64"), rng.uniform(0.5, 2, 5)
    alone = nnx.to_numpy(losses.cross_entropy(x, ids, reduction="none"))
    both = w * CLASS_WEIGHTS[IDS]
    found = losses.cross_entropy(x, ids, class_weights=c, weights=make(w, "float64"))
    np.testing.assert_allclose(nnx.to_numpy(found), (alone * both).sum() / both.sum(), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_an_id_to_ignore_that_the_dtype_cannot_hold_is_nowhere(dtype, make):
    x = make(LOGITS, "float64")
    found, expected = (
        losses.cross_entropy(x, make(IDS, dtype), ignore_index=-1000),
        losses.cross_entropy(x, make(IDS, "int64")),
    )
    np.testing.assert_allclose(nnx.to_numpy(found), nnx.to_numpy(expected), rtol=1e-12)


def test_ignored_examples_have_no_gradient(make):
    gradient = nnx.grad(lambda x: losses.cross_entropy(x, make([1, -1, 2, -1, 0], "int64"), ignore_index=-1))(
        make(LOGITS)
    )
    assert (nnx.to_numpy(gradient) == 0).all(axis=1).tolist() == [False, True, False, True, False]


def test_all_examples_ignored(make, device):
    x, ids = make(LOGITS), make(np.full(5, -100), "int64")
    if device.backend.readable(ids):
        with pytest.raises(nnx.LabelError, match="at least one class id other than ignore_index=-100 was expected"):
            losses.cross_entropy(x, ids, ignore_index=-100)


@pytest.mark.parametrize("ids", [[0, 4, -100], [0, -1, -100]])
def test_an_id_out_of_range_is_found_among_ignored_ones(ids, make, device):
    x, ids, c = make(LOGITS[:3]), make(ids, "int64"), make(CLASS_WEIGHTS)
    for options in ({}, {"class_weights": c}):
        if device.backend.readable(ids):
            with pytest.raises(nnx.LabelError, match="labels from 0 to 3 were expected"):
                losses.cross_entropy(x, ids, ignore_index=-100, **options)


def test_under_a_compiler_class_weights_show_an_id_out_of_range():
    jax = pytest.importorskip("jax")

    def loss(x, ids, c):
        return losses.cross_entropy(x, ids, class_weights=c, ignore_index=-100, reduction="none")

    found = np.asarray(jax.jit(loss)(LOGITS[:4], np.asarray([1, 4, -100, -1]), CLASS_WEIGHTS))
    assert np.isnan(found).tolist() == [False, True, False, True]
    assert found[2] == 0


@REDUCTIONS
@pytest.mark.parametrize("from_logits", [True, False])
def test_binary_cross_entropy_is_that_of_torch(reduction, from_logits, assert_as_torch):
    torch = pytest.importorskip("torch")
    name = "binary_cross_entropy_with_logits" if from_logits else "binary_cross_entropy"
    assert_as_torch(
        lambda x, y: losses.binary_cross_entropy(x, y, from_logits=from_logits, reduction=reduction),
        lambda x, y: getattr(torch.nn.functional, name)(x, y, reduction=reduction),
        20 * LOGITS if from_logits else SHARES,
        SHARES[::-1].copy(),
    )


@REDUCTIONS
@pytest.mark.parametrize("from_logits", [True, False])
def test_multilabel_logistic_is_the_sum_over_labels(reduction, from_logits, assert_as_torch):
    torch = pytest.importorskip("torch")
    name = "binary_cross_entropy_with_logits" if from_logits else "binary_cross_entropy"

    def theirs(x, y):
        loss = getattr(torch.nn.functional, name)(x, y, reduction="none").sum(-1)
        return loss if reduction == "none" else getattr(loss, reduction)()

    assert_as_torch(
        lambda x, y: losses.multilabel_logistic(x, y, from_logits=from_logits, reduction=reduction),
        theirs,
        LOGITS if from_logits else SHARES,
        SHARES[::-1].copy(),
    )


@REDUCTIONS
def test_nll_is_that_of_torch(reduction, assert_as_torch):
    torch = pytest.importorskip("torch")
    assert_as_torch(
        lambda x, y: losses.nll(x, y, reduction=reduction),
        lambda x, y: torch.nn.functional.nll_loss(x, y, reduction=reduction),
        np.log(PROBABILITIES),
        IDS,
    )


def test_nll_after_log_softmax_is_cross_entropy(make):
    x, ids = make(LOGITS, "float64"), make(IDS, "int64")
    found, expected = losses.nll(nnx.log_softmax(x), ids), losses.cross_entropy(x, ids)
    np.testing.assert_allclose(nnx.to_numpy(found), nnx.to_numpy(expected), rtol=1e-12)


@pytest.mark.parametrize(("reduction", "theirs"), [("mean", "batchmean"), ("sum", "sum"), ("none", "none")])
def test_kl_divergence_is_that_of_torch(reduction, theirs, assert_as_torch):
    torch = pytest.importorskip("torch")

    def divergence(q, t):
        loss = torch.nn.functional.kl_div(q, t, reduction=theirs)
        return loss.sum(-1) if reduction == "none" else loss

    assert_as_torch(
        lambda q, t: losses.kl_divergence(q, t, reduction=reduction),
        divergence,
        np.log(PROBABILITIES),
        PROBABILITIES[::-1].copy(),
    )


@given(st.data())
def test_kl_divergence_is_at_least_zero_and_zero_of_equals(data):
    q, t = (data.draw(st.lists(st.floats(0.01, 1), min_size=4, max_size=4)) for _ in range(2))
    q, t = (np.asarray(p) / sum(p) for p in (q, t))
    assert losses.kl_divergence(np.log(q), t) >= -1e-15
    np.testing.assert_allclose(losses.kl_divergence(np.log(t), t), 0, atol=1e-15)


def test_kl_divergence_of_what_is_impossible(make):
    """0 ln 0 is 0; a prediction that rules out what can be costs without end."""
    q, t = make([[0.0, -np.inf], [-np.inf, 0.0]]), make([[1.0, 0.0], [0.5, 0.5]])
    value, gradient = nnx.value_and_grad(lambda q: losses.kl_divergence(q, t, reduction="sum"))(q)
    assert nnx.to_numpy(losses.kl_divergence(q, t, reduction="none")).tolist() == [0, np.inf]
    assert nnx.to_numpy(value) == np.inf
    np.testing.assert_array_equal(nnx.to_numpy(gradient), [[-1, 0], [-0.5, -0.5]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_ten_thousand(dtype, make):
    x = make([[1e4, -1e4], [-1e4, 1e4]], dtype)
    for target in (make([1, 1], "int64"), make([[0, 1], [0, 1]], dtype)):
        for options in ({}, {"class_weights": make([2, 2], dtype)}):
            loss, gradient = nnx.value_and_grad(lambda x, y, o=options: losses.cross_entropy(x, y, **o))(x, target)
            np.testing.assert_allclose(nnx.to_numpy(loss), 1e4)
            np.testing.assert_allclose(nnx.to_numpy(gradient), [[0.5, -0.5], [0, 0]], atol=1e-7)
    target = make([[0, 1], [0, 1]], dtype)
    for f, n in ((losses.binary_cross_entropy, 4), (losses.multilabel_logistic, 2)):
        loss, gradient = nnx.value_and_grad(f)(x, target)
        np.testing.assert_allclose(nnx.to_numpy(loss), 2e4 / n)
        np.testing.assert_allclose(nnx.to_numpy(gradient), [[1 / n, -1 / n], [0, 0]], atol=1e-7)


def test_probabilities_of_zero_and_one_cost_something_finite(make):
    p, t = make([0.0, 1.0, 0.0, 1.0]), make([0.0, 1.0, 1.0, 0.0])
    for f in (losses.binary_cross_entropy, losses.multilabel_logistic):
        loss, gradient = nnx.value_and_grad(lambda p, f=f: f(p, t, from_logits=False, reduction="sum"))(p)
        assert float(nnx.to_numpy(loss)) == pytest.approx(2 * -math.log(2**-23), rel=1e-3)
        assert np.isfinite(nnx.to_numpy(gradient)).all()


@pytest.mark.parametrize(
    ("logits", "target", "error", "message"),
    [
        ((5, 4), np.zeros(4, "int64"), nnx.ShapeError, r"ids of shape \(5,\) were expected .* \(5, 4\), got \(4,\)"),
        ((5, 4), np.zeros((5, 4), "int64"), nnx.ShapeError, r"got \(5, 4\); pass one-hot targets as floats"),
        ((5, 4), np.zeros((5, 1), "int64"), nnx.ShapeError, r"class ids of shape \(5,\)"),
        ((5, 4), np.zeros((5, 3), "float32"), nnx.ShapeError, r"a target of shape \(5, 4\)"),
        ((5, 4), np.zeros((5,), "float32"), nnx.ShapeError, r"got \(5,\); class ids must be integers: cast them"),
        ((5, 4), np.zeros((5,), "bool"), nnx.ShapeError, r"got \(5,\); class ids must be integers: cast them"),
        ((5, 4), np.zeros((5, 4), "float64"), nnx.DTypeError, "dtype .*float32 was expected.*float64: cast it"),
        ((0, 4), np.zeros((0,), "int64"), nnx.ShapeError, r"at least one example was expected, got shape \(0, 4\)"),
        ((5, 0), np.zeros((5,), "int64"), nnx.ShapeError, r"at least one example was expected, got shape \(5, 0\)"),
        ((), np.zeros((), "int64"), nnx.ShapeError, r"\(\.\.\., classes\) were expected, got shape \(\)"),
        ((5, 4), np.asarray([0, 1, 2, 3, 4]), nnx.LabelError, "labels from 0 to 3 were expected.*from 0 to 4"),
        ((5, 4), np.asarray([0, -1, 2, 3, 3]), nnx.LabelError, "labels from 0 to 3 were expected.*from -1 to 3"),
    ],
)
def test_cross_entropy_refuses(logits, target, error, message, make, device):
    x, y = make(np.zeros(logits)), make(target, target.dtype)
    if error is nnx.LabelError and not device.backend.readable(y):
        pytest.skip("the labels cannot be looked at without waiting for the device")
    with pytest.raises(error, match=message):
        losses.cross_entropy(x, y)


def test_options_that_make_no_sense(make):
    x, ids = make(LOGITS), make(IDS, "int64")
    with pytest.raises(nnx.ArgumentError, match=r"label_smoothing lies in \[0, 1\], got 2"):
        losses.cross_entropy(x, ids, label_smoothing=2)
    with pytest.raises(nnx.ShapeError, match=r"class_weights of shape \(4,\) were expected, got \(5,\)"):
        losses.cross_entropy(x, ids, class_weights=make(np.ones(5)))
    with pytest.raises(nnx.DTypeError, match=r"class_weights of dtype .*float32 were expected, .*float64: cast them"):
        losses.cross_entropy(x, ids, class_weights=make(np.ones(4), "float64"))
    with pytest.raises(nnx.ArgumentError, match="ignore_index is for targets of class ids"):
        losses.cross_entropy(x, make(PROBABILITIES), ignore_index=0)


def test_two_devices():
    pytest.importorskip("array_api_strict")
    x, ids = nnx.asarray(LOGITS, device="strict"), nnx.asarray(IDS, device="strict:device2")
    with pytest.raises(nnx.DeviceError, match="two devices, strict:device1 and strict:device2"):
        losses.cross_entropy(x, ids)
