"""Derivatives of norms.

Conventions: a norm has the derivative 0 where all its elements are 0, and a size |x| at 0. Of order
±inf, and of the orders ±1, 2 and -2 of a matrix, equal extremes share the gradient; of order 0 it is 0.
A singular value that is 0 has the derivative 0, so that the nuclear norm of a matrix of low rank has
the subgradient U Vᴴ of what is not 0.
"""

from __future__ import annotations

from math import inf

from nnx._errors import ArgumentError
from nnx._typing import Array, Namespace
from nnx.tape.namespace import Composition
from nnx.tape.rule import Rule
from nnx.vjps._rule import conj, is_complex, or_inf, restore, rule

Axis = int | tuple[int, ...] | None


def _vector_norm(
    xp: Namespace,
    g: Array,
    y: Array,
    x: Array,
    x_shape: tuple[int, ...],
    axis: Axis = None,
    keepdims: bool = False,
    ord: float = 2,
) -> Array:
    """G sign(X)* (|X| / Y)ᵖ⁻¹."""
    g, y = restore(xp, g, x_shape, axis, keepdims), restore(xp, y, x_shape, axis, keepdims)
    if ord == 0:
        return xp.zeros_like(x)
    if ord == 1:
        return g * _sign(xp, x)
    if ord in (inf, -inf):
        sizes = xp.abs(x)  # compared with themselves: a norm need not have their last digit
        hit = xp.astype(sizes == (xp.max if ord > 0 else xp.min)(sizes, axis=axis, keepdims=True), y.dtype)
        return g / xp.sum(hit, axis=axis, keepdims=True) * hit * _sign(xp, x)
    none, y = y == 0, xp.where(y == 0, xp.ones_like(y), y)
    if ord == 2:
        return g * xp.divide(conj(xp, x), y)
    size = xp.where(x == 0, xp.ones_like(y), xp.abs(x))
    return xp.where(none, xp.zeros_like(x), g * _sign(xp, x) * (size / y) ** (ord - 1))


def _sign(xp: Namespace, x: Array) -> Array:
    """sign(X)*."""
    return xp.divide(xp.conj(x), or_inf(xp, xp.abs(x))) if is_complex(xp, x.dtype) else xp.sign(x)


def _matrix_norm(xp: Namespace, x: Array, /, *, keepdims: bool = False, ord: float | str | None = "fro") -> Array:
    """The norm of the elements, or of the singular values, or the extreme one of the sums of rows or columns."""
    if ord in ("fro", None):
        return xp.linalg.vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord in (2, -2, "nuc"):
        sizes = xp.linalg.svdvals(x)
    elif ord in (1, -1, inf, -inf):
        sizes = xp.sum(xp.abs(x), axis=-2 if ord in (1, -1) else -1)
    else:
        raise ArgumentError(f"the order of matrix_norm() is 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    if ord == "nuc" or (ord == 2 and sizes.shape[-1] == 0):
        y = xp.sum(sizes, axis=-1)
    else:
        y = (xp.max if ord > 0 else xp.min)(sizes, axis=-1)  # type: ignore[operator]
    return y[..., None, None] if keepdims else y


RULES: dict[str, Rule] = {"vector_norm": rule("x", x=_vector_norm)}

COMPOSITIONS: dict[str, Composition] = {"matrix_norm": _matrix_norm}
