"""Smooth activations and their adjoints, each in one pass, with the exponential and Φ of ``_vector``."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

from nnx._typing import Array, Kernel
from nnx.ops import gated, rectifier, sigmoidal
from nnx_numpy.compiled._elementwise import elementwise, fit
from nnx_numpy.compiled._loop import loop
from nnx_numpy.compiled._vector import exp, expm1, normal, sigmoid

SMALL = 400  # elements up to which four calls of NumPy take less time than that of a loop
SLOPE = 2 * sqrt(2 / pi)  # ½ (1 + tanh u) = sigmoid(2u)
CUBIC = 0.044715
FAR = 1e4  # beyond which gelu is x, or 0, and a square of x is too large to compute with


def sigmoid_forward(xp: Any, x: Array) -> Array:
    """With one exponential."""
    return elementwise(_sigmoid, x) if fit(x) else sigmoidal.sigmoid_forward(xp, x)


def sigmoid_x(xp: Any, g: Array, y: Array) -> Array:
    """Leave small arrays to NumPy."""
    return elementwise(_sigmoid_x, g, y) if g.size >= SMALL and fit(g, y) else sigmoidal.sigmoid_x(xp, g, y)


def tanh_x(xp: Any, g: Array, y: Array) -> Array:
    """Leave small arrays to NumPy, and to it the forward: its tanh is as fast as a loop."""
    return elementwise(_tanh_x, g, y) if g.size >= SMALL and fit(g, y) else sigmoidal.tanh_x(xp, g, y)


def silu_forward(xp: Any, x: Array) -> Array:
    """With one exponential."""
    return elementwise(_silu, x) if fit(x) else gated.silu_forward(xp, x)


def silu_x(xp: Any, g: Array, x: Array) -> Array:
    """With one exponential."""
    return elementwise(_silu_x, g, x) if fit(g, x) else gated.silu_x(xp, g, x)


def gelu_forward(xp: Any, x: Array, *, approximate: bool = False) -> Array:
    """With Φ to the last places also far below 0, and ½ (1 + tanh u) as sigmoid(2u)."""
    if not fit(x):
        return gated.gelu_forward(xp, x, approximate=approximate)
    return elementwise(_gelu_approximate if approximate else _gelu, x)


def gelu_x(xp: Any, g: Array, x: Array, approximate: bool = False) -> Array:
    """As the forward."""
    if not fit(g, x):
        return gated.gelu_x(xp, g, x, approximate)
    return elementwise(_gelu_approximate_x if approximate else _gelu_x, g, x)


def elu_forward(xp: Any, x: Array, *, alpha: float = 1.0) -> Array:
    """As the reference."""
    if not fit(x):
        return rectifier.elu_forward(xp, x, alpha=alpha)
    return elementwise(_elu, x, options=(float(alpha),))


def elu_x(xp: Any, g: Array, x: Array, alpha: float = 1.0) -> Array:
    """As the reference."""
    if not fit(g, x):
        return rectifier.elu_x(xp, g, x, alpha)
    return elementwise(_elu_x, g, x, options=(float(alpha),))


@loop
def _sigmoid(x: Array, y: Array) -> None:
    a, b = x.reshape(x.size), y.reshape(y.size)
    for i in range(a.size):
        b[i] = sigmoid(a[i])


@loop
def _sigmoid_x(g: Array, y: Array, out: Array) -> None:
    a, b, c = g.reshape(g.size), y.reshape(y.size), out.reshape(out.size)
    one = g.dtype.type(1)
    for i in range(a.size):
        c[i] = a[i] * b[i] * (one - b[i])


@loop
def _tanh_x(g: Array, y: Array, out: Array) -> None:
    a, b, c = g.reshape(g.size), y.reshape(y.size), out.reshape(out.size)
    one = g.dtype.type(1)
    for i in range(a.size):
        c[i] = a[i] * (one - b[i] * b[i])


@loop
def _silu(x: Array, y: Array) -> None:
    a, b = x.reshape(x.size), y.reshape(y.size)
    for i in range(a.size):
        b[i] = a[i] * sigmoid(a[i])


@loop
def _silu_x(g: Array, x: Array, out: Array) -> None:
    a, b, c = g.reshape(g.size), x.reshape(x.size), out.reshape(out.size)
    one = g.dtype.type(1)
    for i in range(a.size):
        c[i] = a[i] * sigmoid(b[i]) * (one + b[i] * sigmoid(-b[i]))


@loop
def _gelu(x: Array, y: Array) -> None:
    a, b = x.reshape(x.size), y.reshape(y.size)
    for i in range(a.size):
        b[i] = a[i] * normal(a[i])[0]


@loop
def _gelu_x(g: Array, x: Array, out: Array) -> None:
    a, b, c = g.reshape(g.size), x.reshape(x.size), out.reshape(out.size)
    for i in range(a.size):
        phi, density = normal(b[i])
        c[i] = a[i] * (phi + b[i] * density)


@loop
def _gelu_approximate(x: Array, y: Array) -> None:
    a, b = x.reshape(x.size), y.reshape(y.size)
    slope, cubic = x.dtype.type(SLOPE), x.dtype.type(SLOPE * CUBIC)
    for i in range(a.size):
        b[i] = a[i] * sigmoid(a[i] * (slope + cubic * a[i] * a[i]))


@loop
def _gelu_approximate_x(g: Array, x: Array, out: Array) -> None:
    a, b, c = g.reshape(g.size), x.reshape(x.size), out.reshape(out.size)
    slope, cubic, triple = g.dtype.type(SLOPE), g.dtype.type(SLOPE * CUBIC), g.dtype.type(3 * SLOPE * CUBIC)
    one, far = g.dtype.type(1), g.dtype.type(FAR)
    for i in range(a.size):
        z = -far if b[i] < -far else b[i]
        z = far if z > far else z
        square = z * z
        u = z * (slope + cubic * square)
        c[i] = a[i] * sigmoid(u) * (one + z * sigmoid(-u) * (slope + triple * square))


@loop
def _elu(x: Array, y: Array, alpha: float) -> None:
    a, b = x.reshape(x.size), y.reshape(y.size)
    scale, zero = x.dtype.type(alpha), x.dtype.type(0)
    for i in range(a.size):
        below = scale * expm1(zero if a[i] > zero else a[i])
        b[i] = a[i] if a[i] > zero else below


@loop
def _elu_x(g: Array, x: Array, out: Array, alpha: float) -> None:
    a, b, c = g.reshape(g.size), x.reshape(x.size), out.reshape(out.size)
    scale, zero = g.dtype.type(alpha), g.dtype.type(0)
    for i in range(a.size):
        below = a[i] * scale * exp(zero if b[i] > zero else b[i])
        c[i] = a[i] if b[i] > zero else below


KERNELS: dict[str, Kernel] = {
    "elu_forward": elu_forward,
    "elu_x": elu_x,
    "gelu_forward": gelu_forward,
    "gelu_x": gelu_x,
    "sigmoid_forward": sigmoid_forward,
    "sigmoid_x": sigmoid_x,
    "silu_forward": silu_forward,
    "silu_x": silu_x,
    "tanh_x": tanh_x,
}
