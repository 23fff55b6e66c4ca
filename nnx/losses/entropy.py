"""Losses of probabilities: cross-entropies, and what they consist of."""

from __future__ import annotations

from nnx import ops
from nnx._errors import ArgumentError, LabelError
from nnx._precision import wide
from nnx._typing import Array, Namespace
from nnx.backend import activating, namespace_of, readable
from nnx.losses._common import (
    classwise,
    elementwise,
    holds_ids,
    labelwise,
    reduce,
    require_alike,
    require_floating,
    require_ids,
    require_last_axis,
    require_range,
    require_some,
    require_weights,
)
from nnx.ops.softmax import check_labels, one_hot
from nnx.tape.primitive import untracked


@activating
def cross_entropy(
    logits: Array,
    target: Array,
    *,
    label_smoothing: float = 0.0,
    class_weights: Array | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
    weights: Array | None = None,
) -> Array:
    """Cross-entropy of softmax: loss = -Σ_j c_j t_j ln softmax(z)_j.

    Bishop, "Pattern Recognition and Machine Learning", 2006, equation 4.108.

    Args:
        logits: z, shape (..., classes), floating-point; not yet passed through softmax.
        target: integer class ids, shape (...); or the probabilities t, shape (..., classes).
        label_smoothing: ε in t' = (1 - ε) t + ε / classes (Szegedy et al., "Rethinking the Inception
            architecture", CVPR 2016, section 7).
        class_weights: c, shape (classes,), of the dtype of the logits; ``None`` for 1. In the mean an
            example then counts for Σ_j c_j t_j. So it does in torch where targets are class ids; here
            one-hot targets cost the same as ids, and torch counts each of them as 1.
        ignore_index: examples of this class id, which need not be that of a class, cost nothing and do not
            count in the mean.
        reduction, weights: see the package.

    Raises:
        LabelError: a class id is not in 0 … classes-1, or all are ``ignore_index``. Where values cannot be
            read at once (on a GPU, or under a compiler) the loss is NaN instead.
    """
    xp = namespace_of(logits, target, class_weights)
    logits = wide(xp, logits)
    require_floating(xp, logits)
    require_last_axis(logits, "classes")
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"label_smoothing lies in [0, 1], got {label_smoothing}")
    if class_weights is not None:
        require_weights(logits, class_weights, (logits.shape[-1],), "class_weights")
    if holds_ids(xp, target):
        require_ids(logits, target)
        require_some(logits)
        if class_weights is ignore_index is weights is None and reduction == "mean" and not label_smoothing:
            return ops.softmax_cross_entropy(logits, target, mean=True)
        loss, shares = _of_ids(xp, logits, target, label_smoothing, class_weights, ignore_index)
    else:
        target = wide(xp, target)
        require_alike(logits, target)
        require_some(logits)
        if ignore_index is not None:
            raise ArgumentError("ignore_index is for targets of class ids, and these are probabilities: use weights")
        loss, shares = _of_probabilities(xp, logits, target, label_smoothing, class_weights)
    return reduce(loss, reduction, weights, shares)


def _of_ids(
    xp: Namespace,
    logits: Array,
    ids: Array,
    label_smoothing: float,
    class_weights: Array | None,
    ignore_index: int | None,
) -> tuple[Array, Array | None]:
    """The cross-entropy of each example, and what it counts for in the mean; ``None`` for 1."""
    kept = shares = None
    if ignore_index is not None:
        ids, kept = _without(xp, ids, ignore_index)
    if class_weights is not None:
        check_labels(ids, logits.shape[-1])
        hit = one_hot(xp, ids, logits.shape[-1])
        target = xp.where(xp.any(hit, axis=-1, keepdims=True), xp.astype(hit, logits.dtype), float("nan"))
        loss, shares = _of_probabilities(xp, logits, target, label_smoothing, class_weights)
    else:
        loss = ops.softmax_cross_entropy(logits, ids)
        if label_smoothing:
            uniform = -xp.mean(ops.log_softmax(logits), axis=-1)
            loss = (1 - label_smoothing) * loss + label_smoothing * uniform
    if kept is None:
        return loss, shares
    shares = xp.astype(kept, loss.dtype) if shares is None else xp.where(kept, shares, 0.0)
    return xp.where(kept, loss, 0.0), shares


def _without(xp: Namespace, ids: Array, ignore_index: int) -> tuple[Array, Array | None]:
    """The ids with 0 in place of those to be ignored, and which are kept; ``None`` for all."""
    bounds = xp.iinfo(ids.dtype)
    if not bounds.min <= ignore_index <= bounds.max:
        return ids, None
    kept = ids != ignore_index
    if readable(untracked(kept)) and not bool(xp.any(kept)):
        raise LabelError(
            f"at least one class id other than ignore_index={ignore_index} was expected, and there is none"
        )
    return xp.where(kept, ids, 0), kept


def _of_probabilities(
    xp: Namespace, logits: Array, target: Array, label_smoothing: float, class_weights: Array | None
) -> tuple[Array, Array | None]:
    """The cross-entropy of each example, and what it counts for in the mean; ``None`` for 1."""
    smooth = (1 - label_smoothing) * target + label_smoothing / logits.shape[-1] if label_smoothing else target
    terms = ops.log_softmax(logits) * smooth
    if class_weights is None:
        return -xp.sum(terms, axis=-1), None
    return -xp.sum(terms * class_weights, axis=-1), xp.sum(target * class_weights, axis=-1)


@activating
def nll(log_probabilities: Array, target: Array, *, reduction: str = "mean", weights: Array | None = None) -> Array:
    """The negative log-likelihood of what has been passed through log_softmax: loss = -q_t.

    Args:
        log_probabilities: q, shape (..., classes), floating-point.
        target: integer class ids t, shape (...).
        reduction, weights: see the package.

    Raises:
        LabelError: as for :func:`cross_entropy`, to which it is equal after ``nnx.log_softmax``.
    """
    xp, log_probabilities = classwise(log_probabilities, target)
    classes = log_probabilities.shape[-1]
    check_labels(target, classes)
    hit = one_hot(xp, target, classes)
    loss = -xp.sum(xp.where(hit, log_probabilities, 0.0), axis=-1)
    return reduce(xp.where(xp.any(hit, axis=-1), loss, float("nan")), reduction, weights)


@activating
def kl_divergence(
    log_probabilities: Array, target: Array, *, reduction: str = "mean", weights: Array | None = None
) -> Array:
    """The Kullback-Leibler divergence of a prediction from a distribution: loss = Σ_j t_j (ln t_j - q_j).

    Terms of t_j = 0 are 0. Kullback and Leibler, "On information and sufficiency", Annals of
    Mathematical Statistics 22, 1951.

    Args:
        log_probabilities: q, logarithms of probabilities, such as ``nnx.log_softmax`` answers; shape
            (..., classes), floating-point.
        target: the probabilities t, of the same shape and dtype.
        reduction, weights: see the package; an example has one loss, of shape (...). ``"mean"`` is what
            torch calls ``"batchmean"``.

    Raises:
        LabelError: a target that can be read at once is not in [0, 1].
    """
    xp, log_probabilities, target = labelwise(log_probabilities, target)
    require_range(target, "; they are probabilities, and their logarithms come first")
    some = target > 0
    terms = (xp.where(some, log_probabilities, 0.0) - xp.log(xp.where(some, target, 1.0))) * target
    return reduce(-xp.sum(terms, axis=-1), reduction, weights)


@activating
def binary_cross_entropy(
    prediction: Array,
    target: Array,
    *,
    from_logits: bool = True,
    reduction: str = "mean",
    weights: Array | None = None,
) -> Array:
    """Cross-entropy of independent yes-or-no predictions: loss = -t ln p - (1 - t) ln(1 - p).

    Bishop, "Pattern Recognition and Machine Learning", 2006, equation 4.90.

    Args:
        prediction: logits z, where p = sigmoid(z), computed as ln(1 + exp(z)) - t z, which no z
            overflows; or p itself. Any shape, floating-point.
        target: t in [0, 1], of the same shape and dtype.
        from_logits: whether ``prediction`` is z. Probabilities are kept the dtype's epsilon away
            from 0 and 1.
        reduction, weights: see the package.

    Raises:
        LabelError: a target that can be read at once is not in [0, 1].
    """
    return reduce(_binary(prediction, target, from_logits), reduction, weights)


@activating
def multilabel_logistic(
    prediction: Array,
    target: Array,
    *,
    from_logits: bool = True,
    reduction: str = "mean",
    weights: Array | None = None,
) -> Array:
    """The binary cross-entropies of several yes-or-no labels of an example, added up.

        loss = -Σ_j (t_j ln p_j + (1 - t_j) ln(1 - p_j))

    Args:
        prediction: logits z, where p = sigmoid(z), or p itself; shape (..., labels), floating-point.
        target: t in [0, 1], of the same shape and dtype.
        from_logits: whether ``prediction`` is z, as in :func:`binary_cross_entropy`.
        reduction, weights: see the package; an example has one loss, of shape (...).

    Raises:
        LabelError: a target that can be read at once is not in [0, 1].
    """
    xp, prediction, target = labelwise(prediction, target)
    return reduce(xp.sum(_binary(prediction, target, from_logits), axis=-1), reduction, weights)


def _binary(prediction: Array, target: Array, from_logits: bool) -> Array:
    """The binary cross-entropy of each element."""
    xp, prediction, target = elementwise(prediction, target)
    require_range(target, "; of targets -1 and 1 these are (target + 1) / 2")
    if from_logits:
        return ops.softplus(prediction) - prediction * target
    epsilon = float(xp.finfo(prediction.dtype).eps)
    p = xp.clip(prediction, epsilon, 1 - epsilon)
    return -(xp.log(p) * target + xp.log1p(-p) * (1 - target))
