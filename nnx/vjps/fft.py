"""Derivatives of the ``fft`` extension: each function is linear, and its rule is its transpose.

The matrix of the discrete Fourier transform, ω^(jk), is symmetric, so ``fft`` and ``ifft`` are their own
transposes. ``rfft`` keeps half of a spectrum, which says it all, and ``hfft`` reads such a half as the
whole. They are each other's transposes, but for the elements that stand for two of the whole: all
except the first and, if the whole has an even length, the last. In ``hfft`` these count twice. ``ihfft``
and ``irfft`` are related in the same way.

Conventions: the first element of a half spectrum, and the last of an even one, are read as real, so the
gradient by their imaginary parts is 0. ``n`` and ``s`` cut an axis or fill it with zeros, and the gradient
is filled or cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat

from nnx._typing import Array, DType, Namespace
from nnx.tape.primitive import untracked
from nnx.tape.rule import Rule
from nnx.vjps._rule import cast, raw, rule

Shape = tuple[int, ...]
Axes = tuple[int, ...]
Norm = str | None
Transpose = Callable[[Namespace, Array, int, Any, Norm], Array]
"""``(xp, g, n, axis, norm)``, for one axis or several: the last has ``n`` elements when x has been cut or filled."""


def _fft(xp: Namespace, g: Array, n: int, axis: int, norm: Norm) -> Array:
    return xp.fft.fft(g, axis=axis, norm=norm)


def _ifft(xp: Namespace, g: Array, n: int, axis: int, norm: Norm) -> Array:
    return xp.fft.ifft(g, axis=axis, norm=norm)


def _rfft(xp: Namespace, g: Array, n: int, axis: int, norm: Norm) -> Array:
    return xp.fft.hfft(g * _weights(xp, g, n, axis, 0.5), n=n, axis=axis, norm=norm)


def _hfft(xp: Namespace, g: Array, n: int, axis: int, norm: Norm) -> Array:
    half = xp.fft.rfft(g, axis=axis, norm=norm)
    return half * _weights(xp, half, g.shape[axis], axis, 2.0)


def _irfft(xp: Namespace, g: Array, n: int, axis: int, norm: Norm) -> Array:
    half = xp.fft.ihfft(g, axis=axis, norm=norm)
    return half * _weights(xp, half, g.shape[axis], axis, 2.0)


def _ihfft(xp: Namespace, g: Array, n: int, axis: int, norm: Norm) -> Array:
    return xp.fft.irfft(g * _weights(xp, g, n, axis, 0.5), n=n, axis=axis, norm=norm)


def _fftn(xp: Namespace, g: Array, n: int, axes: Axes, norm: Norm) -> Array:
    return xp.fft.fftn(g, axes=axes, norm=norm)


def _ifftn(xp: Namespace, g: Array, n: int, axes: Axes, norm: Norm) -> Array:
    return xp.fft.ifftn(g, axes=axes, norm=norm)


def _rfftn(xp: Namespace, g: Array, n: int, axes: Axes, norm: Norm) -> Array:
    """``rfftn`` is ``rfft`` along the last axis, and then ``fftn`` along the others."""
    *others, last = axes
    g = xp.fft.fftn(g, axes=tuple(others), norm=norm) if others else g
    return _rfft(xp, g, n, last, norm)


def _irfftn(xp: Namespace, g: Array, n: int, axes: Axes, norm: Norm) -> Array:
    """``irfftn`` is ``ifftn`` along the other axes, and then ``irfft`` along the last."""
    *others, last = axes
    g = _irfft(xp, g, n, last, norm)
    return xp.fft.ifftn(g, axes=tuple(others), norm=norm) if others else g


def _weights(xp: Namespace, half: Array, n: int, axis: int, weight: float) -> Array:
    """``weight`` for each element of a half spectrum that stands for two of the whole one, of length ``n``; else 1."""
    lib, after = raw(xp), len(half.shape) - 1 - axis % len(half.shape)
    k = lib.arange(half.shape[axis], device=array_api_compat.device(untracked(half)))
    twofold = lib.astype(lib.logical_and(k > 0, 2 * k < n), half.dtype)
    return lib.reshape(1 + (weight - 1) * twofold, (-1, *(1,) * after))


def _along_axis(transpose: Transpose) -> Rule:
    """The rule of a transform along one axis, given its transpose."""

    def formula(
        xp: Namespace,
        g: Array,
        x_shape: Shape,
        x_dtype: DType,
        n: int | None = None,
        axis: int = -1,
        norm: Norm = "backward",
    ) -> Array:
        g = transpose(xp, g, x_shape[axis] if n is None else n, axis, norm)
        return _fitted(xp, g, x_shape, x_dtype)

    return rule("x n axis norm", x=formula)


def _along_axes(transpose: Transpose) -> Rule:
    """The rule of a transform along several axes, given its transpose."""

    def formula(
        xp: Namespace,
        g: Array,
        x_shape: Shape,
        x_dtype: DType,
        s: Sequence[int] | None = None,
        axes: Sequence[int] | None = None,
        norm: Norm = "backward",
    ) -> Array:
        if axes is None:  # the last ones, where lengths are given
            axes = range(len(x_shape) - len(x_shape if s is None else s), len(x_shape))
        n = x_shape[axes[-1]] if s is None or s[-1] == -1 else s[-1]  # -1, in some libraries: the length that it has
        return _fitted(xp, transpose(xp, g, n, tuple(axes), norm), x_shape, x_dtype)

    return rule("x s axes norm", x=formula)


def _fitted(xp: Namespace, g: Array, shape: Shape, dtype: DType) -> Array:
    """``g`` cut, or filled with zeros, to ``shape``; its real part, if the argument is real."""
    for axis, n in enumerate(shape):
        here = g.shape[axis]
        if here > n:
            g = g[(slice(None),) * axis + (slice(n), ...)]
        elif here < n:
            gap = (*g.shape[:axis], n - here, *g.shape[axis + 1 :])
            zeros = xp.zeros(gap, dtype=g.dtype, device=array_api_compat.device(untracked(g)))
            g = xp.concat([g, zeros], axis=axis)
    return cast(xp, g, dtype)


RULES: dict[str, Rule] = {
    "fft": _along_axis(_fft),
    "fftn": _along_axes(_fftn),
    "fftshift": rule("x axes", x=lambda xp, g, axes=None: xp.fft.ifftshift(g, axes=axes)),
    "hfft": _along_axis(_hfft),
    "ifft": _along_axis(_ifft),
    "ifftn": _along_axes(_ifftn),
    "ifftshift": rule("x axes", x=lambda xp, g, axes=None: xp.fft.fftshift(g, axes=axes)),
    "ihfft": _along_axis(_ihfft),
    "irfft": _along_axis(_irfft),
    "irfftn": _along_axes(_irfftn),
    "rfft": _along_axis(_rfft),
    "rfftn": _along_axes(_rfftn),
}

CREATION: dict[str, None] = dict.fromkeys(["fftfreq", "rfftfreq"])
