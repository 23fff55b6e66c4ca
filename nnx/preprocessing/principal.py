"""Transforms to the principal axes of data: PCA, and whitening along them."""

from __future__ import annotations

from numbers import Integral, Real

from nnx._arguments import non_negative
from nnx._errors import ArgumentError, ShapeError
from nnx._typing import Array, Namespace
from nnx.backend import activation, to_numpy
from nnx.preprocessing._transform import Transform, mean

TALL, WORK = 10, 10**8
"""From so many examples a feature on, and examples · features², the covariance is decomposed in place of the data."""


class PCA(Transform):
    """Principal component analysis: y = (x - μ) Dᵀ, the coordinates along the axes of greatest variance.

    The rows of D are the eigenvectors of the covariance Σ (x - μ)(x - μ)ᵀ / (n - 1), of which there are
    min(examples, features), by falling eigenvalue; the largest element of each, by its absolute value,
    is positive. Pearson, "On lines and planes of closest fit to systems of points in space",
    Philosophical Magazine 2, 1901. They are found as the singular vectors of x - μ; of large data, of 10
    examples a feature or more, from the covariance itself, which is far quicker, and where variances below
    the dtype's epsilon times the largest are lost in rounding.

    Shape: (examples, features) -> (examples, components).

    Args:
        components: how many axes to keep; or, as a fraction between 0 and 1, the variance that those
            kept must exceed together; ``None`` for all.

    Raises:
        ArgumentError: ``components`` is neither; (by ``fit``) there are not so many.
        ShapeError: (by ``fit``) there are fewer than two examples, or x is no matrix.

    >>> import nnx
    >>> x = nnx.asarray([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    >>> pca = nnx.preprocessing.PCA(1).fit(x)
    >>> abs(pca(x)).round(3)
    array([[1.414],
           [0.   ],
           [1.414]], dtype=float32)
    """

    state = ("mean", "directions", "variance", "total")

    def __init__(self, components: float | None = None) -> None:
        super().__init__()
        whole = isinstance(components, Integral) and not isinstance(components, bool) and components >= 1
        fraction = not isinstance(components, Integral) and isinstance(components, Real) and 0 < components < 1
        if components is not None and not whole and not fraction:
            raise ArgumentError(
                "components is a whole number of at least 1, a share of the variance between 0 and 1, or None for all; "
                f"got {components!r}"
            )
        self.components = components

    @property
    def mean(self) -> Array:
        """μ, shape (features,)."""
        return self._array("mean")

    @property
    def directions(self) -> Array:
        """D, shape (components, features)."""
        return self._array("directions")

    @property
    def variance(self) -> Array:
        """The variance along each direction, shape (components,)."""
        return self._array("variance")

    @property
    def ratio(self) -> Array:
        """The share of each direction in the variance of all of them, shape (components,)."""
        with activation(self.variance):
            return self.variance / self._array("total")

    def _learn(self, xp: Namespace, x: Array) -> dict[str, Array]:
        if len(x.shape) != 2 or x.shape[0] < 2:
            raise ShapeError(
                f"{self!r} expected a matrix (examples, features) of two examples or more, got shape {tuple(x.shape)}"
                + (": reshape it to (examples, features)" if len(x.shape) > 2 else "")
            )
        if isinstance(self.components, Integral) and self.components > min(x.shape):
            raise ArgumentError(
                f"{self!r} cannot have {self.components} components: {x.shape[0]} examples of {x.shape[1]} features "
                f"have {min(x.shape)}"
            )
        center = mean(xp, x)
        directions, variance = _principal(xp, x - center)
        total = xp.sum(variance)
        kept = self._kept(variance)
        return {
            "mean": xp.reshape(center, (-1,)),
            "directions": directions[:kept, :],
            "variance": variance[:kept],
            "total": xp.where(total > 0, total, xp.ones_like(total)),
        }

    def _kept(self, variance: Array) -> int:
        """How many components to keep."""
        if self.components is None:
            return int(variance.shape[0])
        if isinstance(self.components, Integral):
            return int(self.components)
        shares = to_numpy(variance).cumsum(dtype="float64")
        return int((shares <= self.components * shares[-1]).sum()) + 1 if shares[-1] > 0 else 1

    def _apply(self, xp: Namespace, x: Array) -> Array:
        return (x - self.mean) @ xp.matrix_transpose(self.directions)

    def _invert(self, xp: Namespace, y: Array) -> Array:
        return y @ self.directions + self.mean

    def _check_features(self, x: Array) -> None:
        self._require_columns(x, self.directions.shape[1])

    def _check_results(self, y: Array) -> None:
        self._require_columns(y, self.directions.shape[0])

    def _require_columns(self, x: Array, count: int) -> None:
        if len(x.shape) != 2 or x.shape[1] != count:
            raise ShapeError(f"{self!r} expected an array of shape (examples, {count}), got {tuple(x.shape)}")

    def _arguments(self) -> str:
        return "" if self.components is None else str(self.components)


class Whiten(PCA):
    """PCA whitening: y = (x - μ) Dᵀ / sqrt(λ + ε), whose features have variance 1 and no correlation.

    λ is the variance along each direction of :class:`PCA`; ε is the fudge factor of CS231n, which keeps
    directions of little variance, that is mostly noise, from being blown up: they get less than
    variance 1, and a direction of no variance, such as that of a constant feature, becomes 0. Departure
    from that course: λ has the divisor n - 1, as in scikit-learn.

    Shape: (examples, features) -> (examples, components).

    Args:
        epsilon: ε ≥ 0, in the units of x².
        components: as for :class:`PCA`.

    Raises:
        ArgumentError: ``epsilon`` is negative; (by ``fit``) all examples are equal; or ε = 0, and there are
            directions of no variance: features that are constant, or determined by others, or no
            fewer than there are examples.
        ShapeError: (by ``fit``) there are fewer than two examples, or x is no matrix.
    """

    def __init__(self, epsilon: float = 1e-5, *, components: float | None = None) -> None:
        super().__init__(components)
        self.epsilon = non_negative("epsilon", epsilon)

    def _learn(self, xp: Namespace, x: Array) -> dict[str, Array]:
        learned = super()._learn(xp, x)
        variance = to_numpy(learned["variance"])
        if variance[0] == 0:
            raise ArgumentError(f"{self!r} cannot whiten features that are all constant: the examples are equal")
        rank = int((variance > variance[0] * x.shape[1] * float(xp.finfo(x.dtype).eps)).sum())
        if not self.epsilon and rank < len(variance):
            raise ArgumentError(
                f"{self!r} cannot whiten {x.shape[0]} examples of {x.shape[1]} features with epsilon=0: {rank} of "
                f"{len(variance)} directions have a variance that {x.dtype} tells from 0. Features are constant, or "
                f"determined by others, or too few examples are there; give it an epsilon, or components={rank} at most"
            )
        return learned

    def _scale(self, xp: Namespace) -> Array:
        return xp.sqrt(self.variance + self.epsilon)

    def _apply(self, xp: Namespace, x: Array) -> Array:
        return super()._apply(xp, x) / self._scale(xp)

    def _invert(self, xp: Namespace, y: Array) -> Array:
        return super()._invert(xp, y * self._scale(xp))

    def _arguments(self) -> str:
        return f"{self.epsilon}" + ("" if self.components is None else f", components={self.components}")


class ZCA(Whiten):
    """ZCA whitening: y = (x - μ) Dᵀ / sqrt(λ + ε) D, the whitened data that are closest to x.

    As :class:`Whiten`, and turned back to the axes of x, so that whitened images look like images. Bell
    and Sejnowski, "The 'independent components' of natural scenes are edge filters", Vision Research 37,
    1997.

    Shape: (examples, features) -> the same.

    Args:
        epsilon: ε ≥ 0, in the units of x².

    Raises:
        ArgumentError, ShapeError: as for :class:`Whiten`.
    """

    def __init__(self, epsilon: float = 1e-5) -> None:
        super().__init__(epsilon)

    def _apply(self, xp: Namespace, x: Array) -> Array:
        return super()._apply(xp, x) @ self.directions

    def _invert(self, xp: Namespace, y: Array) -> Array:
        return super()._invert(xp, y @ xp.matrix_transpose(self.directions))

    def _check_results(self, y: Array) -> None:
        self._check_features(y)


def _principal(xp: Namespace, centred: Array) -> tuple[Array, Array]:
    """The directions of falling variance, shape (min(n, d), d), and the variance along each."""
    n, d = centred.shape
    if n >= TALL * d and n * d * d > WORK:
        variance, columns = xp.linalg.eigh(xp.matrix_transpose(centred) @ centred / (n - 1))
        variance, directions = xp.flip(variance), xp.matrix_transpose(xp.flip(columns, axis=1))
        variance = xp.maximum(variance, xp.zeros_like(variance))
    else:
        _, s, directions = xp.linalg.svd(centred, full_matrices=False)
        variance = s * s / (n - 1)
    largest = xp.argmax(xp.abs(directions), axis=1, keepdims=True)
    return directions * xp.sign(xp.take_along_axis(directions, largest, axis=1)), variance
