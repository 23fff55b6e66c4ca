"""What losses share: checks of their arguments, and the reduction to a number."""

from __future__ import annotations

from nnx._errors import ArgumentError, DTypeError, LabelError, ShapeError
from nnx._precision import wide
from nnx._typing import Array, Namespace
from nnx.backend import dtype_kind, namespace_of, readable
from nnx.ops.softmax import label_dtype_error
from nnx.tape.primitive import untracked


def elementwise(prediction: Array, target: Array) -> tuple[Namespace, Array, Array]:
    """The namespace of two arrays of one shape and dtype, of floats and not empty; and they, in float32 if narrower."""
    xp = namespace_of(prediction, target)
    prediction, target = wide(xp, prediction), wide(xp, target)
    require_floating(xp, prediction)
    require_alike(prediction, target)
    require_some(prediction)
    return xp, prediction, target


def labelwise(prediction: Array, target: Array) -> tuple[Namespace, Array, Array]:
    """As :func:`elementwise`, where the last axis is that of the labels."""
    xp, prediction, target = elementwise(prediction, target)
    require_last_axis(prediction, "labels")
    return xp, prediction, target


def classwise(scores: Array, target: Array) -> tuple[Namespace, Array]:
    """The namespace of scores of all classes, and of the ids of classes; and the scores, in float32 if narrower."""
    xp = namespace_of(scores, target)
    scores = wide(xp, scores)
    require_floating(xp, scores)
    require_last_axis(scores, "classes")
    if not holds_ids(xp, target):
        raise label_dtype_error(target)
    require_ids(scores, target)
    require_some(scores)
    return xp, scores


def holds_ids(xp: Namespace, target: Array) -> bool:
    """Whether a target is one of integers."""
    return dtype_kind(xp, target.dtype).endswith("integer")


def require_floating(xp: Namespace, prediction: Array) -> None:
    """Raise ``DTypeError`` unless the prediction is of real floats."""
    if dtype_kind(xp, prediction.dtype) != "real floating":
        raise DTypeError(f"a floating-point prediction was expected, got dtype {prediction.dtype}")


def require_last_axis(prediction: Array, name: str) -> None:
    """Raise ``ShapeError`` unless there is a last axis, of classes or labels."""
    if not prediction.shape:
        what = "logits" if name == "classes" else "predictions"
        raise ShapeError(f"{what} of shape (..., {name}) were expected, got shape ()")


def require_ids(scores: Array, target: Array) -> None:
    """Raise ``ShapeError`` unless there is one id for each row of scores."""
    if target.shape != scores.shape[:-1]:
        raise ShapeError(
            f"class ids of shape {tuple(scores.shape[:-1])} were expected for logits of shape "
            f"{tuple(scores.shape)}, got {tuple(target.shape)}"
            + ("; pass one-hot targets as floats" if target.shape == scores.shape else "")
        )


def require_alike(prediction: Array, target: Array) -> None:
    """Raise ``ShapeError`` or ``DTypeError`` unless the target has the shape and dtype of the prediction."""
    if prediction.shape != target.shape:
        raise ShapeError(
            f"a target of shape {tuple(prediction.shape)} was expected, that of the prediction; "
            f"got {tuple(target.shape)}"
            + ("; class ids must be integers: cast them" if target.shape == prediction.shape[:-1] else "")
        )
    if prediction.dtype != target.dtype:
        raise DTypeError(
            f"a target of dtype {prediction.dtype} was expected, that of the prediction; got {target.dtype}: cast it"
        )


def require_some(prediction: Array) -> None:
    """Raise ``ShapeError`` for an empty batch."""
    if 0 in prediction.shape:
        raise ShapeError(f"a batch of at least one example was expected, got shape {tuple(prediction.shape)}")


def require_range(target: Array, remedy: str) -> None:
    """Raise ``LabelError`` if a target that can be read at once is not in [0, 1]."""
    target = untracked(target)
    if readable(target):
        xp = namespace_of(target)
        low, high = float(xp.min(target)), float(xp.max(target))
        if not 0 <= low <= high <= 1:
            raise LabelError(f"targets in [0, 1] were expected, got targets from {low:g} to {high:g}{remedy}")


def require_signs(target: Array) -> None:
    """Raise ``LabelError`` if a target that can be read at once is neither -1 nor 1."""
    target = untracked(target)
    if readable(target):
        xp = namespace_of(target)
        if not bool(xp.all(xp.abs(target) == 1)):
            low, high = float(xp.min(target)), float(xp.max(target))
            raise LabelError(
                f"targets of -1 and 1 were expected, got targets from {low:g} to {high:g}; of labels 0 and 1 these "
                "are 2 * labels - 1"
            )


def reduce(loss: Array, reduction: str, weights: Array | None, shares: Array | None = None) -> Array:
    """The loss of each example, weighted; or the sum or the mean of these.

    The mean is Σ w l / Σ w s, where s, ``shares``, is what an example counts for before it is weighted: 1,
    unless told otherwise.
    """
    xp = namespace_of(loss, weights, shares)
    if weights is not None:
        require_weights(loss, weights, loss.shape)
        loss = loss * weights
        shares = weights if shares is None else shares * weights
    if reduction == "mean":
        return xp.mean(loss) if shares is None else xp.sum(loss) / xp.sum(shares)
    if reduction == "sum":
        return xp.sum(loss)
    if reduction == "none":
        return loss
    raise ArgumentError(f"reduction is 'mean', 'sum' or 'none', got {reduction!r}")


def require_weights(loss: Array, weights: Array, shape: tuple[int, ...], name: str = "weights") -> None:
    """Raise ``ShapeError`` or ``DTypeError`` unless weights have that shape, and the dtype of the loss."""
    if weights.shape != shape:
        raise ShapeError(f"{name} of shape {tuple(shape)} were expected, got {tuple(weights.shape)}")
    if weights.dtype != loss.dtype:
        raise DTypeError(
            f"{name} of dtype {loss.dtype} were expected, that of the prediction; got {weights.dtype}: cast them"
        )
