"""The rectifier and its adjoint, each in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnx._typing import Array, Kernel
from nnx.ops import rectifier
from nnx_numpy import kernels
from nnx_numpy.compiled._elementwise import LARGE, elementwise, fit
from nnx_numpy.compiled._loop import loop, served

SMALL = 1000  # elements up to which NumPy's maximum takes less time than the call of a loop


def relu_forward(xp: Any, x: Array) -> Array:
    """Answer 0 for -0, and NaN for NaN."""
    if x.size < SMALL or not served(x.dtype, x):
        return np.maximum(x, 0.0)
    return elementwise(_relu, x)


def relu_x(xp: Any, g: Array, y: Array) -> Array:
    """Select by the sign of y, as the reference does: the gradient is 0 where y is 0, whatever g is."""
    if not fit(g, y):
        return kernels.relu_x(xp, g, y)
    if g.ndim > 2 or g.size >= LARGE:
        return elementwise(_relu_x, g, y)
    out = np.empty_like(g, subok=False)  # what is called most, without a detour
    _relu_x(g, y, out)
    return out


def leaky_relu_forward(xp: Any, x: Array, *, slope: float = 0.01) -> Array:
    """As the reference."""
    if not fit(x):
        return rectifier.leaky_relu_forward(xp, x, slope=slope)
    return elementwise(_leaky_relu, x, options=(float(slope),))


def leaky_relu_x(xp: Any, g: Array, x: Array, slope: float = 0.01) -> Array:
    """As the reference."""
    if not fit(g, x):
        return rectifier.leaky_relu_x(xp, g, x, slope)
    return elementwise(_leaky_relu_x, g, x, options=(float(slope),))


@loop
def _relu(x: Array, y: Array) -> None:
    a, b = x.reshape(x.size), y.reshape(y.size)
    zero = x.dtype.type(0)
    for i in range(a.size):
        b[i] = zero if a[i] <= zero else a[i]


@loop
def _relu_x(g: Array, y: Array, out: Array) -> None:
    a, b, c = g.reshape(g.size), y.reshape(y.size), out.reshape(out.size)
    zero = g.dtype.type(0)
    for i in range(a.size):
        slope = a[i]  # read whether or not it counts: to read one only if it does needs an instruction that few have
        c[i] = slope if b[i] > zero else zero


@loop
def _leaky_relu(x: Array, y: Array, slope: float) -> None:
    a, b = x.reshape(x.size), y.reshape(y.size)
    below, zero = x.dtype.type(slope), x.dtype.type(0)
    for i in range(a.size):
        b[i] = a[i] if a[i] > zero else below * a[i]


@loop
def _leaky_relu_x(g: Array, x: Array, out: Array, slope: float) -> None:
    a, b, c = g.reshape(g.size), x.reshape(x.size), out.reshape(out.size)
    below, zero = g.dtype.type(slope), g.dtype.type(0)
    for i in range(a.size):
        c[i] = a[i] if b[i] > zero else below * a[i]


KERNELS: dict[str, Kernel] = {
    "leaky_relu_forward": leaky_relu_forward,
    "leaky_relu_x": leaky_relu_x,
    "relu_forward": relu_forward,
    "relu_x": relu_x,
}
