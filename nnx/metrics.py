"""Metrics: how good a prediction is, given its target.

A metric is a function ``(prediction, target) -> scalar``, the mean over the examples of a batch. Its
name in a history and on a progress bar is its ``__name__``.
"""

from __future__ import annotations

import math

from nnx._errors import ShapeError
from nnx._typing import Array
from nnx.backend import activating, dtype_kind, namespace_of, readable
from nnx.ops.softmax import label_dtype_error

__all__ = ["Mean", "accuracy"]


@activating
def accuracy(prediction: Array, target: Array) -> Array:
    """The share of examples whose most probable class is the right one.

    accuracy = mean(argmax_j p_j = target); of equal values the first counts.

    Args:
        prediction: logits or probabilities p, shape (n, ..., classes).
        target: integer class ids, shape (n, ...); or one-hot vectors or probabilities, of the shape
            of ``prediction``, whose largest entry is the class.

    Returns:
        float32, shape ().

    Raises:
        ShapeError: the shapes do not fit, there is no example, or there is one class only.
        DTypeError: class ids are not integers.
    """
    xp = namespace_of(prediction, target)
    shape = tuple(prediction.shape)
    if 0 in shape or len(shape) < 2:
        raise ShapeError(f"predictions of shape (n, ..., classes) were expected, n at least 1; got {shape}")
    if shape[-1] == 1:
        raise ShapeError(
            f"predictions of shape (n, ..., classes) with two classes or more were expected, got {shape}: with one "
            "output, the first of one class is always right; compare it with a threshold of your own"
        )
    guess = xp.argmax(prediction, axis=-1)
    if tuple(target.shape) == shape:
        if xp.isdtype(target.dtype, "bool"):
            target = xp.astype(target, xp.int8)
        label = xp.argmax(target, axis=-1)
    elif tuple(target.shape) != shape[:-1]:
        raise ShapeError(
            f"class ids of shape {shape[:-1]} or probabilities of shape {shape} were expected for predictions of "
            f"shape {shape}, got {tuple(target.shape)}"
        )
    elif "integer" not in dtype_kind(xp, target.dtype):
        raise label_dtype_error(target)
    else:
        label = xp.astype(target, guess.dtype, copy=False)
    right = xp.astype(guess == label, xp.float32)
    return xp.sum(right) / math.prod(right.shape)


class Mean:
    """The mean over examples of what is told batch by batch: Σ value · count / Σ count.

    Values that lie on a device are added up there; nothing waits for it before :meth:`result`.

    >>> mean = Mean()
    >>> mean.add(1.0, count=3)
    >>> mean.add(0.0, count=1)
    >>> mean.result()
    0.75
    """

    def __init__(self) -> None:
        self._count = 0
        self._read = 0.0
        self._pending: Array | None = None

    @activating
    def add(self, value: Array | float, count: int) -> None:
        """Add a batch: its mean, a number or an array of shape (), and its number of examples."""
        self._count += count
        if type(value) is float or type(value) is int or readable(value):
            self._read += float(value) * count
        elif self._pending is None:
            self._pending = value * count
        else:
            self._pending = self._pending + value * count

    def result(self) -> float:
        """The mean so far; NaN before the first batch."""
        if self._pending is not None:
            self._read += float(self._pending)
            self._pending = None  # so that sums in float32 stay short
        return self._read / self._count if self._count else math.nan
