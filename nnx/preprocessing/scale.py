"""Transforms that treat each feature for itself: shifts and scales."""

from __future__ import annotations

from numbers import Integral
from typing import Self

from nnx._errors import ArgumentError, ShapeError
from nnx._typing import Array, Namespace
from nnx.preprocessing._transform import Transform, mean

Axis = int | tuple[int, ...]


class _Elementwise(Transform):
    """A transform whose statistics are over ``axis``, and have the other axes' shape."""

    def __init__(self, axis: Axis) -> None:
        super().__init__()
        axes = (axis,) if isinstance(axis, Integral) else axis
        if not isinstance(axes, tuple) or not all(isinstance(a, Integral) and a >= 0 for a in axes) or 0 not in axes:
            raise ArgumentError(
                f"axis is 0, the examples, or a tuple of axes that has 0 among them, such as (0, 1, 2); got {axis!r}"
            )
        self.axis = tuple(sorted({int(a) for a in axes}))

    def fit(self, x: Array) -> Self:
        """As that of every transform; the axes must be there."""
        if (rank := len(getattr(x, "shape", ()))) and self.axis[-1] >= rank:
            raise ShapeError(f"{self!r} expected an array with an axis {self.axis[-1]}, got shape {tuple(x.shape)}")
        return super().fit(x)

    def _check_features(self, x: Array) -> None:
        known = self._array(self.state[0]).shape
        kept = [a for a in range(len(known)) if a not in self.axis]
        if len(x.shape) != len(known) or any(x.shape[a] != known[a] for a in kept):
            expected = ", ".join("..." if a in self.axis else str(n) for a, n in enumerate(known))
            raise ShapeError(f"{self!r} was fitted to shape ({expected}), got {tuple(x.shape)}")

    def _arguments(self) -> str:
        return "" if self.axis == (0,) else f"axis={self.axis}"


class Center(_Elementwise):
    """Subtract the mean of each feature: y = x - μ.

    Args:
        axis: what the mean is over: the examples; or, for one mean a channel of images of shape
            (examples, height, width, channels), ``(0, 1, 2)``.

    >>> import nnx
    >>> x = nnx.asarray([[1.0, 10.0], [3.0, 30.0]])
    >>> nnx.preprocessing.Center().fit_transform(x)
    array([[ -1., -10.],
           [  1.,  10.]], dtype=float32)
    """

    state = ("mean",)

    def __init__(self, axis: Axis = 0) -> None:
        super().__init__(axis)

    @property
    def mean(self) -> Array:
        """μ, of the shape of x, with length 1 along ``axis``."""
        return self._array("mean")

    def _learn(self, xp: Namespace, x: Array) -> dict[str, Array]:
        return {"mean": mean(xp, x, self.axis)}

    def _apply(self, xp: Namespace, x: Array) -> Array:
        return x - self.mean

    def _invert(self, xp: Namespace, y: Array) -> Array:
        return y + self.mean


class Standardize(_Elementwise):
    """Bring each feature to mean 0 and standard deviation 1: y = (x - μ) / σ.

    σ² is the mean squared deviation from μ, as in scikit-learn. A feature that is constant has σ = 1, so
    that it becomes 0.

    Args:
        axis: as for :class:`Center`.

    >>> import nnx
    >>> x = nnx.asarray([[1.0, 10.0, 7.0], [3.0, 30.0, 7.0]])
    >>> nnx.preprocessing.Standardize().fit_transform(x)
    array([[-1., -1.,  0.],
           [ 1.,  1.,  0.]], dtype=float32)
    """

    state = ("mean", "scale")

    def __init__(self, axis: Axis = 0) -> None:
        super().__init__(axis)

    @property
    def mean(self) -> Array:
        """μ, of the shape of x, with length 1 along ``axis``."""
        return self._array("mean")

    @property
    def scale(self) -> Array:
        """σ, of the same shape."""
        return self._array("scale")

    def _learn(self, xp: Namespace, x: Array) -> dict[str, Array]:
        center = mean(xp, x, self.axis)
        deviation = x - center
        # relative to the largest: the square of a small number may be 0
        largest = _nonzero(xp, xp.max(xp.abs(deviation), axis=self.axis, keepdims=True))
        ratio = deviation / largest
        scale = xp.sqrt(xp.mean(ratio * ratio, axis=self.axis, keepdims=True)) * largest
        return {"mean": center, "scale": _nonzero(xp, scale)}

    def _apply(self, xp: Namespace, x: Array) -> Array:
        return (x - self.mean) / self.scale

    def _invert(self, xp: Namespace, y: Array) -> Array:
        return y * self.scale + self.mean


class MinMax(_Elementwise):
    """Bring each feature to a range: y = low + (x - min) / (max - min) · (high - low).

    min and max are those of the data that it was fitted to, and other data may leave the range. A
    feature that is constant has max - min = 1, so that it becomes ``low``.

    Args:
        low, high: the range, ``low < high``.
        axis: as for :class:`Center`.

    Raises:
        ArgumentError: the range is empty.

    >>> import nnx
    >>> x = nnx.asarray([[1.0, 10.0], [2.0, 15.0], [3.0, 30.0]])
    >>> nnx.preprocessing.MinMax().fit_transform(x)
    array([[0.  , 0.  ],
           [0.5 , 0.25],
           [1.  , 1.  ]], dtype=float32)
    """

    state = ("minimum", "span")

    def __init__(self, low: float = 0.0, high: float = 1.0, *, axis: Axis = 0) -> None:
        super().__init__(axis)
        self.low, self.high = float(low), float(high)
        if not float("-inf") < self.low < self.high < float("inf"):
            raise ArgumentError(f"a range has finite ends, and low < high; got low={low!r} and high={high!r}")

    @property
    def minimum(self) -> Array:
        """The least value of each feature, of the shape of x, with length 1 along ``axis``."""
        return self._array("minimum")

    @property
    def span(self) -> Array:
        """max - min, or 1 for a constant feature; of the same shape."""
        return self._array("span")

    def _learn(self, xp: Namespace, x: Array) -> dict[str, Array]:
        minimum = xp.min(x, axis=self.axis, keepdims=True)
        return {"minimum": minimum, "span": _nonzero(xp, xp.max(x, axis=self.axis, keepdims=True) - minimum)}

    def _apply(self, xp: Namespace, x: Array) -> Array:
        return (x - self.minimum) / self.span * (self.high - self.low) + self.low

    def _invert(self, xp: Namespace, y: Array) -> Array:
        return (y - self.low) / (self.high - self.low) * self.span + self.minimum

    def _arguments(self) -> str:
        axis = super()._arguments()
        return f"{self.low}, {self.high}" + (f", {axis}" if axis else "")


def _nonzero(xp: Namespace, x: Array) -> Array:
    """``x`` with 1 in place of 0."""
    return xp.where(x > 0, x, xp.ones_like(x))
