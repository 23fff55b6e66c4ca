"""Updates of the optimisers, in place.

An update is about ten passes over a few arrays. In chunks that stay in the cache, all but the first pass
are cheap, and nothing is allocated. Gradients are read where they lie, except in the chunks in which
several of them meet: there they are gathered first.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy import add, divide, multiply, sqrt, subtract

from nnx._typing import Array, Kernel, Namespace

CHUNK = 192 * 1024
"""Bytes of each array in a chunk: five arrays stay in a cache of 1 MiB, and calls cost little beside the work."""


def gather_gradients(xp: Namespace, parameters: Array, gradients: Sequence[Array]) -> list[Array]:
    """The separate gradients, as 1-D arrays, without a copy of those that are contiguous."""
    flat = [g.ravel() for g in gradients]
    # An update that reads a gradient after it has written that memory as a parameter would be wrong.
    return [g.copy() if g.base is parameters else g for g in flat]


def squared_norm(xp: Namespace, gradients: Sequence[Array]) -> Any:
    """Σ g², as inner products."""
    return gradients[0].dtype.type(sum([float(np.vdot(g, g)) for g in gradients]))


def sum_squares_forward(xp: Namespace, x: Array) -> Any:
    """Σ x², as an inner product."""
    return x.dtype.type(np.vdot(x, x))


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
    """As ``nnx.optim.sgd.sgd_update``, in place."""
    rate, scale = float(rate), 1.0 if scale is None else float(scale)
    if scale < 0:
        return parameters, velocity
    for part, g, s, t in _chunks(parameters, gradients, scale):
        p = parameters[part]
        if weight_decay:
            multiply(p, weight_decay, s)
            g = add(g, s, t)
        if velocity is not None:
            v = velocity[part]
            multiply(v, momentum, v)
            add(v, g, v)
            if nesterov:
                multiply(v, momentum, s)
                g = add(g, s, t)
            else:
                g = v
        multiply(g, rate, s)
        subtract(p, s, p)
    return parameters, velocity


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
    """As ``nnx.optim.adam.adam_update``, in place, with the weights of the means drawn into two numbers.

    η w₁ m / (√(w₂ v) + ε) = a m / (√v + e) with a = η w₁ / √w₂ and e = ε / √w₂.
    """
    t, rate, scale = int(step), float(rate), 1.0 if scale is None else float(scale)
    if scale < 0:
        return parameters, gradient_sum, square_sum
    root = math.sqrt((1 - beta2) / (1 - beta2**t))
    a, e = rate * (1 - beta1) / (1 - beta1**t) / root, eps / root
    keep = 1 - rate * weight_decay if decoupled else 1.0
    penalty = 0.0 if decoupled else weight_decay
    for part, g, s, h in _chunks(parameters, gradients, scale):
        p, m, v = parameters[part], gradient_sum[part], square_sum[part]
        if penalty:
            multiply(p, penalty, s)
            g = add(g, s, h)
        multiply(m, beta1, m)
        add(m, g, m)
        multiply(g, g, s)
        multiply(v, beta2, v)
        add(v, s, v)
        sqrt(v, s)
        add(s, e, s)
        divide(m, s, s)
        multiply(s, a, s)
        if keep != 1.0:
            multiply(p, keep, p)
        subtract(p, s, p)
    return parameters, gradient_sum, square_sum


def _chunks(parameters: Array, gradients: Sequence[Array], scale: float) -> Iterator[tuple[slice, Array, Array, Array]]:
    """For each chunk its slice, its gradient times ``scale``, and two arrays of its size to compute in.

    The gradient may be the second of the two; it is not to be written to otherwise.
    """
    first, second = _scratch(parameters.dtype)
    for part, pieces in _plan(tuple([g.size for g in gradients]), first.size):
        s, t = first[: part.stop - part.start], second[: part.stop - part.start]
        if len(pieces) == 1:
            g = gradients[pieces[0][0]][pieces[0][1]]
        else:
            g = np.concatenate([gradients[i][piece] for i, piece in pieces], out=t)
        yield part, (g if scale == 1.0 else multiply(g, scale, t)), s, t


@functools.lru_cache(maxsize=64)
def _plan(sizes: tuple[int, ...], limit: int) -> tuple[tuple[slice, tuple[tuple[int, slice], ...]], ...]:
    """Cut arrays of ``sizes``, laid end to end, into even chunks of at most ``limit`` elements.

    Each chunk is its slice of the whole, and the arrays that it has parts of with their slices.
    """
    total = sum(sizes)
    count = -(-total // limit)
    bounds = [total * k // count for k in range(count + 1)] if count else []
    plan = []
    for start, stop in itertools.pairwise(bounds):
        pieces, offset = [], 0
        for i, size in enumerate(sizes):
            low, high = max(start - offset, 0), min(stop - offset, size)
            if low < high:
                pieces.append((i, slice(low, high)))
            offset += size
        plan.append((slice(start, stop), tuple(pieces)))
    return tuple(plan)


_local = threading.local()


def _scratch(dtype: Any) -> tuple[Array, Array]:
    """Two arrays of the size of a chunk, kept for each thread."""
    kept: dict[Any, tuple[Array, Array]] = _local.__dict__
    if dtype.char not in kept:
        size = CHUNK // dtype.itemsize
        kept[dtype.char] = np.empty(size, dtype), np.empty(size, dtype)
    return kept[dtype.char]


KERNELS: dict[str, Kernel] = {
    "adam_update": adam_update,
    "gather_gradients": gather_gradients,
    "sgd_update": sgd_update,
    "squared_norm": squared_norm,
    "sum_squares_forward": sum_squares_forward,
}
