"""Derivatives of products of matrices.

For Y = X1 X2, the gradients are G X2ᵀ and X1ᵀ G (Giles, "Collected matrix derivative results for
forward and reverse mode algorithmic differentiation", 2008). Leading axes broadcast, and an array of
one axis is a row on the left and a column on the right.
"""

from __future__ import annotations

from nnx._typing import Array, Namespace
from nnx.tape.rule import Derivative, Rule
from nnx.vjps._rule import binary, rule, unbroadcast

Shape = tuple[int, ...]


def _matmul_x1(xp: Namespace, g: Array, x2: Array, x1_shape: Shape) -> Array:
    g, x2 = _matrices(xp, g, x1_shape, x2.shape), _column(xp, x2)
    return xp.reshape(unbroadcast(xp, xp.matmul(g, xp.matrix_transpose(x2)), _row_shape(x1_shape)), x1_shape)


def _matmul_x2(xp: Namespace, g: Array, x1: Array, x2_shape: Shape) -> Array:
    g, x1 = _matrices(xp, g, x1.shape, x2_shape), _row(xp, x1)
    return xp.reshape(unbroadcast(xp, xp.matmul(xp.matrix_transpose(x1), g), _column_shape(x2_shape)), x2_shape)


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


_TRANSPOSE = rule("x", x=lambda xp, g: xp.matrix_transpose(g))
_VECDOT = binary(
    lambda xp, g, x2, axis=-1: _spread(xp, g, x2, axis),
    lambda xp, g, x1, axis=-1: _spread(xp, g, x1, axis),
)

RULES: dict[str, Rule] = {"matmul": _MATMUL, "matrix_transpose": _TRANSPOSE, "vecdot": _VECDOT}

GAPS = frozenset(["tensordot"])

EXTENSION_GAPS = frozenset(
    """cholesky cross det diagonal eigh eigvalsh inv matrix_norm matrix_power matrix_rank outer pinv qr
    slogdet solve svd svdvals tensordot trace vector_norm""".split()
)
