"""The sums over rows that the adjoints of a normalisation want, taken in one pass for all of them."""

from __future__ import annotations

from typing import Any
from weakref import ref

from nnx._typing import Array
from nnx_cupy.kernels._arrays import whole
from nnx_cupy.kernels._columns import over_parts, tiles
from nnx_cupy.kernels._source import Source

SOURCE = Source("norm_sums", "columns")


_kept: dict[int, tuple[ref[Array], ref[Array], dict[str, Array]]] = {}
"""By the address of x̂: the sums that are left of a pass over it, as long as it lives.

The walk back asks for the gradients of x, weight and bias one after another, with one and the same gradient of y; so do
the calls of a captured step, which has x̂ in common with them and no more. An entry is x̂, the gradient of y that the
sums are of, and the sums: ``plain``, Σ g, and ``product``, Σ g x̂.
"""


def keep(normal: Array, g: Array, **sums: Array) -> None:
    """Keep sums for the other adjoints."""
    key = id(normal)
    _kept[key] = ref(normal, lambda _: _kept.pop(key, None)), ref(g), sums


def kept(normal: Array, g: Array) -> dict[str, Array]:
    """The sums of this gradient that are left: one that is handed out is gone, since a gradient may be changed."""
    found = _kept.get(id(normal))
    return {} if found is None or found[0]() is not normal or found[1]() is not g else found[2]


def product_sum(xp: Any, g: Array, normal: Array) -> Array:
    """Σ g x̂ over rows, in the dtype of x̂. Takes Σ g in the same pass, and keeps it."""
    sums = kept(normal, g)
    if "product" in sums:
        return sums.pop("product")
    plain, product = both_sums(xp, g, normal)
    keep(normal, g, plain=plain)
    return product


def plain_sum(xp: Any, g: Array, normal: Array) -> Array:
    """Σ g over rows, in the dtype of x̂; alone where it has not been taken yet."""
    sums = kept(normal, g)
    return sums.pop("plain") if "plain" in sums else both_sums(xp, g, normal, alone=True)[0]


def both_sums(xp: Any, g: Array, normal: Array, *, alone: bool = False) -> tuple[Array, Array]:
    """Σ g and Σ g x̂ over rows, the first of them ``alone`` if so wished; two launches where there are many rows."""
    (rows, columns), dtype = normal.shape, normal.dtype
    cut = tiles(rows, columns)
    plain, product = xp.empty(columns, dtype=dtype), 0 if alone else xp.empty(columns, dtype=dtype)
    parts = plain, product
    if cut.parts > 1:
        shape = cut.parts, columns
        parts = xp.empty(shape, dtype=dtype), 0 if alone else xp.empty(shape, dtype=dtype)
    arguments = (whole(xp, g), 0 if alone else whole(xp, normal), *parts, rows, columns, cut.width, cut.height)
    SOURCE("sums_of_parts", g.dtype, cut.wide)((cut.blocks,), (cut.threads,), arguments)
    if cut.parts > 1:
        blocks, threads = over_parts(cut.parts, columns)
        add = SOURCE("sums_of_all", g.dtype)
        add((blocks,), (threads,), (*parts, plain, product, cut.parts, columns, cut.width))
    return plain, product
