"""Elements of each row, by their numbers."""

from __future__ import annotations

from math import prod

from nnx._typing import Array, Namespace
from nnx.backend import namespace_of, native_device
from nnx.ops._op import op
from nnx.tape.primitive import untracked
from nnx.vjps._rows import add_rows


def gather_forward(xp: Namespace, x: Array, ids: Array) -> Array:
    """Elements of each row, by their numbers: y[..., k] = x[..., ids[..., k]].

    The standard's ``take_along_axis`` along the last axis, with an adjoint that a backend may replace:

        x: row by row, element j gets Σ g[k] over the k where ids[k] = j

    Args:
        x: shape (..., n), floating-point.
        ids: integers, shape (..., k), each in 0 … n-1, which is not checked.

    Returns:
        The shape of ``ids``.
    """
    return xp.take_along_axis(x, ids, axis=-1)


def gather_x(xp: Namespace, g: Array, x_shape: tuple[int, ...], ids: Array) -> Array:
    """Σ g over the places of each number."""
    ids = untracked(ids)
    raw, rows, count = namespace_of(ids), prod(x_shape[:-1]), prod(ids.shape)
    first = raw.arange(rows, device=native_device(ids)) * x_shape[-1]
    number = raw.reshape(raw.astype(ids, first.dtype), (rows, ids.shape[-1])) + raw.expand_dims(first, axis=1)
    sums = add_rows(xp, xp.reshape(g, (count,)), prod(x_shape), raw.reshape(number, (count,)))
    return xp.reshape(sums, x_shape)


gather = op(gather_forward, x=gather_x)
