"""What all fitted transforms share: when they are fitted, on what, and how they are saved."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Self

from nnx._errors import ArgumentError, DifferentiationError, DTypeError, ShapeError, StateError
from nnx._typing import Array, Namespace
from nnx.backend import Device, activating, asarray, dtype_kind, is_array, namespace_of, to_numpy
from nnx.tape.primitive import untracked


class Transform:
    """The base of the transforms. A subclass names its state and writes the three functions below.

    ``fit`` learns from an array, and leaves what it learned on the device of that array, in its dtype.
    The transform is then a function of arrays like it: ``transform(x)``, or ``transform.transform(x)``.
    ``nnx.save_weights(path, transform)`` saves what it learned, and
    ``transform.load(nnx.load_weights(path), device=...)`` takes it back into a transform that was made
    with the same arguments.
    """

    state: tuple[str, ...] = ()
    """Names of the arrays that it learns."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}

    def _learn(self, xp: Namespace, x: Array) -> dict[str, Array]:
        """What is learned from ``x``, which is finite: the arrays that ``state`` names."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it learns: write _learn")

    def _apply(self, xp: Namespace, x: Array) -> Array:
        """The transform of ``x``, which has as many features as that which it was fitted to."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it computes: write _apply")

    def _invert(self, xp: Namespace, y: Array) -> Array:
        """What has the transform ``y``."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    @activating
    def fit(self, x: Array) -> Self:
        """Learn from ``x``; answers this transform. Waits for the device.

        Args:
            x: shape (examples, ...), floating-point.

        Raises:
            ShapeError: there is no example, or no feature.
            DTypeError: ``x`` is no array of floats.
            ArgumentError: ``x`` holds NaN or infinity.
            DifferentiationError: ``x`` is tracked.
        """
        self._require_floats(x)
        if untracked(x) is not x:
            raise DifferentiationError(
                f"{self!r} cannot be fitted to a tracked array, whose gradient would be lost: fit it before, outside "
                "the function that is differentiated"
            )
        if len(x.shape) < 2 or not prod(x.shape):
            raise ShapeError(
                f"{self!r} expected an array of shape (examples, features), with at least one of each, got "
                f"{tuple(x.shape)}"
            )
        xp = namespace_of(x)
        if not bool(to_numpy(xp.all(xp.isfinite(x)))):
            raise ArgumentError(f"{self!r} cannot be fitted to NaN or infinity: remove or replace these values first")
        self._arrays = self._learn(xp, x)
        return self

    @activating
    def __call__(self, x: Array) -> Array:
        """The transform of ``x``.

        Args:
            x: shape (examples, ...), of the features, dtype and device of what it was fitted to.

        Raises:
            StateError: it is not fitted yet.
            ShapeError, DTypeError: the array does not fit.
        """
        self._require_like(x)
        self._check_features(x)
        return self._apply(namespace_of(x, *self._arrays.values()), x)

    def transform(self, x: Array) -> Array:
        """The transform of ``x``, as a call answers it."""
        return self(x)

    def fit_transform(self, x: Array) -> Array:
        """Learn from ``x``, and answer its transform."""
        return self.fit(x)(x)

    @activating
    def inverse(self, y: Array) -> Array:
        """The array that has the transform ``y``, up to what the transform drops.

        Raises:
            StateError: it is not fitted yet.
            ShapeError, DTypeError: the array does not fit.
        """
        self._require_like(y)
        self._check_results(y)
        return self._invert(namespace_of(y, *self._arrays.values()), y)

    # --- state --------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Array]:
        """What it learned, by name; the arrays that a file holds.

        Raises:
            StateError: it is not fitted yet.
        """
        return {name: self._array(name) for name in self.state}

    def load(self, arrays: Mapping[str, Array], *, device: str | Device | None = None) -> Self:
        """Take what another one learned, e.g. from :func:`nnx.load_weights`; answers this transform.

        Args:
            arrays: of any library; they are copied to ``device``.
            device: a device flag; ``None`` for the default device.

        Raises:
            StateError: arrays are missing or unknown.
        """
        if arrays.keys() != set(self.state):
            raise StateError(
                f"{self!r} has the arrays {', '.join(self.state)}, got {', '.join(arrays) or 'none'}: load it into a "
                "transform of the kind that it was saved from"
            )
        self._arrays = {name: asarray(arrays[name], device=device) for name in self.state}
        return self

    def to(self, device: str | Device) -> Self:
        """Move what it learned to a device; answers this transform."""
        return self.load(self.arrays(), device=device)

    def _array(self, name: str) -> Array:
        if not self._arrays:
            raise StateError(f"{self!r} is not fitted yet: call fit(x) on the training data first")
        return self._arrays[name]

    # --- checks -------------------------------------------------------------------------------

    def _check_features(self, x: Array) -> None:
        """Raise ``ShapeError`` if ``x`` has other features than what it was fitted to."""

    def _check_results(self, y: Array) -> None:
        """Raise ``ShapeError`` if ``y`` has other features than what it answers."""
        self._check_features(y)

    def _require_floats(self, x: Array) -> None:
        if not is_array(x):
            raise DTypeError(f"{self!r} expected an array, got {type(x).__name__}: make one with nnx.asarray(...)")
        if dtype_kind(namespace_of(x), x.dtype) != "real floating":
            raise DTypeError(f"{self!r} expected an array of real floats, got dtype {x.dtype}: cast it")

    def _require_like(self, x: Array) -> None:
        like = self._array(self.state[0])
        self._require_floats(x)
        namespace_of(x, like)  # arrays of two libraries have no common dtypes
        if x.dtype != like.dtype:
            raise DTypeError(f"{self!r} was fitted to dtype {like.dtype} and got {x.dtype}: cast the array")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._arguments()})"

    def _arguments(self) -> str:
        """What the text form shows between the brackets."""
        return ""


def mean(xp: Namespace, x: Array, axis: int | tuple[int, ...] = 0) -> Array:
    """The mean over ``axis``, which is kept with length 1; that of equal numbers is exact.

    The mean of the deviations from a first mean corrects that for the rounding of a long sum.
    """
    first = xp.mean(x, axis=axis, keepdims=True)
    return first + xp.mean(x - first, axis=axis, keepdims=True)
