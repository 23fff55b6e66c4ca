"""Losses: what a prediction costs, given its target.

Each takes ``(prediction, target)`` and, by keyword,

``reduction``
    ``"mean"`` (the default), ``"sum"``, or ``"none"`` for the loss of each example
``weights``
    one number for each example, of the shape and dtype that ``"none"`` answers. The mean is then the
    weighted one, Σ w l / Σ w.

and raises ``ShapeError`` where shapes do not fit or the batch is empty.
"""

from __future__ import annotations

from nnx import ops
from nnx._errors import ArgumentError, DTypeError, ShapeError
from nnx._typing import Array, Namespace
from nnx.backend import dtype_kind, namespace_of

__all__ = ["binary_cross_entropy", "cross_entropy", "mae", "mse"]


def cross_entropy(
    logits: Array,
    target: Array,
    *,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    weights: Array | None = None,
) -> Array:
    """Cross-entropy of softmax: loss = -Σ_j t_j ln softmax(z)_j.

    Bishop, "Pattern Recognition and Machine Learning", 2006, equation 4.108.

    Args:
        logits: z, shape (..., classes), floating-point; not yet passed through softmax.
        target: integer class ids, shape (...); or the probabilities t, shape (..., classes).
        label_smoothing: ε in t' = (1 - ε) t + ε / classes (Szegedy et al., "Rethinking the Inception
            architecture", CVPR 2016, section 7).
        reduction, weights: see the module.

    Raises:
        LabelError: a class id is not in 0 … classes-1. Where values cannot be read at once (on a
            GPU, or under a compiler) the loss is NaN instead.
    """
    xp = namespace_of(logits, target)
    _require_floating(xp, logits)
    if not logits.shape:
        raise ShapeError("logits of shape (..., classes) were expected, got shape ()")
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"label_smoothing lies in [0, 1], got {label_smoothing}")
    classes = logits.shape[-1]
    if dtype_kind(xp, target.dtype).endswith("integer"):
        if target.shape != logits.shape[:-1]:
            raise ShapeError(
                f"class ids of shape {tuple(logits.shape[:-1])} were expected for logits of shape "
                f"{tuple(logits.shape)}, got {tuple(target.shape)}"
                + ("; pass one-hot targets as floats" if target.shape == logits.shape else "")
            )
        _require_some(logits)
        if reduction == "mean" and weights is None and not label_smoothing:
            return ops.softmax_cross_entropy(logits, target, mean=True)
        loss = ops.softmax_cross_entropy(logits, target)
        if label_smoothing:
            uniform = -xp.mean(ops.log_softmax(logits), axis=-1)
            loss = (1 - label_smoothing) * loss + label_smoothing * uniform
    else:
        _require_same_shape(logits, target)
        _require_some(logits)
        if label_smoothing:
            target = (1 - label_smoothing) * target + label_smoothing / classes
        loss = -xp.sum(ops.log_softmax(logits) * target, axis=-1)
    return _reduce(loss, reduction, weights)


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
        reduction, weights: see the module.
    """
    xp = _elementwise(prediction, target)
    if from_logits:
        loss = xp.logaddexp(prediction, xp.zeros_like(prediction)) - prediction * target
    else:
        epsilon = float(xp.finfo(prediction.dtype).eps)
        p = xp.clip(prediction, epsilon, 1 - epsilon)
        loss = -(xp.log(p) * target + xp.log1p(-p) * (1 - target))
    return _reduce(loss, reduction, weights)


def mse(prediction: Array, target: Array, *, reduction: str = "mean", weights: Array | None = None) -> Array:
    """Squared error: loss = (prediction - target)², for each element.

    Args:
        prediction, target: of one shape and dtype, floating-point.
        reduction, weights: see the module.
    """
    xp = _elementwise(prediction, target)
    return _reduce(xp.square(prediction - target), reduction, weights)


def mae(prediction: Array, target: Array, *, reduction: str = "mean", weights: Array | None = None) -> Array:
    """Absolute error: loss = |prediction - target|, for each element; its derivative at 0 is 0.

    Args:
        prediction, target: of one shape and dtype, floating-point.
        reduction, weights: see the module.
    """
    xp = _elementwise(prediction, target)
    return _reduce(xp.abs(prediction - target), reduction, weights)


def _elementwise(prediction: Array, target: Array) -> Namespace:
    xp = namespace_of(prediction, target)
    _require_floating(xp, prediction)
    _require_same_shape(prediction, target)
    _require_some(prediction)
    return xp


def _require_floating(xp: Namespace, prediction: Array) -> None:
    if dtype_kind(xp, prediction.dtype) != "real floating":
        raise DTypeError(f"a floating-point prediction was expected, got dtype {prediction.dtype}")


def _require_same_shape(prediction: Array, target: Array) -> None:
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


def _require_some(prediction: Array) -> None:
    if 0 in prediction.shape:
        raise ShapeError(f"a batch of at least one example was expected, got shape {tuple(prediction.shape)}")


def _reduce(loss: Array, reduction: str, weights: Array | None) -> Array:
    xp = namespace_of(loss, weights)
    if weights is not None:
        if weights.shape != loss.shape:
            raise ShapeError(f"weights of shape {tuple(loss.shape)} were expected, got {tuple(weights.shape)}")
        if weights.dtype != loss.dtype:
            raise DTypeError(
                f"weights of dtype {loss.dtype} were expected, that of the prediction; got {weights.dtype}: cast them"
            )
        loss = loss * weights
    if reduction == "mean":
        return xp.mean(loss) if weights is None else xp.sum(loss) / xp.sum(weights)
    if reduction == "sum":
        return xp.sum(loss)
    if reduction == "none":
        return loss
    raise ArgumentError(f"reduction is 'mean', 'sum' or 'none', got {reduction!r}")
