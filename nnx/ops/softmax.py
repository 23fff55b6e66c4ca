"""Softmax, and the cross-entropy of its result. Floats of 16 bits are taken up to float32, and the result down."""

from __future__ import annotations

from math import prod

from nnx._errors import DTypeError, LabelError
from nnx._precision import in_dtype, wide
from nnx._typing import Array, Namespace
from nnx.backend import dtype_kind, namespace_of, native_device, readable
from nnx.ops._op import op
from nnx.tape.primitive import untracked


def softmax_forward(xp: Namespace, x: Array, *, axis: int = -1) -> Array:
    """Softmax: y_i = exp(x_i) / Σ_j exp(x_j), computed on x - max(x), so that nothing overflows.

    Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.

    Args:
        x: any shape, floating-point.
        axis: the axis of the classes, along which y adds to 1.
    """
    z = wide(xp, x)
    e = xp.exp(z - xp.max(z, axis=axis, keepdims=True))
    return in_dtype(xp, e / xp.sum(e, axis=axis, keepdims=True), x.dtype)


def softmax_x(xp: Namespace, g: Array, y: Array, axis: int = -1) -> Array:
    """Y · (g - Σ_j g_j y_j)."""
    dtype, g, y = y.dtype, wide(xp, g), wide(xp, y)
    gy = g * y
    return in_dtype(xp, gy - xp.sum(gy, axis=axis, keepdims=True) * y, dtype)


def log_softmax_forward(xp: Namespace, x: Array, *, axis: int = -1) -> Array:
    """The logarithm of softmax: y_i = x_i - ln Σ_j exp(x_j), without forming the softmax.

    Args:
        x: any shape, floating-point.
        axis: the axis of the classes.
    """
    z = wide(xp, x)
    shifted = z - xp.max(z, axis=axis, keepdims=True)
    return in_dtype(xp, shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True)), x.dtype)


def log_softmax_x(xp: Namespace, g: Array, y: Array, axis: int = -1) -> Array:
    """G - softmax(x) Σ_j g_j."""
    dtype, g, y = y.dtype, wide(xp, g), wide(xp, y)
    return in_dtype(xp, g - xp.sum(g, axis=axis, keepdims=True) * xp.exp(y), dtype)


def softmax_cross_entropy_forward(
    xp: Namespace, logits: Array, labels: Array, *, mean: bool = False
) -> tuple[Array, Array]:
    """Cross-entropy of softmax with class ids: loss = ln Σ_j exp(z_j) - z_label.

    Args:
        logits: z, shape (..., classes).
        labels: integer ids, shape (...), each in 0 … classes-1. Where the values cannot be read at
            once (on a GPU, or under a compiler), a label out of range makes the loss NaN.
        mean: answer the mean over all examples.

    Returns:
        The loss of each example, shape (...), or their mean; and, for the adjoint, the derivative
        softmax(z) - one_hot(label), divided by the number of examples for the mean.

    Raises:
        DTypeError: the labels are no integers.
        LabelError: one is out of range.
    """
    classes = logits.shape[-1]
    if "integer" not in dtype_kind(xp, labels.dtype):
        raise label_dtype_error(labels)
    check_labels(labels, classes)
    z = wide(xp, logits)
    shifted = z - xp.max(z, axis=-1, keepdims=True)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=-1, keepdims=True)
    hit = one_hot(xp, labels, classes)
    picked = xp.sum(xp.where(hit, shifted, 0.0), axis=-1)
    loss = xp.log(xp.squeeze(total, axis=-1)) - picked
    loss = xp.where(xp.any(hit, axis=-1), loss, float("nan"))
    slope = e / total - xp.astype(hit, e.dtype)
    if mean:
        loss, slope = xp.mean(loss), slope / prod(labels.shape)
    return in_dtype(xp, loss, logits.dtype), in_dtype(xp, slope, logits.dtype)


def softmax_cross_entropy_logits(xp: Namespace, g: Array, saved: Array, mean: bool = False) -> Array:
    """G · (softmax(z) - one_hot(label))."""
    return (g if mean else xp.expand_dims(g, axis=-1)) * saved


def one_hot(xp: Namespace, labels: Array, classes: int) -> Array:
    """Boolean, shape (..., classes): true at the label."""
    if classes - 1 > xp.iinfo(labels.dtype).max:
        labels = xp.astype(labels, xp.int32)
    ids = xp.arange(classes, dtype=labels.dtype, device=native_device(labels))
    return ids == xp.expand_dims(labels, axis=-1)


def check_labels(labels: Array, classes: int) -> None:
    """Raise ``LabelError`` if a label that can be read at once is out of range."""
    labels = untracked(labels)
    if 0 in labels.shape or not readable(labels):
        return
    xp = namespace_of(labels)
    low, high = int(xp.min(labels)), int(xp.max(labels))
    if low < 0 or high >= classes:
        raise label_error(low, high, classes)


def label_dtype_error(labels: Array) -> DTypeError:
    """The error for labels that are no integers."""
    return DTypeError(f"integer class ids were expected, got dtype {labels.dtype}: cast them")


def label_error(low: int, high: int, classes: int) -> LabelError:
    """The error for labels from ``low`` to ``high``."""
    return LabelError(
        f"labels from 0 to {classes - 1} were expected, one for each of the {classes} logits; "
        f"got labels from {low} to {high}"
    )


softmax = op(softmax_forward, x=softmax_x)
log_softmax = op(log_softmax_forward, x=log_softmax_x)
softmax_cross_entropy = op(softmax_cross_entropy_forward, saves=True, logits=softmax_cross_entropy_logits)
