"""Inverted dropout."""

from __future__ import annotations

from math import prod

from nnx._errors import ArgumentError
from nnx._typing import Array, Namespace
from nnx.backend import native_device
from nnx.ops._op import op
from nnx.random import words


def dropout_forward(xp: Namespace, x: Array, key: Array, step: Array, *, rate: float) -> tuple[Array, Array]:
    """Inverted dropout: y = x · keep / (1 - rate), where each element is kept with chance 1 - rate.

    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent
    neural networks from overfitting", JMLR 15, 2014, section 10. The mask is the same on every
    backend: integers decide it.

    Args:
        x: any shape, floating-point.
        key: the key of the random stream, int32, shape (2,).
        step: which mask of the stream, int32, shape (1,).
        rate: the chance that an element is dropped, in [0, 1).

    Returns:
        y, of the shape of x; and, for the adjoint, keep / (1 - rate).
    """
    mask = xp.astype(keep_mask(xp, key, step, rate, x), x.dtype) * (1 / (1 - rate))
    return x * mask, mask


def dropout_x(xp: Namespace, g: Array, saved: Array) -> Array:
    """G · keep / (1 - rate)."""
    return g * saved


def keep_mask(xp: Namespace, key: Array, step: Array, rate: float, like: Array) -> Array:
    """Which elements are kept: boolean, of the shape of ``like``.

    A random word of 32 bits keeps its element unless it is among the first rate · 2³² of all words.
    """
    bits = words(xp, key, step, prod(like.shape), device=native_device(key))
    return xp.reshape(bits >= drop_threshold(rate), like.shape)


def drop_threshold(rate: float) -> int:
    """The least int32 whose element is kept.

    Raises:
        ArgumentError: the rate is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ArgumentError(f"a dropout rate lies in [0, 1), got {rate}")
    return min(round(float(rate) * 2**32), 2**32 - 1) - 2**31


dropout = op(dropout_forward, saves=True, x=dropout_x)
