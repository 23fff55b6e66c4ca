"""Derivatives of products of matrices.

For Y = X1 X2, the gradients are G X2ᵀ and X1ᵀ G (Giles, "Collected matrix derivative results for
forward and reverse mode algorithmic differentiation", 2008). Leading axes broadcast, and an array of
one axis is a row on the left and a column on the right. Complex matrices have the same gradients,
without a conjugate; ``vecdot``, which conjugates its first argument, is linear in the second alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from nnx._typing import Array, Namespace
from nnx.tape.rule import Derivative, Rule
from nnx.vjps._rule import binary, conj, inverse, rule, unbroadcast

Shape = tuple[int, ...]
Axes = int | tuple[Sequence[int], Sequence[int]]


def _matmul_x1(xp: Namespace, g: Array, x1_shape: Shape, x2: Array) -> Array:
    if len(x1_shape) == len(x2.shape) == 2:
        return g @ x2.mT
    g, x2 = _matrices(xp, g, x1_shape, x2.shape), _column(xp, x2)
    return xp.reshape(unbroadcast(xp, xp.matmul(g, x2.mT), _row_shape(x1_shape)), x1_shape)


def _matmul_x2(xp: Namespace, g: Array, x1: Array, x2_shape: Shape) -> Array:
    if len(x1.shape) == len(x2_shape) == 2:
        return xp.matmul(x1.mT, g)
    g, x1 = _matrices(xp, g, x1.shape, x2_shape), _row(xp, x1)
    return xp.reshape(unbroadcast(xp, xp.matmul(x1.mT, g), _column_shape(x2_shape)), x2_shape)


def _matrices(xp: Namespace, g: Array, x1_shape: Shape, x2_shape: Shape) -> Array:
    """``g`` with the axes of length 1 that matmul drops for arguments of one axis."""
    if len(x2_shape) == 1:
        g = xp.expand_dims(g, axis=-1)
    return xp.expand_dims(g, axis=-2) if len(x1_shape) == 1 else g


def _row(xp: Namespace, x: Array) -> Array:
    return xp.expand_dims(x, axis=0) if len(x.shape) == 1 else x


def _column(xp: Namespace, x: Array) -> Array:
    return xp.expand_dims(x, axis=1) if len(x.shape) == 1 else x


def _row_shape(shape: Shape) -> Shape:
    return (1, *shape) if len(shape) == 1 else shape


def _column_shape(shape: Shape) -> Shape:
    return (*shape, 1) if len(shape) == 1 else shape


_MATMUL = Rule(("x1", "x2"), {"x1": Derivative(_matmul_x1), "x2": Derivative(_matmul_x2)}, promotes=True)


def _spread(xp: Namespace, g: Array, x: Array, axis: int) -> Array:
    return xp.expand_dims(g, axis=axis) * x


def _pairs(axes: Axes, n1: int, n2: int) -> tuple[list[int], list[int]]:
    """The axes of x1 and of x2 that tensordot sums over, for arrays of ``n1`` and ``n2`` axes."""
    if not isinstance(axes, (tuple, list)):
        return list(range(n1 - axes, n1)), list(range(axes))
    return [a % n1 for a in axes[0]], [a % n2 for a in axes[1]]


def _free(n: int, summed: list[int]) -> list[int]:
    return [a for a in range(n) if a not in summed]


def _tensordot_x1(xp: Namespace, g: Array, x2: Array, x1_shape: Shape, axes: Axes = 2) -> Array:
    first, second = _pairs(axes, len(x1_shape), len(x2.shape))
    free = _free(len(x2.shape), second)
    kept = len(x1_shape) - len(first)
    found = xp.tensordot(g, x2, axes=(tuple(range(kept, kept + len(free))), tuple(free)))
    order = _free(len(x1_shape), first) + [first[second.index(a)] for a in sorted(second)]
    return xp.permute_dims(found, inverse(order))


def _tensordot_x2(xp: Namespace, g: Array, x1: Array, x2_shape: Shape, axes: Axes = 2) -> Array:
    first, second = _pairs(axes, len(x1.shape), len(x2_shape))
    free = _free(len(x1.shape), first)
    found = xp.tensordot(x1, g, axes=(tuple(free), tuple(range(len(free)))))
    order = [second[first.index(a)] for a in sorted(first)] + _free(len(x2_shape), second)
    return xp.permute_dims(found, inverse(order))


_TENSORDOT = Rule(("x1", "x2"), {"x1": Derivative(_tensordot_x1), "x2": Derivative(_tensordot_x2)}, promotes=True)
_TRANSPOSE = rule("x", x=lambda xp, g: xp.matrix_transpose(g))
_VECDOT = binary(
    lambda xp, g, x2, axis=-1: conj(xp, _spread(xp, g, x2, axis)),
    lambda xp, g, x1, axis=-1: _spread(xp, g, conj(xp, x1), axis),
)

RULES: dict[str, Rule] = {
    "matmul": _MATMUL,
    "matrix_transpose": _TRANSPOSE,
    "tensordot": _TENSORDOT,
    "vecdot": _VECDOT,
}
