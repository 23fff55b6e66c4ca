"""Derivatives of the ``linalg`` extension: what solves equations, products, and diagonals.

Equations are from Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008); that of ``pinv`` is from Golub and Pereyra, "The differentiation of
pseudo-inverses and nonlinear least squares problems whose variables separate" (SIAM Journal on
Numerical Analysis 10, 1973). In them Y is the result and G its gradient, and * conjugates: complex
matrices have the same transposes as real ones where the function is holomorphic.

Conventions: ``pinv`` is differentiated as if the rank stayed as it is, and the singular values that
``rtol`` cuts off were 0. ``inv`` and ``solve`` need a matrix that can be inverted.
"""

from __future__ import annotations

import array_api_compat

from nnx._typing import Array, Namespace
from nnx.tape.primitive import untracked
from nnx.tape.rule import Rule
from nnx.vjps._rule import adjoint, binary, cast, conj, rule

Shape = tuple[int, ...]


def _inv(xp: Namespace, g: Array, y: Array) -> Array:
    """-Yᵀ G Yᵀ."""
    yt = xp.matrix_transpose(y)
    return -xp.matmul(yt, xp.matmul(g, yt))


def _matrix_power(xp: Namespace, g: Array, x: Array, n: int) -> Array:
    """Σ (Xᵏ)ᵀ G (Xⁿ⁻¹⁻ᵏ)ᵀ over k below n; for n < 0, that of the inverse."""
    if n < 0:
        inverse = xp.linalg.inv(x)
        return _inv(xp, _matrix_power(xp, g, inverse, -n), inverse)
    total, transposed = xp.zeros_like(x), xp.matrix_transpose(x)
    for _ in range(n):
        total = xp.matmul(transposed, total) + g
        g = xp.matmul(g, transposed)
    return total


def _solve_x1(xp: Namespace, g: Array, y: Array, x1: Array, x2_shape: Shape) -> Array:
    """-X₁⁻ᵀ G Yᵀ."""
    if len(x2_shape) == 1:  # one right side, a vector
        g, y = g[..., None], y[..., None]
    return -xp.matmul(xp.linalg.solve(xp.matrix_transpose(x1), g), xp.matrix_transpose(y))


def _solve_x2(xp: Namespace, g: Array, x1: Array, x2_shape: Shape) -> Array:
    """X₁⁻ᵀ G."""
    transposed = xp.matrix_transpose(x1)
    return xp.linalg.solve(transposed, g[..., None])[..., 0] if len(x2_shape) == 1 else xp.linalg.solve(transposed, g)


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
    g = xp.broadcast_to(cast(xp, g, x_dtype)[..., None], (*g.shape, length))
    return _onto_diagonal(xp, g, x_shape, offset)


def _pinv(xp: Namespace, g: Array, y: Array, x: Array) -> Array:
    """-Yᵀ G Yᵀ + ((1 - X Y) Gᵀ Y Yᴴ + Yᴴ Y Gᵀ (1 - Y X))*."""
    yh, gh = adjoint(xp, y), xp.matrix_transpose(g)
    left, right = xp.matmul(gh, xp.matmul(y, yh)), xp.matmul(xp.matmul(yh, y), gh)
    others = left - xp.matmul(x, xp.matmul(y, left)) + right - xp.matmul(xp.matmul(right, y), x)
    return _inv(xp, g, y) + conj(xp, others)


RULES: dict[str, Rule] = {
    "cross": binary(
        lambda xp, g, x2, axis=-1: xp.linalg.cross(x2, g, axis=axis),
        lambda xp, g, x1, axis=-1: xp.linalg.cross(g, x1, axis=axis),
    ),
    "diagonal": rule("x", x=_onto_diagonal),
    "inv": rule("x", x=_inv),
    "matrix_power": rule("x n", x=_matrix_power),
    "outer": binary(lambda xp, g, x2: xp.matmul(g, x2), lambda xp, g, x1: xp.matmul(x1, g)),
    "pinv": rule("x", x=_pinv),
    "solve": binary(_solve_x1, _solve_x2),
    "trace": rule("x", casts=True, x=_trace),
}

CONSTANT = frozenset(["matrix_rank"])
