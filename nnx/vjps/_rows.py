"""Reading rows of an array by their numbers, and its adjoint, which adds rows that are read twice.

The standard has no scatter-add. Here the rows are brought into the order of their numbers by a stable
sort, and those of one number are added by a segmented scan (Hillis and Steele, "Data parallel
algorithms", 1986; Blelloch, "Prefix sums and their applications", 1990): ⌈log₂ k⌉ steps for k rows,
fewer where the numbers can be read. No sum crosses from one number to another, so none loses digits
to the size of another, and the same input gives the same bits on one library, whatever the threads do.
"""

from __future__ import annotations

import array_api_compat

from nnx._precision import in_dtype, wide
from nnx._typing import Array, Namespace
from nnx.backend import kernels_of, readable
from nnx.tape.primitive import Primitive, untracked
from nnx.vjps._rule import raw, rule


def add_rows(xp: Namespace, g: Array, n: int, index: Array) -> Array:
    """The sum of the rows ``g[j]`` with ``index[j] == i``, for each i below ``n``.

    The adjoint of ``take(x, index, axis=0)``, and its inverse for a permutation.

    Args:
        xp: the namespace of ``g``, differentiable or not.
        g: of shape (k, ...).
        n: the number of rows of the result.
        index: integers of shape (k,), from -n to n - 1; a negative one counts from the end.
    """
    return _add_rows(g, raw(xp), n, untracked(index))


def _add_rows_raw(g: Array, xp: Namespace, n: int, index: Array) -> Array:
    return kernels_of(xp).get("summed_rows", summed_rows)(xp, g, n, index)


def summed_rows(xp: Namespace, g: Array, n: int, index: Array) -> Array:
    """As :func:`add_rows`, of arrays that are not tracked: what a backend may replace."""
    device = array_api_compat.device(g)
    if 0 in g.shape or n == 0:
        return xp.zeros((n, *g.shape[1:]), dtype=g.dtype, device=device)
    numbers = xp.arange(n, device=device)
    index = xp.astype(index, numbers.dtype, copy=False)
    index = xp.where(index < 0, index + n, index)
    order = xp.argsort(index, stable=True)
    index = xp.take(index, order, axis=0)
    sums = _segment_sums(xp, wide(xp, xp.take(g, order, axis=0)), index)
    last = xp.searchsorted(index, numbers, side="right") - 1
    last = xp.where(last < 0, xp.zeros_like(last), last)  # before the first number: any row, as it does not match
    hit = xp.reshape(xp.take(index, last, axis=0) == numbers, (n,) + (1,) * (len(g.shape) - 1))
    rows = xp.take(sums, last, axis=0)
    return in_dtype(xp, xp.where(hit, rows, xp.zeros_like(rows)), g.dtype)


def _segment_sums(xp: Namespace, rows: Array, index: Array) -> Array:
    """At each row, the sum of the rows of its number up to it, for ``index`` in order."""
    step, k, wide = 1, rows.shape[0], (1,) * (len(rows.shape) - 1)
    short = readable(index)
    while step < k:
        same = index[step:] == index[:-step]
        if short and not bool(xp.any(same)):
            break
        before = xp.where(xp.reshape(same, (k - step, *wide)), rows[:-step, ...], xp.zeros_like(rows[:-step, ...]))
        rows = xp.concat([rows[:step, ...], rows[step:, ...] + before], axis=0)
        step *= 2
    return rows


_add_rows = Primitive(
    "add_rows", _add_rows_raw, rule("g xp n index", g=lambda xp, g, index: xp.take(g, untracked(index), axis=0))
)
