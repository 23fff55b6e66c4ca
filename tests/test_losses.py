"""Losses: values and gradients as torch has them, on every backend; and what they refuse."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

import nnx
from nnx import losses
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)
LOGITS = 3 * rng.standard_normal((5, 4))
IDS = np.asarray([0, 3, 1, 1, 2])
PROBABILITIES = rng.dirichlet(np.ones(4), 5)
WEIGHTS = rng.uniform(0.5, 2, 5)
PREDICTION, TARGET = rng.standard_normal((2, 5, 3))
SHARES = rng.uniform(0.1, 0.9, (5, 3))

CASES = {
    "cross_entropy_ids": (losses.cross_entropy, (LOGITS, IDS)),
    "cross_entropy_probabilities": (losses.cross_entropy, (LOGITS, PROBABILITIES)),
    "cross_entropy_smooth": (lambda x, y: losses.cross_entropy(x, y, label_smoothing=0.1), (LOGITS, IDS)),
    "cross_entropy_weights": (lambda x, y, w: losses.cross_entropy(x, y, weights=w), (LOGITS, IDS, WEIGHTS)),
    "cross_entropy_none": (lambda x, y: losses.cross_entropy(x, y, reduction="none"), (LOGITS, IDS)),
    "binary_cross_entropy": (losses.binary_cross_entropy, (PREDICTION, SHARES)),
    "binary_cross_entropy_probabilities": (
        lambda p, t: losses.binary_cross_entropy(p, t, from_logits=False),
        (SHARES, SHARES[::-1]),
    ),
    "mse": (losses.mse, (PREDICTION, TARGET)),
    "mse_sum": (lambda x, y: losses.mse(x, y, reduction="sum"), (PREDICTION, TARGET)),
    "mae": (losses.mae, (PREDICTION, TARGET)),
}
each = pytest.mark.parametrize("name", CASES)
REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


@each
def test_gradients_of_first_and_second_order(name, device):
    f, args = CASES[name]
    check_gradients(f, *args, device=device)


@each
def test_backends_agree(name, flags):
    f, args = CASES[name]
    check_backends(f, *(a.astype("float32") if a.dtype.kind == "f" else a for a in args), backends=flags)


@each
def test_float32_stays_float32(name, make, assert_kept):
    f, args = CASES[name]
    arrays = [make(a, "float32" if a.dtype.kind == "f" else "int64") for a in args]
    floats = [i for i, a in enumerate(args) if a.dtype.kind == "f"]

    def of_floats(*given):
        merged = list(arrays)
        for i, x in zip(floats, given, strict=True):
            merged[i] = x
        return f(*merged)

    assert_kept(of_floats, *(arrays[i] for i in floats))


@REDUCTIONS
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("target", [IDS, PROBABILITIES], ids=["ids", "probabilities"])
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


@REDUCTIONS
@pytest.mark.parametrize(
    ("ours", "theirs", "prediction", "target"),
    [
        (losses.mse, "mse_loss", PREDICTION, TARGET),
        (losses.mae, "l1_loss", PREDICTION, TARGET),
        (losses.binary_cross_entropy, "binary_cross_entropy_with_logits", 20 * PREDICTION, SHARES),
        (
            lambda p, t, reduction: losses.binary_cross_entropy(p, t, from_logits=False, reduction=reduction),
            "binary_cross_entropy",
            SHARES,
            SHARES[::-1].copy(),
        ),
    ],
    ids=["mse", "mae", "logits", "probabilities"],
)
def test_elementwise_losses_are_those_of_torch(ours, theirs, prediction, target, reduction, assert_as_torch):
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, theirs)
    assert_as_torch(
        lambda x, y: ours(x, y, reduction=reduction),
        lambda x, y: function(x, y, reduction=reduction),
        prediction,
        target,
    )


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("target", [IDS, PROBABILITIES], ids=["ids", "probabilities"])
def test_weights(target, label_smoothing, make):
    x, t, w = make(LOGITS, "float64"), make(target, target.dtype), make(WEIGHTS, "float64")

    def loss(reduction, **options):
        options["label_smoothing"] = label_smoothing
        return nnx.to_numpy(losses.cross_entropy(x, t, reduction=reduction, **options))

    plain = loss("none")
    np.testing.assert_allclose(loss("none", weights=w), plain * WEIGHTS, rtol=1e-12)
    np.testing.assert_allclose(loss("sum", weights=w), (plain * WEIGHTS).sum(), rtol=1e-12)
    np.testing.assert_allclose(loss("mean", weights=w), (plain * WEIGHTS).sum() / WEIGHTS.sum(), rtol=1e-12)


def test_one_hot_probabilities_cost_what_ids_do(make):
    x, ids, one_hot = make(LOGITS, "float64"), make(IDS, "int64"), make(np.eye(4)[IDS], "float64")
    np.testing.assert_allclose(
        nnx.to_numpy(losses.cross_entropy(x, ids)), nnx.to_numpy(losses.cross_entropy(x, one_hot)), rtol=1e-12
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_ten_thousand(dtype, make):
    x = make([[1e4, -1e4], [-1e4, 1e4]], dtype)
    for target in (make([1, 1], "int64"), make([[0, 1], [0, 1]], dtype)):
        loss, gradient = nnx.value_and_grad(losses.cross_entropy)(x, target)
        np.testing.assert_allclose(nnx.to_numpy(loss), 1e4)
        np.testing.assert_allclose(nnx.to_numpy(gradient), [[0.5, -0.5], [0, 0]], atol=1e-7)
    loss, gradient = nnx.value_and_grad(losses.binary_cross_entropy)(x, make([[0, 1], [0, 1]], dtype))
    np.testing.assert_allclose(nnx.to_numpy(loss), 5e3)
    np.testing.assert_allclose(nnx.to_numpy(gradient), [[0.25, -0.25], [0, 0]], atol=1e-7)


def test_probabilities_of_zero_and_one_cost_something_finite(make):
    p = make([0.0, 1.0, 0.0, 1.0])
    loss, gradient = nnx.value_and_grad(
        lambda p: losses.binary_cross_entropy(p, make([0.0, 1.0, 1.0, 0.0]), from_logits=False, reduction="sum")
    )(p)
    assert float(nnx.to_numpy(loss)) == pytest.approx(2 * -math.log(2**-23), rel=1e-3)
    assert np.isfinite(nnx.to_numpy(gradient)).all()


@pytest.mark.parametrize(
    ("logits", "target", "error", "message"),
    [
        (
            (5, 4),
            np.zeros(4, "int64"),
            nnx.ShapeError,
            r"ids of shape \(5,\) were expected .* \(5, 4\), got \(4,\)",
        ),
        ((5, 4), np.zeros((5, 4), "int64"), nnx.ShapeError, r"got \(5, 4\); pass one-hot targets as floats"),
        ((5, 4), np.zeros((5, 1), "int64"), nnx.ShapeError, r"class ids of shape \(5,\)"),
        ((5, 4), np.zeros((5, 3), "float32"), nnx.ShapeError, r"a target of shape \(5, 4\)"),
        ((5, 4), np.zeros((5,), "float32"), nnx.ShapeError, r"a target of shape \(5, 4\)"),
        ((5, 4), np.zeros((5, 4), "float64"), nnx.DTypeError, "dtype .*float32 was expected.*float64: cast it"),
        ((0, 4), np.zeros((0,), "int64"), nnx.ShapeError, r"at least one example was expected, got shape \(0, 4\)"),
        ((5, 0), np.zeros((5,), "int64"), nnx.ShapeError, r"at least one example was expected, got shape \(5, 0\)"),
        ((), np.zeros((), "int64"), nnx.ShapeError, r"\(\.\.\., classes\) were expected, got shape \(\)"),
        ((5, 4), np.asarray([0, 1, 2, 3, 4]), nnx.LabelError, "labels from 0 to 3 were expected.*from 0 to 4"),
        ((5, 4), np.asarray([0, -1, 2, 3, 3]), nnx.LabelError, "labels from 0 to 3 were expected.*from -1 to 3"),
    ],
)
def test_cross_entropy_refuses(logits, target, error, message, make):
    with pytest.raises(error, match=message):
        losses.cross_entropy(make(np.zeros(logits)), make(target, target.dtype))


@pytest.mark.parametrize("loss", [losses.mse, losses.mae, losses.binary_cross_entropy])
@pytest.mark.parametrize(
    ("prediction", "target", "error", "message"),
    [
        (
            np.zeros((3, 1), "float32"),
            np.zeros(3, "float32"),
            nnx.ShapeError,
            r"target of shape \(3, 1\).*got \(3,\)",
        ),
        (np.zeros(3, "float32"), np.zeros(3, "float64"), nnx.DTypeError, "a target of dtype .*float32 was expected"),
        (np.zeros(3, "float32"), np.zeros(3, "int64"), nnx.DTypeError, "a target of dtype .*float32 was expected"),
        (np.zeros(3, "int64"), np.zeros(3, "int64"), nnx.DTypeError, "a floating-point prediction was expected"),
        (np.zeros((0, 2), "float32"), np.zeros((0, 2), "float32"), nnx.ShapeError, "at least one example"),
    ],
)
def test_elementwise_losses_refuse(loss, prediction, target, error, message, make):
    with pytest.raises(error, match=message):
        loss(make(prediction, prediction.dtype), make(target, target.dtype))


def test_integer_logits_are_refused(make):
    with pytest.raises(nnx.DTypeError, match="a floating-point prediction was expected, got dtype .*int64"):
        losses.cross_entropy(make(np.zeros((5, 4)), "int64"), make(IDS, "int64"))


def test_options_that_make_no_sense(make):
    x, ids = make(LOGITS), make(IDS, "int64")
    with pytest.raises(nnx.ArgumentError, match="reduction is 'mean', 'sum' or 'none', got 'average'"):
        losses.cross_entropy(x, ids, reduction="average")
    with pytest.raises(nnx.ArgumentError, match=r"label_smoothing lies in \[0, 1\], got 2"):
        losses.cross_entropy(x, ids, label_smoothing=2)
    with pytest.raises(nnx.ShapeError, match=r"weights of shape \(5,\) were expected, got \(4,\)"):
        losses.cross_entropy(x, ids, weights=make(np.ones(4)))
    with pytest.raises(nnx.DTypeError, match=r"weights of dtype .*float32 were expected, .*got .*int64: cast them"):
        losses.cross_entropy(x, ids, weights=make(np.ones(5), "int64"))


def test_two_libraries_or_devices(flags):
    for flag, other in pairwise(flags):
        x, ids = nnx.asarray(LOGITS, device=flag), nnx.asarray(IDS, device=other)
        with pytest.raises(nnx.MixedLibrariesError, match="two libraries.*nnx.asarray"):
            losses.cross_entropy(x, ids)
    if "strict" in {flag.partition(":")[0] for flag in flags}:
        x, ids = nnx.asarray(LOGITS, device="strict"), nnx.asarray(IDS, device="strict:device2")
        with pytest.raises(nnx.DeviceError, match="two devices, strict:device1 and strict:device2"):
            losses.cross_entropy(x, ids)


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_class_ids_that_are_no_integers_are_refused(make, dtype):
    with pytest.raises(nnx.ShapeError, match=r"got \(5,\); class ids must be integers: cast them"):
        losses.cross_entropy(make(LOGITS), make(IDS, dtype))
