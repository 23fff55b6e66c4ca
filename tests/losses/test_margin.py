"""Hinge losses, against scikit-learn, torch and their formulae; tests/losses/test_losses.py has what all share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nnx
from nnx import losses

rng = np.random.default_rng(0)
SCORES = 2 * rng.standard_normal((6, 4))
IDS = np.asarray([0, 3, 1, 1, 2, 0])
SIGNS = rng.choice([-1.0, 1.0], (6, 4))
BY_LABEL = [losses.hinge, losses.squared_hinge, losses.multilabel_hinge]


def test_hinge_is_that_of_scikit_learn(make):
    metrics = pytest.importorskip("sklearn.metrics")
    x, t = SCORES[:, 0], SIGNS[:, 0]
    found = losses.hinge(make(x, "float64"), make(t, "float64"))
    np.testing.assert_allclose(nnx.to_numpy(found), metrics.hinge_loss(t, x), rtol=1e-12)


def test_crammer_singer_is_the_hinge_loss_of_scikit_learn(make):
    metrics = pytest.importorskip("sklearn.metrics")
    found = losses.multiclass_hinge(make(SCORES, "float64"), make(IDS, "int64"), method="crammer_singer")
    np.testing.assert_allclose(nnx.to_numpy(found), metrics.hinge_loss(IDS, SCORES, labels=range(4)), rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_weston_watkins_is_the_multi_margin_loss_of_torch(reduction, squared, margin, assert_as_torch):
    torch = pytest.importorskip("torch")
    theirs = {"p": 1 + squared, "margin": margin, "reduction": reduction}
    assert_as_torch(
        lambda x, y: losses.multiclass_hinge(x, y, squared=squared, margin=margin, reduction=reduction),
        lambda x, y: 4 * torch.nn.functional.multi_margin_loss(x, y, **theirs),
        SCORES,
        IDS,
    )


@given(
    z=hnp.arrays("float64", (3, 5), elements=st.floats(-3, 3)),
    ids=hnp.arrays("int64", (3,), elements=st.integers(0, 4)),
    margin=st.floats(0.1, 4),
    squared=st.booleans(),
)
def test_both_methods_are_the_formulae_of_the_papers(z, ids, margin, squared):
    terms = [[max(0.0, margin + row[j] - row[t]) for j in range(5) if j != t] for row, t in zip(z, ids, strict=True)]
    if squared:
        terms = [[term**2 for term in row] for row in terms]
    options = {"margin": margin, "squared": squared, "reduction": "none"}
    found = losses.multiclass_hinge(z, ids, **options)
    np.testing.assert_allclose(found, [sum(row) for row in terms], rtol=1e-12, atol=1e-12)
    found = losses.multiclass_hinge(z, ids, method="crammer_singer", **options)
    np.testing.assert_allclose(found, [max(row) for row in terms], rtol=1e-12, atol=1e-12)


def test_the_example_of_cs231n(make):
    """Scores 13, -7, 11, of which the first is right, with margin 10: 0 + 8."""
    found = losses.multiclass_hinge(make([[13.0, -7.0, 11.0]]), make([0], "int64"), margin=10)
    assert nnx.to_numpy(found) == 8


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("loss", BY_LABEL, ids=lambda f: f.__name__)
@pytest.mark.parametrize("margin", [1.0, 2.5])
def test_hinges_of_labels_have_the_values_and_gradients_of_torch(loss, reduction, margin, make, assert_as_torch):
    torch = pytest.importorskip("torch")
    signs = make(SIGNS, "float64")

    def theirs(x):
        found = torch.clamp(margin - torch.tensor(SIGNS) * x, min=0)
        found = found**2 if loss is losses.squared_hinge else found
        found = found.sum(-1) if loss is losses.multilabel_hinge else found
        return found if reduction == "none" else getattr(found, reduction)()

    assert_as_torch(lambda x: loss(x, signs, margin=margin, reduction=reduction), theirs, SCORES)


def test_hinge_of_negatives_is_the_hinge_embedding_loss_of_torch(make):
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.hinge_embedding_loss(torch.tensor(SCORES), -torch.ones(6, 4), reduction="none")
    found = losses.hinge(make(SCORES, "float64"), make(np.ones((6, 4)), "float64"), reduction="none")
    np.testing.assert_allclose(nnx.to_numpy(found), expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize("loss", BY_LABEL, ids=lambda f: f.__name__)
def test_the_derivative_at_the_margin_is_zero(loss, make):
    gradient = nnx.grad(lambda x: loss(x, make([1.0, -1.0]), reduction="sum"))(make([1.0, -1.0]))
    assert not nnx.to_numpy(gradient).any()


@pytest.mark.parametrize("method", ["weston_watkins", "crammer_singer"])
def test_the_derivative_at_the_margin_of_classes_is_zero(method, make):
    ids = make([0], "int64")
    gradient = nnx.grad(lambda x: losses.multiclass_hinge(x, ids, method=method))(make([[2.0, 1.0, 1.0]]))
    assert not nnx.to_numpy(gradient).any()


def test_wrong_classes_that_score_equally_share_the_gradient(make):
    ids = make([0], "int64")
    gradient = nnx.grad(lambda x: losses.multiclass_hinge(x, ids, method="crammer_singer"))(make([[0.0, 1.0, 1.0]]))
    np.testing.assert_allclose(nnx.to_numpy(gradient), [[-1, 0.5, 0.5]])


@pytest.mark.parametrize("method", ["weston_watkins", "crammer_singer"])
def test_a_single_class_is_right(method, make):
    ids = make([0, 0], "int64")
    value, gradient = nnx.value_and_grad(lambda x: losses.multiclass_hinge(x, ids, method=method))(
        make([[3.0], [-1.0]])
    )
    assert nnx.to_numpy(value) == 0
    assert not nnx.to_numpy(gradient).any()


def test_an_unknown_method(make):
    with pytest.raises(nnx.ArgumentError, match="method is 'weston_watkins' or 'crammer_singer', got 'ovr'"):
        losses.multiclass_hinge(make(SCORES), make(IDS, "int64"), method="ovr")


@pytest.mark.parametrize("margin", [0, -1.0, math.nan])
def test_a_margin_is_above_zero(margin, make):
    x, ids, signs = make(SCORES), make(IDS, "int64"), make(SIGNS)
    for loss, target in [*((loss, signs) for loss in BY_LABEL), (losses.multiclass_hinge, ids)]:
        with pytest.raises(nnx.ArgumentError, match="the margin must be a finite number greater than 0"):
            loss(x, target, margin=margin)
