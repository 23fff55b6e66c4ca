"""Losses of support vector machines: none for what is right by a margin.

Where a term reaches 0 exactly, its derivative is 0.
"""

from __future__ import annotations

from nnx import ops
from nnx._arguments import positive
from nnx._errors import ArgumentError
from nnx._typing import Array
from nnx.backend import activating
from nnx.losses._common import classwise, elementwise, labelwise, reduce, require_signs
from nnx.ops.softmax import check_labels, one_hot


@activating
def hinge(
    prediction: Array,
    target: Array,
    *,
    margin: float = 1.0,
    reduction: str = "mean",
    weights: Array | None = None,
) -> Array:
    """The hinge loss of a yes-or-no prediction: loss = max(0, margin - t p), for each element.

    Cortes and Vapnik, "Support-vector networks", Machine Learning 20, 1995.

    Args:
        prediction: scores p, any shape, floating-point.
        target: t, each -1 or 1, of the same shape and dtype.
        margin: above 0.
        reduction, weights: see the package.

    Raises:
        LabelError: a target that can be read at once is neither -1 nor 1.
        ArgumentError: ``margin`` is not above 0.
    """
    return reduce(_shortfall(prediction, target, margin), reduction, weights)


@activating
def squared_hinge(
    prediction: Array,
    target: Array,
    *,
    margin: float = 1.0,
    reduction: str = "mean",
    weights: Array | None = None,
) -> Array:
    """The squared hinge loss: loss = max(0, margin - t p)², which has a derivative everywhere.

    Args and errors are those of :func:`hinge`.
    """
    short = _shortfall(prediction, target, margin)
    return reduce(short * short, reduction, weights)


@activating
def multilabel_hinge(
    prediction: Array,
    target: Array,
    *,
    margin: float = 1.0,
    reduction: str = "mean",
    weights: Array | None = None,
) -> Array:
    """The hinge losses of several yes-or-no labels of an example, added up.

        loss = Σ_j max(0, margin - t_j p_j)

    Args:
        prediction: scores p, shape (..., labels), floating-point.
        target: t, each -1 or 1, of the same shape and dtype.
        margin: above 0.
        reduction, weights: see the package; an example has one loss, of shape (...).

    Raises:
        LabelError: a target that can be read at once is neither -1 nor 1.
        ArgumentError: ``margin`` is not above 0.
    """
    xp, prediction, target = labelwise(prediction, target)
    return reduce(xp.sum(_shortfall(prediction, target, margin), axis=-1), reduction, weights)


@activating
def multiclass_hinge(
    scores: Array,
    target: Array,
    *,
    method: str = "weston_watkins",
    margin: float = 1.0,
    squared: bool = False,
    reduction: str = "mean",
    weights: Array | None = None,
) -> Array:
    """The hinge loss of several classes, in which each wrong class is to score less than the right one.

        weston_watkins: loss = Σ_{j ≠ t} max(0, margin + z_j - z_t)
        crammer_singer: loss = max(0, margin + max_{j ≠ t} z_j - z_t)

    Weston and Watkins, "Support vector machines for multi-class pattern recognition", ESANN 1999,
    which is the loss of CS231n; torch divides it by the number of classes. Crammer and Singer, "On the
    algorithmic implementation of multiclass kernel-based vector machines", JMLR 2, 2001; wrong classes
    that score equally share its gradient.

    Args:
        scores: z, shape (..., classes), floating-point.
        target: integer class ids t, shape (...).
        method: one of these two.
        margin: above 0.
        squared: square each max(…).
        reduction, weights: see the package.

    Raises:
        LabelError: a class id is not in 0 … classes-1. Where values cannot be read at once (on a
            GPU, or under a compiler) the loss is NaN instead.
        ArgumentError: ``method`` is neither of these, or ``margin`` is not above 0.
    """
    margin = positive("the margin", margin)
    xp, scores = classwise(scores, target)
    classes = scores.shape[-1]
    check_labels(target, classes)
    hit = one_hot(xp, target, classes)
    own = xp.sum(xp.where(hit, scores, 0.0), axis=-1)
    own = xp.where(xp.any(hit, axis=-1), own, float("nan"))
    if method == "weston_watkins":
        others, own = xp.where(hit, -float("inf"), scores), xp.expand_dims(own, axis=-1)
    elif method == "crammer_singer":
        others = xp.max(xp.where(hit, -float("inf"), scores), axis=-1)
    else:
        raise ArgumentError(f"method is 'weston_watkins' or 'crammer_singer', got {method!r}")
    short = ops.relu(others - own + margin)
    short = short * short if squared else short
    return reduce(xp.sum(short, axis=-1) if method == "weston_watkins" else short, reduction, weights)


def _shortfall(prediction: Array, target: Array, margin: float) -> Array:
    """max(0, margin - t p), after the checks."""
    margin = positive("the margin", margin)
    _, prediction, target = elementwise(prediction, target)
    require_signs(target)
    return ops.relu(margin - prediction * target)
