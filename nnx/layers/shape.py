"""Layers that only change shapes."""

from __future__ import annotations

from math import prod

from nnx._errors import ShapeError
from nnx._typing import Array
from nnx.backend import namespace_of
from nnx.module import Module


class Flatten(Module):
    """All axes but the first in one, in row-major order.

    Shape: (batch, ...) -> (batch, features).

    Raises:
        ShapeError: when it is called on an array without axes.
    """

    def __call__(self, x: Array) -> Array:
        xp = namespace_of(x)
        if not x.shape:
            raise ShapeError("Flatten() expected an array of shape (batch, ...), got shape ()")
        return xp.reshape(x, (x.shape[0], prod(x.shape[1:])))
