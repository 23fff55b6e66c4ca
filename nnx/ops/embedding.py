"""Rows of a table, by their numbers."""

from __future__ import annotations

from math import prod

from nnx._errors import DTypeError, LabelError, ShapeError
from nnx._typing import Array, Namespace
from nnx.backend import dtype_kind, namespace_of, readable
from nnx.ops._op import op
from nnx.tape.primitive import untracked
from nnx.vjps._rows import add_rows


def embedding_forward(xp: Namespace, weight: Array, ids: Array) -> Array:
    """Look rows up: y[...] = weight[ids[...]].

    The adjoint adds what each row got, in an order that is always the same: equal arguments give equal
    bits on one library.

        weight: row k gets Σ G over the places where ids = k

    Args:
        weight: shape (rows, features), floating-point.
        ids: integers, any shape, each in 0 … rows-1. Where the values cannot be read at once (on a GPU, or
            under a compiler), an id out of range makes its row of y NaN.

    Returns:
        Shape (*ids.shape, features).

    Raises:
        ShapeError: the weight has another number of axes.
        DTypeError: the ids are no integers.
        LabelError: an id is out of range.
    """
    if len(weight.shape) != 2:
        raise ShapeError(f"embedding() expected a weight of shape (rows, features), got shape {tuple(weight.shape)}")
    rows, features = weight.shape
    known = check_ids(ids, rows)
    flat = xp.reshape(untracked(ids), (prod(ids.shape),))
    valid = None
    if not known:
        valid = xp.logical_and(flat >= 0, flat < rows)
        flat = xp.where(valid, flat, xp.zeros_like(flat))
    y = xp.take(weight, flat, axis=0)
    if valid is not None:
        y = xp.where(xp.expand_dims(valid, axis=1), y, float("nan"))
    return xp.reshape(y, (*ids.shape, features))


def embedding_weight(xp: Namespace, g: Array, weight_shape: tuple[int, ...], ids: Array) -> Array:
    """Σ G over the places of each id."""
    rows, features = weight_shape
    count = prod(ids.shape)
    flat = namespace_of(untracked(ids)).reshape(untracked(ids), (count,))
    return add_rows(xp, xp.reshape(g, (count, features)), rows, flat)


def check_ids(ids: Array, rows: int) -> bool:
    """Whether the ids are known to be in range: they can be read at once, and are.

    Raises:
        DTypeError, LabelError: as :func:`embedding` says.
    """
    ids = untracked(ids)
    xp = namespace_of(ids)
    if not dtype_kind(xp, ids.dtype).endswith("integer"):
        raise DTypeError(f"embedding() expected ids of an integer dtype, got {ids.dtype}: cast them")
    if 0 in ids.shape:
        return True
    if not readable(ids):
        return False
    low, high = int(xp.min(ids)), int(xp.max(ids))
    if low < 0 or high >= rows:
        raise LabelError(
            f"ids from 0 to {rows - 1} were expected, one for each of the {rows} rows; got ids from {low} to {high}"
        )
    return True


embedding = op(embedding_forward, weight=embedding_weight)
