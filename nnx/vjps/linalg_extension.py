"""Derivatives of the ``linalg`` extension: solving, factors, diagonals and norms of matrices.

Equations are from Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008); that of ``cholesky`` is from Murray, "Differentiation of the Cholesky
decomposition" (2016, arXiv:1602.07527). In them Y is the result and G its gradient.

Conventions: ``cholesky`` answers the symmetric gradient, whichever triangle the library reads. A norm
has 0 where all its elements are 0; of order ±inf (and of order ±1 of a matrix), equal extremes share
the gradient; of order 0 it is 0. ``inv``, ``solve`` and ``det`` need a matrix that can be inverted:
det has a derivative where there is no inverse, which its rule does not find.
"""

from __future__ import annotations

from math import inf

import array_api_compat

from nnx._errors import MissingRuleError
from nnx._typing import Array, Namespace
from nnx.tape.primitive import untracked
from nnx.tape.rule import Rule
from nnx.vjps._rule import binary, restore, rule

Axis = int | tuple[int, ...] | None
Shape = tuple[int, ...]


def _inv(xp: Namespace, g: Array, y: Array) -> Array:
    """-Yᵀ G Yᵀ."""
    yt = xp.matrix_transpose(y)
    return -(yt @ g @ yt)


def _det(xp: Namespace, g: Array, y: Array, x: Array) -> Array:
    """G Y X⁻ᵀ."""
    return (g * y)[..., None, None] * xp.matrix_transpose(xp.linalg.inv(x))


def _matrix_power(xp: Namespace, g: Array, x: Array, n: int) -> Array:
    """Σ (Xᵏ)ᵀ G (Xⁿ⁻¹⁻ᵏ)ᵀ over k below n; for n < 0, that of the inverse."""
    if n < 0:
        inverse = xp.linalg.inv(x)
        return _inv(xp, _matrix_power(xp, g, inverse, -n), inverse)
    total, transposed = xp.zeros_like(x), xp.matrix_transpose(x)
    for _ in range(n):
        total = transposed @ total + g
        g = g @ transposed
    return total


def _solve_x1(xp: Namespace, g: Array, y: Array, x1: Array, x2_shape: Shape) -> Array:
    """-X₁⁻ᵀ G Yᵀ."""
    if len(x2_shape) == 1:  # one right side, a vector
        g, y = g[..., None], y[..., None]
    return -(xp.linalg.solve(xp.matrix_transpose(x1), g) @ xp.matrix_transpose(y))


def _solve_x2(xp: Namespace, g: Array, x1: Array, x2_shape: Shape) -> Array:
    """X₁⁻ᵀ G."""
    transposed = xp.matrix_transpose(x1)
    return xp.linalg.solve(transposed, g[..., None])[..., 0] if len(x2_shape) == 1 else xp.linalg.solve(transposed, g)


def _cholesky(xp: Namespace, g: Array, y: Array, upper: bool = False) -> Array:
    """½ (P + Pᵀ), P = L⁻ᵀ Φ(Lᵀ G) L⁻¹, for Φ: the lower triangle, with half the diagonal."""
    lower = xp.matrix_transpose(y) if upper else y
    g = xp.matrix_transpose(g) if upper else g
    transposed = xp.matrix_transpose(lower)
    product = transposed @ g
    phi = (xp.tril(product) + xp.tril(product, k=-1)) * 0.5
    left = xp.linalg.solve(transposed, phi)
    p = xp.linalg.solve(transposed, xp.matrix_transpose(left))  # Pᵀ
    return (p + xp.matrix_transpose(p)) * 0.5


def _onto_diagonal(xp: Namespace, g: Array, x_shape: Shape, offset: int = 0) -> Array:
    """Zeros of ``x_shape`` with ``g`` on a diagonal."""
    rows, columns = x_shape[-2:]
    device = array_api_compat.device(untracked(g))
    before = min(max(-offset, 0), rows)  # rows above the diagonal's first one
    after = rows - before - g.shape[-1]
    ends = [xp.zeros((*g.shape[:-1], n), dtype=g.dtype, device=device) for n in (before, after)]
    by_row = xp.concat([ends[0], g, ends[1]], axis=-1)[..., None]
    number, column = xp.arange(rows, device=device), xp.arange(columns, device=device)
    on = column[None, :] - number[:, None] == offset
    return xp.where(on, by_row, xp.zeros_like(by_row))


def _trace(xp: Namespace, g: Array, x_shape: Shape, x_dtype: object, offset: int = 0) -> Array:
    length = max(min(x_shape[-2] + min(offset, 0), x_shape[-1] - max(offset, 0)), 0)
    g = xp.broadcast_to(xp.astype(g, x_dtype, copy=False)[..., None], (*g.shape, length))
    return _onto_diagonal(xp, g, x_shape, offset)


def _vector_norm(
    xp: Namespace,
    g: Array,
    y: Array,
    x: Array,
    x_shape: Shape,
    axis: Axis = None,
    keepdims: bool = False,
    ord: float = 2,
) -> Array:
    """G sign(X) (|X| / Y)ᵖ⁻¹."""
    g, y = restore(xp, g, x_shape, axis, keepdims), restore(xp, y, x_shape, axis, keepdims)
    if ord == 0:
        return xp.zeros_like(x)
    if ord == 1:
        return g * xp.sign(x)
    if ord in (inf, -inf):
        hit = xp.astype(xp.abs(x) == y, x.dtype)
        return g / xp.sum(hit, axis=axis, keepdims=True) * hit * xp.sign(x)
    none, y = y == 0, xp.where(y == 0, xp.ones_like(y), y)
    if ord == 2:
        return g * (x / y)
    size = xp.where(x == 0, xp.ones_like(x), xp.abs(x))
    return xp.where(none, xp.zeros_like(x), g * xp.sign(x) * (size / y) ** (ord - 1))


def _matrix_norm(
    xp: Namespace, g: Array, y: Array, x: Array, x_shape: Shape, keepdims: bool = False, ord: float | str = "fro"
) -> Array:
    if ord == "fro":
        return _vector_norm(xp, g, y, x, x_shape, (-2, -1), keepdims)
    if ord not in (1, -1, inf, -inf):
        raise MissingRuleError(
            f"nnx has no derivative of matrix_norm() of order {ord!r}, which takes singular values, yet: choose 'fro', "
            "1, -1, inf or -inf, or pass nnx.stop_gradient(...) if none is meant"
        )
    along, across = (-2, -1) if ord in (1, -1) else (-1, -2)
    sums = xp.sum(xp.abs(x), axis=along, keepdims=True)
    hit = xp.astype(sums == (xp.max if ord > 0 else xp.min)(sums, axis=across, keepdims=True), x.dtype)
    g = restore(xp, g, x_shape, (-2, -1), keepdims)
    return g / xp.sum(hit, axis=across, keepdims=True) * hit * xp.sign(x)


RULES: dict[str, Rule] = {
    "cholesky": rule("x", x=_cholesky),
    "cross": binary(
        lambda xp, g, x2, axis=-1: xp.linalg.cross(x2, g, axis=axis),
        lambda xp, g, x1, axis=-1: xp.linalg.cross(g, x1, axis=axis),
    ),
    "det": rule("x", x=_det),
    "diagonal": rule("x", x=_onto_diagonal),
    "inv": rule("x", x=_inv),
    "matrix_norm": rule("x", x=_matrix_norm),
    "matrix_power": rule("x n", x=_matrix_power),
    "outer": binary(lambda g, x2: g @ x2, lambda g, x1: x1 @ g),
    "solve": binary(_solve_x1, _solve_x2),
    "trace": rule("x", casts=True, x=_trace),
    "vector_norm": rule("x", x=_vector_norm),
}

GAPS = frozenset("eigh eigvalsh matrix_rank pinv qr slogdet svd svdvals".split())
