"""Normalisation of a batch: statistics in one pass, results in another; one launch for both where rows are few."""

from __future__ import annotations

from math import prod
from typing import Any

from nnx._typing import Array, DType, Kernel
from nnx.ops import norm as reference
from nnx_cupy.kernels._arrays import summed_in, whole
from nnx_cupy.kernels._columns import over_parts, tiles
from nnx_cupy.kernels._norm import parameter_type, serves
from nnx_cupy.kernels._source import Source, floating
from nnx_cupy.kernels._sums import both_sums, keep, plain_sum, product_sum

SOURCE = Source("batch_norm", "columns")


def batch_norm_forward(
    xp: Any, x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> Any:
    """One launch up to ``WHOLE`` rows, else three."""
    kind, rows = parameter_type(x.dtype, weight, bias), prod(x.shape[:-1])
    if kind is None or rows < 2 or not x.size or not floating(x.dtype):
        return reference.batch_norm_forward(xp, x, weight, bias, eps=eps)
    columns = x.shape[-1]
    reference.require_parameters((columns,), weight, bias)
    statistics = summed_in(xp, x.dtype)
    y, normal = xp.empty(x.shape, dtype=x.dtype), xp.empty((rows, columns), dtype=statistics)
    mean, var = xp.empty(columns, dtype=statistics), xp.empty(columns, dtype=statistics)
    inverse = xp.empty((1, columns), dtype=statistics)
    x, scale, shift = whole(xp, x), *(0 if p is None else whole(xp, p) for p in (weight, bias))
    cut = tiles(rows, columns)
    grid = (cut.blocks,), (cut.threads,)
    if cut.parts == 1:
        launch = SOURCE("batch_norm", x.dtype, cut.wide, WEIGHT=kind)
        launch(*grid, (x, scale, shift, y, normal, mean, var, inverse, rows, columns, cut.width, float(eps)))
    else:
        means = _statistics(xp, x, mean, var, inverse, rows, columns, eps, kind)
        launch = SOURCE("batch_norm_apply", x.dtype, cut.wide, WEIGHT=kind)
        shape = cut.parts, rows, columns, cut.width, cut.height
        launch(*grid, (x, means, inverse, scale, shift, y, normal, *shape))
    return (y, mean, var), (normal, inverse)


def _statistics(
    xp: Any, x: Array, mean: Array, var: Array, inverse: Array, rows: int, columns: int, eps: float, kind: str
) -> Array:
    """Write them, of each part and of all together; answers the means beside the first row, that of all at the end."""
    cut = tiles(rows, columns)
    means = xp.empty((cut.parts + 1, columns), dtype=mean.dtype)
    squares = xp.empty((cut.parts, columns), dtype=mean.dtype)
    take = SOURCE("moments_of_parts", x.dtype, cut.wide, WEIGHT=kind)
    take((cut.blocks,), (cut.threads,), (x, means, squares, rows, columns, cut.width, cut.height))
    blocks, threads = over_parts(cut.parts, columns)
    add = SOURCE("moments_of_all", x.dtype, cut.wide, WEIGHT=kind)
    shape = cut.parts, rows, columns, cut.width, cut.height
    add((blocks,), (threads,), (x, means, squares, mean, var, inverse, *shape, float(eps)))
    return means


def batch_norm_x(xp: Any, g: Array, saved: Any, x_dtype: DType, weight: Array | None = None) -> Array:
    """One launch up to ``WHOLE`` rows, else three; the adjoints by weight and bias then need none."""
    normal, inverse = saved
    kind = parameter_type(x_dtype, weight)
    misfit = weight is not None and weight.size != normal.shape[1]
    if kind is None or misfit or g.dtype != x_dtype or not serves(g, normal):
        return reference.batch_norm_x(xp, g, saved, x_dtype, weight)
    rows, columns = normal.shape
    result = xp.empty(g.shape, dtype=x_dtype)
    flat, normal, inverse = whole(xp, g), whole(xp, normal), whole(xp, inverse)
    scale = 0 if weight is None else whole(xp, weight)
    cut = tiles(rows, columns)
    grid = (cut.blocks,), (cut.threads,)
    if cut.parts == 1:
        plain, product = xp.empty(columns, dtype=normal.dtype), xp.empty(columns, dtype=normal.dtype)
        launch = SOURCE("batch_norm_adjoint", x_dtype, cut.wide, WEIGHT=kind)
        launch(*grid, (flat, normal, inverse, scale, plain, product, result, rows, columns, cut.width))
    else:
        plain, product = both_sums(xp, flat, normal)
        launch = SOURCE("batch_norm_adjoint_apply", x_dtype, cut.wide, WEIGHT=kind)
        launch(*grid, (flat, normal, inverse, scale, plain, product, result, rows, columns, cut.width, cut.height))
    keep(saved[0], g, plain=plain, product=product)
    return result


def batch_norm_weight(xp: Any, g: Array, saved: Any, weight_dtype: DType) -> Array:
    """What the adjoint by x has left, or one pass."""
    if not serves(g, saved[0]):
        return reference.batch_norm_weight(xp, g, saved, weight_dtype)
    return product_sum(xp, g, saved[0]).astype(weight_dtype, copy=False)


def batch_norm_bias(xp: Any, g: Array, saved: Any, bias_dtype: DType) -> Array:
    """What the adjoint by x or by the weight has left, or one pass."""
    if not serves(g, saved[0]):
        return reference.batch_norm_bias(xp, g, saved, bias_dtype)
    return plain_sum(xp, g, saved[0]).astype(bias_dtype, copy=False)


KERNELS: dict[str, Kernel] = {
    "batch_norm_bias": batch_norm_bias,
    "batch_norm_forward": batch_norm_forward,
    "batch_norm_weight": batch_norm_weight,
    "batch_norm_x": batch_norm_x,
}
