"""Updates of the optimisers and sums of squares, in one pass over memory.

Gradients are read where they lie; those that are so small that a call costs more than a copy are put together first.
Stores are the dear part of an update: where the arrays lie alike in lines of the cache none crosses two lines, and
an update takes two thirds of the time, or a third where the loads of one array seem to wait for the stores to
another. The loops begin at a line of the parameters, and state that lies otherwise is moved once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnx._typing import Array, DType, Kernel, Namespace
from nnx_numpy import optim as native
from nnx_numpy.compiled._loop import FLOATS, exact_loop, loop

LINE = 64
"""Bytes of a line of the cache, and of the longest vector registers."""

TOGETHER = 4096
"""So many elements are put together sooner than a loop is called once more."""

MOVED = 1024
"""From so many elements on it pays to move the state."""


LARGEST = {dtype: float(np.finfo(dtype).max) for dtype in FLOATS}


@exact_loop
def _adam(
    parameters: Array,
    g: Array,
    gradient_sum: Array,
    square_sum: Array,
    start: int,
    t: int,
    rate: float,
    scale: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> bool:
    """Update the elements from ``start`` on that ``g`` has. Whether the arrays lie alike in lines of the cache.

    η w₁ m / (√(w₂ v) + ε) = a m / (√v + e) with a = η w₁ / √w₂ and e = ε / √w₂.
    """
    number = parameters.dtype.type
    root = math.sqrt((1 - beta2) / (1 - beta2**t))
    a = number(rate * (1 - beta1) / (1 - beta1**t) / root)
    e = number(eps / root)
    keep = number(1 - rate * weight_decay) if decoupled else number(1)
    penalty = number(0) if decoupled else number(weight_decay)
    b1, b2, factor = number(beta1), number(beta2), number(scale)
    head = min(g.size, -(parameters.ctypes.data + start * g.itemsize) % LINE // g.itemsize)
    for low, high in ((0, head), (head, g.size)):
        d = g[low:high]
        p = parameters[start + low : start + high]
        m, v = gradient_sum[start + low : start + high], square_sum[start + low : start + high]
        for i in range(d.size):
            x = d[i] * factor
            if penalty != 0:
                x += penalty * p[i]
            m[i] = b1 * m[i] + x
            v[i] = b2 * v[i] + x * x
            p[i] = keep * p[i] - a * m[i] / (math.sqrt(v[i]) + e)
    apart = (gradient_sum.ctypes.data - parameters.ctypes.data) | (square_sum.ctypes.data - parameters.ctypes.data)
    alike: bool = apart % LINE == 0
    return alike


@exact_loop
def _sgd(
    parameters: Array,
    g: Array,
    velocity: Array,
    start: int,
    rate: float,
    scale: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> bool:
    """As ``_adam``. Without momentum the velocity may be any array of that dtype; it is not looked at."""
    number = parameters.dtype.type
    eta, factor, mu, penalty = number(rate), number(scale), number(momentum), number(weight_decay)
    head = min(g.size, -(parameters.ctypes.data + start * g.itemsize) % LINE // g.itemsize)
    for low, high in ((0, head), (head, g.size)):
        d = g[low:high]
        p = parameters[start + low : start + high]
        if mu == 0:
            for i in range(d.size):
                x = d[i] * factor
                if penalty != 0:
                    x += penalty * p[i]
                p[i] -= eta * x
        else:
            v = velocity[start + low : start + high]
            for i in range(d.size):
                x = d[i] * factor
                if penalty != 0:
                    x += penalty * p[i]
                v[i] = mu * v[i] + x
                p[i] -= eta * (x + mu * v[i] if nesterov else v[i])
    alike: bool = (velocity.ctypes.data - parameters.ctypes.data) % LINE == 0
    return alike


@loop
def _squares(x: Array) -> float:
    """Σ x² in float64."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * x[i]
    return total


def adam_update(
    xp: Namespace,
    parameters: Array,
    gradients: Sequence[Array],
    gradient_sum: Array,
    square_sum: Array,
    step: Array,
    rate: Array,
    scale: Array | None,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> tuple[Array, Array, Array]:
    """As ``nnx.optim.adam.adam_update``, the parameters in place; the sums in place or, once, in other memory."""
    if not (_writable(parameters) and _writable(gradient_sum) and _writable(square_sum)):
        return native.adam_update(
            xp,
            parameters,
            gradients,
            gradient_sum,
            square_sum,
            step,
            rate,
            scale,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            decoupled=decoupled,
        )
    t, eta, factor = int(step), float(rate), 1.0 if scale is None else float(scale)
    if factor < 0:
        return parameters, gradient_sum, square_sum
    start, alike = 0, True
    for g in _together(gradients, parameters.size):
        alike = _adam(
            parameters,
            g,
            gradient_sum,
            square_sum,
            start,
            t,
            eta,
            factor,
            beta1,
            beta2,
            eps,
            weight_decay,
            decoupled,
        )
        start += g.size
    if alike or start < MOVED:
        return parameters, gradient_sum, square_sum
    return parameters, _moved(gradient_sum, parameters), _moved(square_sum, parameters)


def sgd_update(
    xp: Namespace,
    parameters: Array,
    gradients: Sequence[Array],
    velocity: Array | None,
    rate: Array,
    scale: Array | None,
    *,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> tuple[Array, Array | None]:
    """As ``nnx.optim.sgd.sgd_update``, the parameters in place; the velocity in place or, once, in other memory."""
    state = parameters if velocity is None else velocity
    # a velocity without momentum is that of no optimiser, and NumPy keeps it
    if not (_writable(parameters) and _writable(state)) or (velocity is None) != (momentum == 0):
        return native.sgd_update(
            xp,
            parameters,
            gradients,
            velocity,
            rate,
            scale,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
        )
    eta, factor = float(rate), 1.0 if scale is None else float(scale)
    if factor < 0:
        return parameters, velocity
    start, alike = 0, True
    for g in _together(gradients, parameters.size):
        alike = _sgd(parameters, g, state, start, eta, factor, momentum, nesterov, weight_decay)
        start += g.size
    return parameters, velocity if alike or start < MOVED else _moved(velocity, parameters)


def squared_norm(xp: Namespace, gradients: Sequence[Array]) -> Any:
    """Σ g², added in float64."""
    dtype = gradients[0].dtype
    if dtype not in FLOATS:
        return native.squared_norm(xp, gradients)
    return _narrow(dtype, sum([_squares(g.ravel()) for g in gradients]))


def sum_squares_forward(xp: Namespace, x: Array) -> Any:
    """Σ x², added in float64."""
    dtype = x.dtype
    if dtype not in FLOATS:
        return native.sum_squares_forward(xp, x)
    return _narrow(dtype, _squares(x.ravel()))


def _narrow(dtype: DType, total: float) -> Any:
    """A number in a dtype; infinite, without a warning, where it is too large."""
    return dtype.type(math.inf if total > LARGEST[dtype] else total)


def _writable(a: Array) -> bool:
    """Whether loops may write to the array."""
    return a.flags.carray and a.dtype in FLOATS


def _together(gradients: Sequence[Array], total: int) -> Sequence[Array]:
    """The gradients in order, in contiguous arrays that may be written to, so that one variant of a loop serves all."""
    if total <= TOGETHER:
        if len(gradients) == 1 and gradients[0].flags.carray:
            return gradients
        return (np.concatenate(gradients),)
    found: list[Array] = []
    waiting: list[Array] = []
    count = 0
    for g in gradients:
        if waiting and count + g.size > TOGETHER:
            found.append(np.concatenate(waiting))
            waiting, count = [], 0
        if g.size > TOGETHER:
            found.append(g if g.flags.carray else g.copy())
        else:
            waiting.append(g)
            count += g.size
    if waiting:
        found.append(np.concatenate(waiting))
    return found


def _moved(a: Array, like: Array) -> Array:
    """A copy that lies in lines of the cache as ``like`` does."""
    memory = np.empty(a.size + LINE, a.dtype)
    first = (like.ctypes.data - memory.ctypes.data) % LINE // a.itemsize
    copy: Array = memory[first : first + a.size]
    copy[:] = a
    return copy


KERNELS: dict[str, Kernel] = {
    "adam_update": adam_update,
    "sgd_update": sgd_update,
    "squared_norm": squared_norm,
    "sum_squares_forward": sum_squares_forward,
}
