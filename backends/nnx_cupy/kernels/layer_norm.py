"""Normalisation of each example: a row is read once, and is in registers from then on."""

from __future__ import annotations

from math import prod
from typing import Any

from nnx._typing import Array, DType, Kernel
from nnx.ops import norm as reference
from nnx_cupy.kernels._arrays import summed_in, whole
from nnx_cupy.kernels._norm import parameter_type, serves
from nnx_cupy.kernels._rows import cut
from nnx_cupy.kernels._source import Source, floating
from nnx_cupy.kernels._sums import plain_sum, product_sum

SOURCE = Source("layer_norm", "teams")


def layer_norm_forward(
    xp: Any, x: Array, weight: Array | None = None, bias: Array | None = None, *, axes: int = 1, eps: float = 1e-5
) -> Any:
    """One launch."""
    kind = parameter_type(x.dtype, weight, bias)
    if kind is None or x.ndim < axes or not x.size or not floating(x.dtype):
        return reference.layer_norm_forward(xp, x, weight, bias, axes=axes, eps=eps)
    features = x.shape[-axes:]
    reference.require_parameters(features, weight, bias)
    columns = prod(features)
    rows = x.size // columns
    statistics = summed_in(xp, x.dtype)
    y, normal = xp.empty(x.shape, dtype=x.dtype), xp.empty((rows, columns), dtype=statistics)
    inverse = xp.empty((rows, 1), dtype=statistics)
    parameters = (0 if p is None else whole(xp, p) for p in (weight, bias))
    arguments = (whole(xp, x), *parameters, y, normal, inverse, rows, columns, float(eps))
    cut(rows, columns).launch(SOURCE, "layer_norm", x.dtype, *arguments, WEIGHT=kind)
    return y, (normal, inverse)


def layer_norm_x(xp: Any, g: Array, saved: Any, x_dtype: DType, weight: Array | None = None) -> Array:
    """One launch."""
    normal, inverse = saved
    kind = parameter_type(x_dtype, weight)
    misfit = weight is not None and weight.size != normal.shape[1]
    if kind is None or misfit or g.dtype != x_dtype or not serves(g, normal):
        return reference.layer_norm_x(xp, g, saved, x_dtype, weight)
    rows, columns = normal.shape
    result = xp.empty(g.shape, dtype=x_dtype)
    scale = 0 if weight is None else whole(xp, weight)
    arguments = (whole(xp, g), whole(xp, normal), whole(xp, inverse), scale, result, rows, columns)
    cut(rows, columns).launch(SOURCE, "layer_norm_adjoint", x_dtype, *arguments, WEIGHT=kind)
    return result


def layer_norm_weight(xp: Any, g: Array, saved: Any, weight_shape: Any, weight_dtype: DType) -> Array:
    """One pass, which the adjoint by the bias shares."""
    if not serves(g, saved[0]):
        return reference.layer_norm_weight(xp, g, saved, weight_shape, weight_dtype)
    return product_sum(xp, g, saved[0]).astype(weight_dtype, copy=False).reshape(weight_shape)


def layer_norm_bias(xp: Any, g: Array, saved: Any, bias_shape: Any, bias_dtype: DType) -> Array:
    """What the adjoint by the weight has left, or one pass."""
    if not serves(g, saved[0]):
        return reference.layer_norm_bias(xp, g, saved, bias_shape, bias_dtype)
    return plain_sum(xp, g, saved[0]).astype(bias_dtype, copy=False).reshape(bias_shape)


KERNELS: dict[str, Kernel] = {
    "layer_norm_bias": layer_norm_bias,
    "layer_norm_forward": layer_norm_forward,
    "layer_norm_weight": layer_norm_weight,
    "layer_norm_x": layer_norm_x,
}
