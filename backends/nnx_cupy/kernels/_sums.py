"""The sums over rows that the adjoints of a normalisation want, taken in one pass for all of them."""

from __future__ import annotations

from typing import Any
from weakref import ref

from nnx._typing import Array
from nnx_cupy.kernels._columns import over_parts, tiles
from nnx_cupy.kernels._rows import whole
from nnx_cupy.kernels._source import Source

SOURCE = Source("norm_sums", "columns")


class Saved(tuple[Array, Array]):
    """x̂ and 1 / σ, as the references save them, with room for sums that several adjoints want.

    The walk back asks for the gradients of x, weight and bias one after another, with one and the same gradient of y.
    """

    kept: tuple[ref[Array], dict[str, Array]] | None = None
    """The gradient of y that they are of, and the sums: ``plain``, Σ g, and ``product``, Σ g x̂."""


def keep(saved: Any, g: Array, **sums: Array) -> None:
    """Keep sums beside what is saved, for the other adjoints."""
    if type(saved) is Saved:
        saved.kept = ref(g), sums


def kept(saved: Any, g: Array) -> dict[str, Array]:
    """The sums of this gradient that are left: one that is handed out is gone, since a gradient may be changed."""
    found = saved.kept if type(saved) is Saved else None
    return {} if found is None or found[0]() is not g else found[1]


def product_sum(xp: Any, g: Array, saved: Any) -> Array:
    """Σ g x̂ over rows, in the dtype of x̂. Takes Σ g in the same pass, and keeps it."""
    sums = kept(saved, g)
    if "product" in sums:
        return sums.pop("product")
    plain, product = both_sums(xp, g, saved[0])
    keep(saved, g, plain=plain)
    return product


def plain_sum(xp: Any, g: Array, saved: Any) -> Array:
    """Σ g over rows, in the dtype of x̂; alone where it has not been taken yet."""
    sums = kept(saved, g)
    return sums.pop("plain") if "plain" in sums else both_sums(xp, g, saved[0], alone=True)[0]


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
