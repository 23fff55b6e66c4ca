"""Derivatives of determinants.

That of ``det`` is the matrix of cofactors (Jacobi's formula), det(X) X⁻ᵀ where there is an inverse. It
exists where there is none too, and is found from matrices beside X: det is affine along any matrix of
rank one, so that it is the mean of det(X + E) and det(X - E), with all derivatives; and of four such for
two matrices E, and so on. Those matrices are far from singular where as many singular values of X are
small. Where more are 0 than a derivative's order, it is 0, so that its order says how many E it takes.

Where X has an inverse, but its determinant a condition above 1 / √ε, differences of products of large
inverses lose more than half their digits. Derivatives are then found beside X if those matrices have a
condition below that, and the cofactors themselves where rounding does less to them there.

``slogdet`` has no derivative at a singular matrix: it is an error there, or infinite, as that of its
library's ``inv``.
"""

from __future__ import annotations

from itertools import count, islice
from math import isqrt, sqrt

import array_api_compat

from nnx._typing import Array, Namespace
from nnx.backend import readable
from nnx.tape.primitive import Primitive, untracked
from nnx.tape.rule import Rule
from nnx.tape.tracked import Tracked
from nnx.vjps._rule import is_complex, joint, raw, rule


def _by_inverse(xp: Namespace, y: Array, inverse: Array) -> Array:
    """Y X⁻ᵀ."""
    return y[..., None, None] * xp.matrix_transpose(inverse)


_regular_det = Primitive(
    "det",
    lambda x, xp: xp.linalg.det(x),
    rule("x xp", x=lambda xp, g, y, x: g[..., None, None] * _by_inverse(xp, y, xp.linalg.inv(x))),
)


def _det(xp: Namespace, g: Array, y: Array, x: Array) -> Array:
    """G times the cofactors of X."""
    return g[..., None, None] * (xp.zeros_like(x) if 0 in x.shape else _cofactors(xp, y, x))


def _cofactors(xp: Namespace, y: Array, x: Array) -> Array:
    """The cofactors of X: their value, and derivatives from where those are good."""
    lib, bare, limit = raw(xp), untracked(x), 1 / sqrt(_epsilon(raw(xp), x))
    value, condition = _value(lib, untracked(y), bare, limit)
    if x is bare:
        return value
    if _nowhere(lib, condition > limit):
        return _by_inverse(xp, y, xp.linalg.inv(x))
    beside, worst, _ = _beside(xp, x, min(1 + _levels(x), x.shape[-1]))
    near = lib.logical_or(condition == _none(lib, x), lib.logical_and(condition > limit, worst < limit))
    regular = _by_inverse(xp, y, xp.linalg.inv(xp.where(near, _one(lib, bare), x)))
    return xp.where(near, beside - untracked(beside) + value, regular)


def _value(xp: Namespace, determinant: Array, x: Array, limit: float) -> tuple[Array, Array]:
    """The cofactors of X as a constant, and the condition of its determinant."""
    inverse, condition = _inverse(xp, x, determinant)
    value = _by_inverse(xp, determinant, inverse)
    if _nowhere(xp, condition > limit):
        return value, condition
    beside, worst, terms = _beside(xp, x, 1)
    better = worst * terms * 100 < condition * _largest(xp, beside)  # what rounding does to the one and to the other
    return xp.where(xp.logical_or(condition == _none(xp, x), better), beside, value), condition


def _beside(xp: Namespace, x: Array, directions: int) -> tuple[Array, Array, Array]:
    """The mean cofactors of matrices beside X, 0 if these are singular too; the worst condition and largest term."""
    lib, bare = raw(xp), untracked(x)
    matrices = xp.stack([x + shift for shift in _shifts(lib, bare, directions)])
    inverse, condition = _inverse(lib, untracked(matrices), lib.linalg.det(untracked(matrices)))
    lost = condition > 0.1 / (_epsilon(lib, x) * sqrt(x.shape[-1]))
    if x is not bare:
        matrices = xp.where(lost, _one(lib, bare), matrices)
        inverse = xp.linalg.inv(matrices)
    found = _by_inverse(xp, _regular_det(matrices, lib), inverse)
    mean = xp.sum(xp.where(lost, xp.zeros_like(x), found), axis=0) * (1 / matrices.shape[0])
    terms = lib.max(_largest(lib, untracked(found)), axis=0)
    return xp.where(lib.any(lost, axis=0), xp.zeros_like(x), mean), lib.max(condition, axis=0), terms


def _inverse(xp: Namespace, x: Array, determinant: Array) -> tuple[Array, Array]:
    """The inverse of X, and the condition of the determinant, Σ |X⁻¹| ∘ |Xᵀ|, at most that which says that none is.

    It does not depend on the scales of rows and columns.
    """
    none = (determinant == 0)[..., None, None]
    safe = xp.where(none, _one(xp, x), x)
    try:
        inverse, limit = xp.linalg.inv(safe), _none(xp, x)
    except Exception:  # each library has its own, for a pivot that is 0; the determinant may have had others
        epsilon = _epsilon(xp, x)
        inverse, limit = xp.linalg.inv(safe + _shifts(xp, x, 1)[0] * epsilon), 1 / sqrt(epsilon)
    sizes = xp.abs(x)
    condition = xp.sum(xp.abs(inverse) * xp.matrix_transpose(sizes), axis=(-2, -1), keepdims=True)
    none = xp.logical_or(none, xp.logical_not(condition < limit))
    finite = xp.all(xp.isfinite(sizes), axis=(-2, -1), keepdims=True)  # NaN is not singular
    return inverse, xp.where(xp.logical_and(none, finite), xp.full_like(condition, _none(xp, x)), condition)


def _shifts(xp: Namespace, x: Array, directions: int) -> list[Array]:
    """± E₁ ± E₂ …, of rank one. Their vectors have the scales of rows and columns, no pattern, and no 0."""
    n, device = x.shape[-1], array_api_compat.device(x)
    rows = xp.max(xp.abs(x), axis=-1, keepdims=True)
    rows = _or(xp, _or(xp, rows, xp.max(rows, axis=-2, keepdims=True)), xp.ones_like(rows))
    columns = xp.max(xp.abs(x) / rows, axis=-2, keepdims=True)
    scales = xp.astype(rows * _or(xp, columns, xp.ones_like(columns)), x.dtype) * (1 / sqrt(n))
    roots = (sqrt(m) for m in count(2) if isqrt(m) ** 2 != m)
    shifts = [xp.zeros_like(x)]
    for _ in range(directions):
        numbers = ([(i * i * root) % 1.0 for i in range(1, n + 1)] for root in islice(roots, 2))
        a, b = (xp.asarray([r - 1 if r < 0.5 else r for r in some], dtype=x.dtype, device=device) for some in numbers)
        shift = scales * (a[:, None] * b[None, :])
        shifts = [found + signed for found in shifts for signed in (shift, -shift)]
    return shifts


def _levels(x: Array) -> int:
    """How many differentiations see ``x``."""
    return 1 + _levels(x.value) if type(x) is Tracked else 0


def _nowhere(xp: Namespace, mask: Array) -> bool:
    """Whether a mask can be read, and is false."""
    return readable(mask) and not bool(xp.any(mask))


def _one(xp: Namespace, x: Array) -> Array:
    return xp.eye(x.shape[-1], dtype=x.dtype, device=array_api_compat.device(x))


def _largest(xp: Namespace, x: Array) -> Array:
    return xp.max(xp.abs(x), axis=(-2, -1), keepdims=True)


def _or(xp: Namespace, x: Array, other: Array) -> Array:
    return xp.where(x == 0, other, x)


def _epsilon(xp: Namespace, x: Array) -> float:
    return float(xp.finfo(x.dtype).eps)


def _none(xp: Namespace, x: Array) -> float:
    """The condition that stands for a matrix without an inverse."""
    return _epsilon(xp, x) ** -2


def _slogdet(xp: Namespace, g: tuple[Array | None, Array | None], y: tuple[Array, Array], x: Array) -> Array:
    """G X⁻ᵀ, where G is that of log|det X|, and of a complex sign s the imaginary part of G s besides."""
    g_sign, g_log = g
    if g_sign is not None and is_complex(xp, x.dtype):
        turned = xp.astype(xp.imag(g_sign * y[0]), x.dtype) * 1j
        g_log = turned if g_log is None else g_log + turned
    if g_log is None:  # the sign of a real matrix alone
        return xp.zeros_like(x)
    return g_log[..., None, None] * xp.matrix_transpose(xp.linalg.inv(x))


RULES: dict[str, Rule] = {"det": rule("x", x=_det), "slogdet": joint("x", 2, x=_slogdet)}
