"""Calls of what decomposes matrices. Their singular values and eigenvalues are apart, so that all have derivatives.

Each answers what does not depend on the phases (signs) of singular vectors and eigenvectors, which differ by library.
"""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

import nnx
from rule_cases.drawing import Case, in_complex, numbers, parts

BATCHES = st.sampled_from([(), (), (2,), (2, 1)])
VALUES = np.asarray([0.5, 1.3, 2.4])
WEIGHTS = 1.0, -0.6, 1.7


def adjoint(x):
    xp = nnx.namespace_of(x)
    x = xp.matrix_transpose(x)
    return xp.conj(x) if xp.isdtype(x.dtype, "complex floating") else x


def either(cases):
    """``cases``, or these with small imaginary parts, which leave the values apart."""
    return st.one_of(cases, in_complex(cases, 0.02, 0.12))


def orthogonal(rng, batch, n):
    return np.linalg.qr(rng.normal(size=(*batch, n, n)))[0]


@st.composite
def spread(draw, call=lambda f, x: f(x), square=False):
    """Functions of matrices of any shape, with singular values that are apart."""
    rows = draw(st.integers(1, 3))
    columns = rows if square else draw(st.integers(1, 3))
    batch, rng = draw(BATCHES), np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.permutation(VALUES)[: min(rows, columns)] + rng.uniform(-0.1, 0.1, min(rows, columns))
    middle = np.zeros((rows, columns))
    np.fill_diagonal(middle, values)
    return Case((orthogonal(rng, batch, rows) @ middle @ orthogonal(rng, batch, columns),), call)


@st.composite
def symmetric(draw, call=lambda f, x: f((x + adjoint(x)) * 0.5)):
    """Functions of symmetric matrices (Hermitian ones, of complex numbers) with eigenvalues that are apart."""
    n, batch, rng = draw(st.integers(1, 3)), draw(BATCHES), np.random.default_rng(draw(st.integers(0, 2**32)))
    vectors = orthogonal(rng, batch, n)
    values = np.asarray([-1.1, 0.4, 1.9])[:n] + rng.uniform(-0.1, 0.1, n)
    return Case(((vectors * values) @ np.swapaxes(vectors, -1, -2),), call)


@st.composite
def general(draw, call):
    """Functions of matrices with eigenvalues that are apart, all of them real, or two of them conjugates."""
    n, batch = draw(st.integers(1, 3)), draw(BATCHES)
    x = np.diag([1.3, -0.9, 2.6][:n]) + draw(numbers((*batch, n, n), -0.15, 0.15))
    if n > 1 and draw(st.booleans()):
        x[..., 0, 1] += 1.8
        x[..., 1, 0] -= 1.8
    return Case((x,), call)


def joined(*found):
    """Arrays of any shape, complex or not, as one of real numbers."""
    xp = nnx.namespace_of(*found)
    return xp.concat([xp.reshape(parts(y), (-1,)) for y in found])


def weighted(vectors, others):
    """Σ wⱼ vⱼ oⱼᴴ, which the phases of pairs of vectors do not change."""
    return sum(
        w * (vectors[..., :, j : j + 1] @ adjoint(others[..., :, j : j + 1]))
        for j, w in zip(range(vectors.shape[-1]), WEIGHTS, strict=False)
    )


@st.composite
def of_svd(draw):
    names = draw(st.sampled_from([["s"], ["u"], ["v"], ["uv"], ["u", "s"], ["v", "uv", "u", "s"]]))
    full = draw(st.sampled_from([None, True, False]))

    def call(f, x):
        chosen = full if x.shape[-1] == x.shape[-2] or names == ["s"] else False
        u, s, vh = f(x) if chosen is None else f(x, full_matrices=chosen)
        v = adjoint(vh)
        found = {"s": lambda: s, "u": lambda: weighted(u, u), "v": lambda: weighted(v, v), "uv": lambda: weighted(u, v)}
        return joined(*(found[name]() for name in names))

    return draw(spread(call))


@st.composite
def of_eigh(draw):
    names = draw(st.sampled_from([["values"], ["vectors"], ["values", "vectors"]]))

    def call(f, x):
        values, v = f((x + adjoint(x)) * 0.5)
        found = {"values": lambda: values, "vectors": lambda: weighted(v, v)}
        return joined(*(found[name]() for name in names))

    return draw(symmetric(call))


@st.composite
def of_eig(draw):
    """Sums over all eigenvalues, since libraries may differ in their order."""
    names = draw(st.sampled_from([["values"], ["vectors"], ["values", "vectors"]]))

    def call(f, x):
        values, v = f(x)
        xp = nnx.namespace_of(v)
        sizes = xp.real(v) ** 2 + xp.imag(v) ** 2
        found = {
            "values": lambda: xp.sum(values**3, axis=-1),
            "vectors": lambda: xp.sum(sizes * values[..., None, :] if "values" in names else sizes**2, axis=-1),
        }
        return joined(*(found[name]() for name in names))

    return draw(general(call))


def of_eigvals():
    return general(lambda f, x: parts(nnx.namespace_of(x).sum(f(x) ** 3, axis=-1)))


@st.composite
def of_qr(draw):
    """With a positive diagonal of R, whose signs are the library's choice."""
    mode, names = draw(st.sampled_from([None, "reduced", "complete"])), draw(st.sampled_from(["q", "r", "qr"]))

    def call(f, x):
        tall = x.shape[-2] > x.shape[-1]
        q, r = f(x) if mode is None or tall else f(x, mode=mode)
        xp = nnx.namespace_of(q)
        diagonal = xp.linalg.diagonal(r)
        signs = xp.sign(xp.real(diagonal) if xp.isdtype(r.dtype, "complex floating") else diagonal)
        found = {"q": lambda: q * signs[..., None, :], "r": lambda: r * signs[..., :, None]}
        return joined(*(found[name]() for name in names))

    return draw(spread(call))


@st.composite
def choleskys(draw):
    """Of X Xᴴ + 1: only Hermitian matrices have factors, and a library may read one triangle alone."""
    options = draw(st.fixed_dictionaries({}, optional={"upper": st.booleans()}))

    def call(f, x):
        product = x @ adjoint(x)
        return f(product + nnx.namespace_of(x).linalg.matrix_power(product, 0), **options)

    return draw(spread(call, square=True))


@st.composite
def slogdets(draw):
    names = draw(st.sampled_from([["log"], ["log", "sign"]]))

    def call(f, x):
        found = dict(zip(["sign", "log"], f(x), strict=True))
        return joined(*(found[name] for name in names))

    return draw(spread(call, square=True))


@st.composite
def pseudo_inverses(draw):
    case = draw(spread())
    kind = draw(st.sampled_from([None, "number", "array"]))
    if kind == "array":
        limits = np.full(case.arrays[0].shape[:-2], 1e-3)
        return Case(case.arrays, lambda f, x, rtol: f(x, rtol=rtol), (limits,))
    return Case(case.arrays, lambda f, x: f(x, **({} if kind is None else {"rtol": 1e-3})))


@st.composite
def matrix_norms(draw):
    orders = st.sampled_from([2, -2, "nuc", "fro", 1, -1, math.inf, -math.inf])
    options = draw(st.fixed_dictionaries({}, optional={"ord": orders, "keepdims": st.booleans()}))
    return draw(spread(lambda f, x: f(x, **options)))


CASES = {
    "linalg.cholesky": either(choleskys()),
    "linalg.eig": either(of_eig()),
    "linalg.eigh": either(of_eigh()),
    "linalg.eigvals": either(of_eigvals()),
    "linalg.eigvalsh": either(symmetric()),
    "linalg.matrix_norm": either(matrix_norms()),
    "linalg.pinv": either(pseudo_inverses()),
    "linalg.qr": either(of_qr()),
    "linalg.slogdet": either(slogdets()),
    "linalg.svd": either(of_svd()),
    "linalg.svdvals": either(spread()),
}
