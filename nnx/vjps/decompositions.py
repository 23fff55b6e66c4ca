"""Derivatives of the factors of matrices: of the ``linalg`` extension, what has Q, R, U, S, V or Λ in it.

In the equations X is the matrix, Ḡ is the conjugate of the gradient of a factor G, and X̄ that of the
result: they pair with changes as Re tr(ḠᴴdG), which keeps them those of the literature. E is a matrix
of differences, through which is divided element by element; ``skew(A)`` is A - Aᴴ.

Sources: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008); Murray, "Differentiation of the Cholesky decomposition" (2016,
arXiv:1602.07527); Walter and Lehmann, "Algorithmic differentiation of linear algebra functions"
(2010, arXiv:1001.1654); Roberts and Roberts, "QR and LQ decomposition matrix backpropagation
algorithms for square, wide, and deep matrices" (2020, arXiv:2009.10071); Townsend, "Differentiating
the singular value decomposition" (2016); Wan and Zhang, "Automatic differentiation for complex valued
SVD" (2019, arXiv:1909.02659); Boeddeker et al., "On the computation of complex-valued gradients with
application to statistically optimum beamforming" (2017, arXiv:1701.00392) for ``eig``.

Conventions:

- ``cholesky`` and ``eigh`` answer the Hermitian gradient, whichever triangle the library reads.
- Eigenvectors and singular vectors have a phase (a sign) of the library's choice, which the gradient
  takes for constant: it is right for what does not depend on the choice. The vectors of ``eig`` keep
  their length 1.
- Equal eigenvalues, equal singular values, and pairs of singular values that are both 0: what would be
  divided by their difference or sum counts as 0, as it does where that is nothing but rounding. That
  is right for what sees the vectors of equal values through the space that they span, and those values
  alike: a projector onto that space, Σ h(λ), and of singular vectors U Vᴴ too. It is not right for
  V h(Λ) Vᴴ, whose derivative there has a part that is in neither gradient, so that no rule can find it;
  nor for second derivatives, unless the first is again such a function: of Σ λ, not of Σ exp λ. Where
  values may be equal, ``det``, ``inv``, ``solve`` and ``matrix_power`` have all their derivatives.
- A singular value at 0 has the derivative 0, like |x|.
- The vectors that ``svd(full_matrices=True)`` or ``qr(mode="complete")`` add to span the whole space
  are any; a factor with such vectors has no derivative, the others do.
- ``qr`` needs independent columns, or in a wide matrix independent first ones.
"""

from __future__ import annotations

from math import sqrt

from nnx._errors import MissingRuleError
from nnx._typing import Array, DType, Namespace
from nnx.tape.namespace import Composition
from nnx.tape.primitive import untracked
from nnx.tape.rule import Rule
from nnx.vjps._rule import adjoint, cast, conj, joint, rule

Shape = tuple[int, ...]
Gradients = tuple[Array | None, ...]


def _skew(xp: Namespace, x: Array) -> Array:
    return x - adjoint(xp, x)


def _divide(xp: Namespace, x: Array, by: Array, values: Array) -> Array:
    """x / ``by``, and 0 where ``by``, made of eigenvalues or singular values, is 0 but for their rounding."""
    if 0 in by.shape:
        return x
    size = xp.max(xp.abs(values), axis=-1, keepdims=True)[..., None]
    none = xp.abs(by) <= size * (4 * float(xp.finfo(values.dtype).eps) * sqrt(values.shape[-1]))
    return xp.where(none, xp.zeros_like(x), x / xp.where(none, xp.ones_like(by), by))


def _differences(values: Array) -> Array:
    """E_ij = λ_j - λ_i."""
    return values[..., None, :] - values[..., :, None]


def _cholesky(xp: Namespace, g: Array, y: Array, upper: bool = False) -> Array:
    """½ (P + Pᴴ), P = L⁻ᴴ Φ(Lᴴ L̄) L⁻¹, for Φ: the lower triangle, with half the diagonal."""
    lower, g = (adjoint(xp, y), xp.matrix_transpose(g)) if upper else (y, conj(xp, g))
    transposed = adjoint(xp, lower)
    product = xp.matmul(transposed, g)
    phi = (xp.tril(product) + xp.tril(product, k=-1)) * 0.5
    left = xp.linalg.solve(transposed, phi)
    p = xp.linalg.solve(transposed, adjoint(xp, left))  # Pᴴ
    return conj(xp, (p + adjoint(xp, p)) * 0.5)


def _qr(xp: Namespace, g: Gradients, y: tuple[Array, Array], x_shape: Shape, mode: str = "reduced") -> Array:
    """(Q̄ + Q (K + Kᴴ)) R⁻ᴴ, for K: the upper triangle of R̄ Rᴴ - Qᴴ Q̄, with half the diagonal.

    Of a wide X = Q [R₁ R₂], the first columns get that of R₁ and of Q̄ + Q R₂ R̄₂ᴴ, and the others Q R̄₂.
    """
    (q, r), (rows, columns) = y, x_shape[-2:]
    if mode == "complete" and rows > columns:
        if g[0] is not None:
            raise MissingRuleError(
                "the last columns of Q of qr(mode='complete') are any that are orthogonal to the first, so that they "
                f"have no derivative for {rows} rows and {columns} columns: pass mode='reduced'"
            )
        q, r, g = q[..., :columns], r[..., :columns, :], (None, g[1][..., :columns, :])  # type: ignore[index]
    g_q, g_r = (
        xp.zeros_like(part) if found is None else conj(xp, found) for part, found in zip((q, r), g, strict=True)
    )
    others = None
    if rows < columns:
        others = xp.matmul(q, g_r[..., rows:])
        g_q = g_q + xp.matmul(q, xp.matmul(r[..., rows:], adjoint(xp, g_r[..., rows:])))
        r, g_r = r[..., :rows], g_r[..., :rows]
    product = xp.matmul(g_r, adjoint(xp, r)) - xp.matmul(adjoint(xp, q), g_q)
    k = (xp.triu(product) + xp.triu(product, k=1)) * 0.5
    left = g_q + xp.matmul(q, k + adjoint(xp, k))
    found = adjoint(xp, xp.linalg.solve(r, adjoint(xp, left)))
    return conj(xp, found if others is None else xp.concat([found, others], axis=-1))


def _eigh(xp: Namespace, g: Gradients, y: tuple[Array, Array]) -> Array:
    """V (diag(Λ̄) + ½ skew(Vᴴ V̄) / E) Vᴴ, E_ij = λ_j - λ_i."""
    (values, v), (g_values, g_v) = y, g
    left = []
    if g_values is not None:
        left.append(g_values[..., None, :] * v)
    if g_v is not None:
        inner = _skew(xp, xp.matmul(adjoint(xp, v), conj(xp, g_v))) * 0.5
        left.append(xp.matmul(v, _divide(xp, inner, _differences(values), values)))
    return conj(xp, xp.matmul(sum(left[1:], left[0]), adjoint(xp, v)))


def _eig(xp: Namespace, g: Gradients, y: tuple[Array, Array], x_dtype: DType) -> Array:
    """V⁻ᴴ (diag(Λ̄) + (Vᴴ V̄ - Vᴴ V D) / E*) Vᴴ, D: the real part of the diagonal of Vᴴ V̄, E_ij = λ_j - λ_i.

    D stands for the length 1 of the vectors.
    """
    (values, v), (g_values, g_v) = y, g
    transposed = adjoint(xp, v)
    right = []
    if g_values is not None:
        right.append(conj(xp, g_values)[..., None] * transposed)
    if g_v is not None:
        g_v = conj(xp, g_v)
        lengths = xp.real(xp.sum(g_v * conj(xp, v), axis=-2, keepdims=True))
        inner = xp.matmul(transposed, g_v - lengths * v)
        right.append(xp.matmul(_divide(xp, inner, conj(xp, _differences(values)), values), transposed))
    return cast(xp, conj(xp, xp.linalg.solve(transposed, sum(right[1:], right[0]))), x_dtype)


def _svd(xp: Namespace, g: Gradients, y: tuple[Array, Array, Array], x: Array, full_matrices: bool = True) -> Array:
    """U (diag(S̄) + ½ (A + B) / E + ½ (A - B) / F) Vᴴ + (1 - U Uᴴ) Ū S⁻¹ Vᴴ + U S⁻¹ V̄ᴴ (1 - V Vᴴ).

    A = skew(Uᴴ Ū), B = skew(Vᴴ V̄), E_ij = s_j - s_i, F_ij = s_i + s_j. With (A S + S B) / (E F), as it is
    mostly written, equal singular values would lose what F alone divides.
    """
    (u, s, vh), (g_u, g_s, g_vh) = y, g
    rows, columns = x.shape[-2:]
    for part, extra, name in ((g_u, rows > columns, "U"), (g_vh, columns > rows, "Vh")):
        if full_matrices and extra and part is not None:
            raise MissingRuleError(
                f"svd() adds vectors to {name} of a matrix of {rows} rows and {columns} columns that are any "
                "orthogonal ones, and have no derivative: pass full_matrices=False"
            )
    if full_matrices and rows != columns and g_u is None and g_vh is None and x is not untracked(x):
        u, s, vh = xp.linalg.svd(x, full_matrices=False)  # factors that have derivatives themselves
    u, vh = u[..., : s.shape[-1]], vh[..., : s.shape[-1], :]
    parts = []
    if g_s is not None:
        g_s = xp.where(s == 0, xp.zeros_like(g_s), g_s)
        parts.append(xp.matmul(g_s[..., None, :] * u, vh))
    if g_u is None and g_vh is None:
        return conj(xp, parts[0])
    a = b = xp.zeros_like(s)[..., None]
    if g_u is not None:
        g_u = conj(xp, g_u)
        inside = xp.matmul(adjoint(xp, u), g_u)
        a = _skew(xp, inside)
        if rows > columns:
            outside = g_u - xp.matmul(u, inside)
            parts.append(xp.matmul(_divide(xp, outside, s[..., None, :], s), vh))
    if g_vh is not None:
        g_vh = conj(xp, g_vh)
        inside = xp.matmul(g_vh, adjoint(xp, vh))  # V̄ᴴ V
        b = -_skew(xp, inside)
        if columns > rows:
            outside = g_vh - xp.matmul(inside, vh)
            parts.append(xp.matmul(u, _divide(xp, outside, s[..., :, None], s)))
    sums = s[..., None, :] + s[..., :, None]
    inner = (_divide(xp, a + b, _differences(s), s) + _divide(xp, a - b, sums, s)) * 0.5
    parts.append(xp.matmul(u, xp.matmul(inner, vh)))
    return conj(xp, sum(parts[1:], parts[0]))


RULES: dict[str, Rule] = {
    "cholesky": rule("x", x=_cholesky),
    "eig": joint("x", 2, x=_eig),
    "eigh": joint("x", 2, x=_eigh),
    "qr": joint("x", 2, x=_qr),
    "svd": joint("x", 3, x=_svd),
}

COMPOSITIONS: dict[str, Composition] = {
    "eigvals": lambda xp, x, /: xp.linalg.eig(x)[0],
    "eigvalsh": lambda xp, x, /: xp.linalg.eigh(x)[0],
    "svdvals": lambda xp, x, /: xp.linalg.svd(x, full_matrices=False)[1],
}
