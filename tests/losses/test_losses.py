"""What is true of every loss: reductions, weights, dtypes, gradients, extreme predictions, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import nnx
from nnx import losses
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)
SCORES = 3 * rng.standard_normal((5, 4))
IDS = np.asarray([0, 3, 1, 1, 2])
PROBABILITIES = 0.8 * rng.dirichlet(np.ones(4), 5) + 0.05
SIGNS = rng.choice([-1.0, 1.0], (5, 4))
SHARES = rng.uniform(0.1, 0.9, (5, 4))
TREE = losses.HierarchicalSoftmax([[0, 1], [2, 3, 4]])  # of five outputs
TREE_SCORES = 3 * rng.standard_normal((5, 5))


def with_options(loss, **fixed):
    return lambda prediction, target, **options: loss(prediction, target, **fixed, **options)


CASES = {
    "HierarchicalSoftmax": (TREE, TREE_SCORES, IDS),
    "binary_cross_entropy": (losses.binary_cross_entropy, SCORES, SHARES),
    "binary_cross_entropy of probabilities": (
        with_options(losses.binary_cross_entropy, from_logits=False),
        SHARES[::-1].copy(),
        SHARES,
    ),
    "cross_entropy": (losses.cross_entropy, SCORES, IDS),
    "cross_entropy of probabilities": (losses.cross_entropy, SCORES, PROBABILITIES),
    "cross_entropy smoothed": (with_options(losses.cross_entropy, label_smoothing=0.1), SCORES, IDS),
    "hinge": (losses.hinge, SCORES, SIGNS),
    "huber": (losses.huber, SCORES, TREE_SCORES[:, :4]),
    "kl_divergence": (losses.kl_divergence, np.log(PROBABILITIES[::-1]), PROBABILITIES),
    "log_cosh": (losses.log_cosh, SCORES, TREE_SCORES[:, :4]),
    "mae": (losses.mae, SCORES, TREE_SCORES[:, :4]),
    "mse": (losses.mse, SCORES, TREE_SCORES[:, :4]),
    "multiclass_hinge": (losses.multiclass_hinge, SCORES, IDS),
    "multiclass_hinge of Crammer and Singer": (
        with_options(losses.multiclass_hinge, method="crammer_singer"),
        SCORES,
        IDS,
    ),
    "multiclass_hinge squared": (with_options(losses.multiclass_hinge, squared=True), SCORES, IDS),
    "multilabel_hinge": (losses.multilabel_hinge, SCORES, SIGNS),
    "multilabel_logistic": (losses.multilabel_logistic, SCORES, SHARES),
    "nll": (losses.nll, np.log(PROBABILITIES[::-1]), IDS),
    "squared_hinge": (losses.squared_hinge, SCORES, SIGNS),
}
each = pytest.mark.parametrize("name", CASES)
OF_ELEMENTS = {"binary_cross_entropy", "hinge", "huber", "log_cosh", "mae", "mse", "squared_hinge"}


def shape_of(name):
    """The shape of the losses of the examples."""
    return (5, 4) if name.partition(" ")[0] in OF_ELEMENTS else (5,)


def on(make, array):
    return make(array, array.dtype)


def test_every_loss_has_a_case():
    assert {name.partition(" ")[0] for name in CASES} == set(losses.__all__)


def cast(y, x, target):
    """Signs that came as integers in the dtype of the prediction."""
    return nnx.namespace_of(x).astype(y, x.dtype) if target.shape == (5, 4) and target.dtype.kind == "i" else y


@each
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradients_of_first_and_second_order(name, reduction, device):
    loss, prediction, target = CASES[name]
    if target is SIGNS:  # which bear no difference
        target = target.astype("int64")
    check_gradients(lambda x, y: loss(x, cast(y, x, target), reduction=reduction), prediction, target, device=device)


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backends_agree(name, dtype, flags):
    loss, *arrays = CASES[name]
    weights = rng.uniform(0.5, 2, shape_of(name))
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in (*arrays, weights)]
    check_backends(lambda x, y, w: loss(x, y, weights=w), *arrays, backends=flags)


@each
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_dtype_device_and_shape(name, reduction, make, assert_kept):
    loss, prediction, target = CASES[name]
    target = make(target, "float32" if target.dtype.kind == "f" else "int64")
    value = assert_kept(lambda x: loss(x, target, reduction=reduction), make(prediction))
    assert value.shape == (shape_of(name) if reduction == "none" else ())


@each
@pytest.mark.parametrize("weighted", [False, True])
def test_reductions_and_weights(name, weighted, make):
    loss, prediction, target = CASES[name]
    x, y = on(make, prediction), on(make, target)
    weights = rng.uniform(0.5, 2, shape_of(name))
    options = {"weights": make(weights, "float64")} if weighted else {}
    weights = weights if weighted else np.ones(shape_of(name))

    def value(reduction):
        return nnx.to_numpy(loss(x, y, reduction=reduction, **options))

    alone = nnx.to_numpy(loss(x, y, reduction="none"))
    np.testing.assert_allclose(value("none"), alone * weights, rtol=1e-12)
    np.testing.assert_allclose(value("sum"), (alone * weights).sum(), rtol=1e-12)
    np.testing.assert_allclose(value("mean"), (alone * weights).sum() / weights.sum(), rtol=1e-12)
    assert (alone >= 0).all()


@each
def test_batches_of_sequences_are_batches(name, make):
    """Axes before the last one are axes of examples."""
    loss, prediction, target = CASES[name]
    alone = nnx.to_numpy(loss(on(make, prediction), on(make, target), reduction="none"))
    pair = [np.stack([a[:4].reshape(2, 2, *a.shape[1:])] * 3) for a in (prediction, target)]
    found = nnx.to_numpy(loss(*(on(make, a) for a in pair), reduction="none"))
    expected = np.stack([alone[:4].reshape(2, 2, *alone.shape[1:])] * 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@each
def test_predictions_of_ten_thousand(name, make):
    """In float32 nothing overflows (which would warn); values and gradients are those of float64."""
    loss, prediction, target = CASES[name]
    if "of probabilities" in name and prediction is not SCORES:
        prediction = np.where(prediction > 0.5, 1.0, 0.0)
    elif name in {"nll", "kl_divergence"}:
        prediction = -1e4 * np.where(prediction < -1, 1.0, 0.0)
    else:
        prediction = 1e4 * np.where(np.arange(prediction.size).reshape(prediction.shape) % 3 == 0, -1.0, 1.0)
    found = []
    for dtype in ("float32", "float64"):
        y = make(target, dtype if target.dtype.kind == "f" else "int64")
        value, gradient = nnx.value_and_grad(loss)(make(prediction, dtype), y)
        found.append((nnx.to_numpy(value), nnx.to_numpy(gradient)))
        assert np.isfinite(found[-1][0])
        assert np.isfinite(found[-1][1]).all()
        assert np.isfinite(nnx.to_numpy(loss(make(prediction, dtype), y, reduction="none"))).all()
    if "of probabilities" not in name or prediction.max() > 1:  # what is cut at the epsilon of the dtype differs
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
        np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5, atol=1e-6)


@each
def test_a_nan_is_not_hidden(name, make):
    loss, prediction, target = CASES[name]
    x = prediction.copy()
    x[1] = np.nan
    assert np.isnan(nnx.to_numpy(loss(on(make, x), on(make, target))))


@each
def test_what_no_loss_takes(name, make):
    loss, prediction, target = CASES[name]
    x, y = on(make, prediction), on(make, target)
    with pytest.raises(nnx.ArgumentError, match="reduction is 'mean', 'sum' or 'none', got 'average'"):
        loss(x, y, reduction="average")
    with pytest.raises(nnx.ShapeError, match=r"weights of shape \(5.*\) were expected, got \(7,\)"):
        loss(x, y, weights=make(np.ones(7), "float64"))
    with pytest.raises(nnx.DTypeError, match=r"weights of dtype .*float64 were expected, .*got .*float32: cast them"):
        loss(x, y, weights=make(np.ones(shape_of(name)), "float32"))
    with pytest.raises(nnx.DTypeError, match="a floating-point prediction was expected, got dtype .*int64"):
        loss(make(np.ones_like(prediction), "int64"), y)
    with pytest.raises(nnx.ShapeError, match=r"at least one example was expected, got shape \(0, "):
        loss(on(make, prediction[:0]), on(make, target[:0]))


@each
def test_targets_of_the_wrong_shape_or_dtype(name, make):
    loss, prediction, target = CASES[name]
    x = on(make, prediction)
    for wrong in (target[:3], np.stack([target, target])):
        with pytest.raises(nnx.ShapeError, match="(class ids|a target) of shape .* expected.* got"):
            loss(x, on(make, wrong))
    if target.dtype.kind == "f":
        with pytest.raises(nnx.DTypeError, match=r"a target of dtype .*float64 was expected.* got .*float32: cast it"):
            loss(x, make(target, "float32"))


@each
def test_two_libraries(name, flags):
    loss, prediction, target = CASES[name]
    for flag, other in pairwise(flags):
        with pytest.raises(nnx.MixedLibrariesError, match="two libraries"):
            loss(nnx.asarray(prediction, device=flag), nnx.asarray(target, device=other))


OF_IDS = ["HierarchicalSoftmax", "cross_entropy", "multiclass_hinge", "nll"]


@pytest.mark.parametrize("name", OF_IDS)
@pytest.mark.parametrize("wrong", [-1, 5])
def test_class_ids_out_of_range(name, wrong, make, device):
    loss, prediction, target = CASES[name]
    ids = target.copy()
    ids[3] = wrong
    x, y = on(make, prediction), make(ids, "int64")
    if device.backend.readable(y):
        with pytest.raises(
            nnx.LabelError, match=rf"labels from 0 to \d were expected.*from {ids.min()} to {ids.max()}"
        ):
            loss(x, y)
    else:
        assert np.isnan(nnx.to_numpy(loss(x, y, reduction="none"))).tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("name", OF_IDS)
def test_under_a_compiler_a_class_id_out_of_range_is_nan(name):
    jax = pytest.importorskip("jax")
    loss, prediction, target = CASES[name]
    ids = target.copy()
    ids[[1, 3]] = [-1, 5]
    found = np.asarray(jax.jit(lambda x, y: loss(x, y, reduction="none"))(prediction, ids))
    kept = nnx.to_numpy(loss(prediction, target, reduction="none"))
    np.testing.assert_allclose(found, np.where(ids == target, kept, np.nan), rtol=1e-12)


@pytest.mark.parametrize("name", OF_IDS)
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8"])
def test_class_ids_of_any_integer_dtype(name, dtype, make):
    loss, prediction, target = CASES[name]
    x = on(make, prediction)
    found, expected = (nnx.to_numpy(loss(x, make(target, kind))) for kind in (dtype, "int64"))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "multilabel_hinge"])
@pytest.mark.parametrize(("wrong", "got"), [(0.0, "-1 to 1"), (0.5, "-1 to 1"), (np.nan, "nan to nan")])
def test_targets_that_are_no_signs(name, wrong, got, make, device):
    loss, prediction, target = CASES[name]
    target = target.copy()
    target[2, 1] = wrong
    if device.backend.readable(make(target)):
        with pytest.raises(
            nnx.LabelError, match=rf"targets of -1 and 1 were expected, got .* {got}; of labels 0 and 1"
        ):
            loss(on(make, prediction), on(make, target))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("binary_cross_entropy", r"of targets -1 and 1 these are \(target \+ 1\) / 2"),
        ("multilabel_logistic", r"of targets -1 and 1 these are \(target \+ 1\) / 2"),
        ("kl_divergence", "they are probabilities, and their logarithms come first"),
    ],
)
@pytest.mark.parametrize(("wrong", "got"), [(-1.0, "from -1 to"), (1.5, "to 1.5"), (np.nan, "from nan to nan")])
def test_targets_that_are_no_probabilities(name, remedy, wrong, got, make, device):
    loss, prediction, target = CASES[name]
    target = target.copy()
    target[2, 1] = wrong
    if device.backend.readable(make(target)):
        with pytest.raises(nnx.LabelError, match=rf"targets in \[0, 1\] were expected, got .*{got}.*; {remedy}"):
            loss(on(make, prediction), on(make, target))


@pytest.mark.parametrize("name", ["multilabel_hinge", "multilabel_logistic", "kl_divergence"])
def test_there_must_be_an_axis_of_labels(name, make):
    with pytest.raises(nnx.ShapeError, match=r"predictions of shape \(\.\.\., labels\) were expected, got shape \(\)"):
        CASES[name][0](make(1.0), make(1.0))


@pytest.mark.parametrize("name", ["nll", "multiclass_hinge", "HierarchicalSoftmax"])
def test_class_ids_must_be_integers(name, make):
    loss, prediction, target = CASES[name]
    with pytest.raises(nnx.DTypeError, match="integer class ids were expected, got dtype .*float64: cast them"):
        loss(on(make, prediction), make(target, "float64"))
