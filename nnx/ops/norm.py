"""Normalisation: arrays brought to mean 0 and variance 1, over the batch or over the features.

Both ops lay x out as a matrix of rows, one for each place that has features. A dtype narrower than
float32 is computed in float32, and comes back as it was. With the gradient G = g · weight of the
normalised x̂ = (x - μ) / σ, and means over what μ and σ are over, the adjoint is one formula:

    x: (G - mean(G) - x̂ mean(G x̂)) / σ        weight: Σ g x̂        bias: Σ g
"""

from __future__ import annotations

from math import prod

from nnx._errors import ShapeError
from nnx._typing import Array, DType, Namespace
from nnx.backend import itemsize
from nnx.ops._op import op

Saved = tuple[Array, Array]
"""x̂ as a matrix of rows, and 1 / σ."""


def require_parameters(features: tuple[int, ...], *parameters: Array | None) -> None:
    """Raise ``ShapeError`` unless weight and bias, where there are any, have the shape of the features."""
    for p in parameters:
        if p is not None and p.shape != features:
            raise ShapeError(
                f"a weight and a bias of normalisation have the shape of the features, {tuple(features)}; "
                f"got {tuple(p.shape)}"
            )


def batch_norm_forward(
    xp: Namespace, x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> tuple[tuple[Array, Array, Array], Saved]:
    """Batch normalisation: y = (x - μ) / sqrt(σ² + eps) · weight + bias, with μ and σ² of each channel.

    Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", ICML 2015, algorithm 1. μ and σ² are over all axes but the last; σ² is the mean
    squared deviation, computed from x - μ.

    Args:
        x: shape (..., channels), floating-point, with more than one value for each channel.
        weight, bias: shape (channels,), or ``None`` for 1 and 0.
        eps: keeps a channel of equal values from division by 0.

    Returns:
        y, of the shape and dtype of x; μ and σ², shape (channels,), through which no gradient flows.

    Raises:
        ShapeError: there is no more than one value for each channel, so that y would not depend on x; weight or
            bias has another shape.
    """
    channels = x.shape[-1] if x.shape else 0
    count = prod(x.shape[:-1])
    if count < 2 or not channels:
        raise ShapeError(
            f"batch normalisation in training takes its statistics from more than one value for each channel; got "
            f"shape {tuple(x.shape)}, with {count if channels else 0}: give it batches of two examples or more, e.g. "
            "with drop_last=True of nnx.data.batches"
        )
    require_parameters((channels,), weight, bias)
    rows, mean, var, inverse = _normalised(xp, xp.reshape(x, (count, channels)), 0, eps)
    y = xp.reshape(_affine(xp, rows, weight, bias, x.dtype), x.shape)
    return (y, xp.reshape(mean, (channels,)), xp.reshape(var, (channels,))), (rows, inverse)


def batch_norm_x(xp: Namespace, g: Array, saved: Saved, x_dtype: DType, weight: Array | None = None) -> Array:
    """(G - mean(G) - x̂ mean(G x̂)) / σ, over rows, where G = g · weight."""
    rows, inverse = saved
    flat = _like(xp, g, rows)
    inner = flat - xp.mean(flat, axis=0, keepdims=True) - xp.mean(flat * rows, axis=0, keepdims=True) * rows
    scale = inverse if weight is None else inverse * _cast(xp, weight, inverse.dtype)
    return _cast(xp, xp.reshape(inner * scale, g.shape), x_dtype)


def batch_norm_weight(xp: Namespace, g: Array, saved: Saved, weight_dtype: DType) -> Array:
    """Σ g x̂ over rows."""
    rows, _ = saved
    return _cast(xp, xp.sum(_like(xp, g, rows) * rows, axis=0), weight_dtype)


def batch_norm_bias(xp: Namespace, g: Array, saved: Saved, bias_dtype: DType) -> Array:
    """Σ g over rows."""
    return _cast(xp, xp.sum(_like(xp, g, saved[0]), axis=0), bias_dtype)


def layer_norm_forward(
    xp: Namespace,
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    axes: int = 1,
    eps: float = 1e-5,
) -> tuple[Array, Saved]:
    """Layer normalisation: y = (x - μ) / sqrt(σ² + eps) · weight + bias, with μ and σ² of each example.

    Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450, 2016, equations 3 and 4. μ and σ² are
    over the last ``axes`` axes; σ² is the mean squared deviation, computed from x - μ.

    Args:
        x: any shape of at least ``axes`` axes, floating-point.
        weight, bias: of the shape of those last axes, or ``None`` for 1 and 0.
        axes: how many axes the features have.
        eps: keeps an example of equal features from division by 0.

    Returns:
        y, of the shape and dtype of x.

    Raises:
        ShapeError: x has fewer axes, or no feature; weight or bias has another shape.
    """
    features = x.shape[-axes:]
    length = prod(features)
    if len(features) < axes or not length:
        raise ShapeError(
            f"layer normalisation over the last {axes} axes needs that many, and at least one feature; got shape "
            f"{tuple(x.shape)}"
        )
    require_parameters(features, weight, bias)
    rows, _, _, inverse = _normalised(xp, xp.reshape(x, (prod(x.shape[:-axes]), length)), 1, eps)
    y = _affine(xp, rows, _flat(xp, weight), _flat(xp, bias), x.dtype)
    return xp.reshape(y, x.shape), (rows, inverse)


def layer_norm_x(xp: Namespace, g: Array, saved: Saved, x_dtype: DType, weight: Array | None = None) -> Array:
    """(G - mean(G) - x̂ mean(G x̂)) / σ, over features, where G = g · weight."""
    rows, inverse = saved
    flat = _like(xp, g, rows)
    if weight is not None:
        flat = flat * _cast(xp, _flat(xp, weight), flat.dtype)
    inner = flat - xp.mean(flat, axis=1, keepdims=True) - xp.mean(flat * rows, axis=1, keepdims=True) * rows
    return _cast(xp, xp.reshape(inner * inverse, g.shape), x_dtype)


def layer_norm_weight(
    xp: Namespace, g: Array, saved: Saved, weight_shape: tuple[int, ...], weight_dtype: DType
) -> Array:
    """Σ g x̂ over rows."""
    rows, _ = saved
    return _cast(xp, xp.reshape(xp.sum(_like(xp, g, rows) * rows, axis=0), weight_shape), weight_dtype)


def layer_norm_bias(xp: Namespace, g: Array, saved: Saved, bias_shape: tuple[int, ...], bias_dtype: DType) -> Array:
    """Σ g over rows."""
    return _cast(xp, xp.reshape(xp.sum(_like(xp, g, saved[0]), axis=0), bias_shape), bias_dtype)


def _normalised(xp: Namespace, rows: Array, axis: int, eps: float) -> tuple[Array, Array, Array, Array]:
    """x̂, μ, σ² and 1 / sqrt(σ² + eps) along an axis of a matrix, which keep it with length 1."""
    if itemsize(xp, rows.dtype) < 4:
        rows = xp.astype(rows, xp.float32)
    mean = xp.mean(rows, axis=axis, keepdims=True)
    centred = rows - mean
    var = xp.mean(centred * centred, axis=axis, keepdims=True)
    inverse = 1 / xp.sqrt(var + eps)
    return centred * inverse, mean, var, inverse


def _affine(xp: Namespace, rows: Array, weight: Array | None, bias: Array | None, dtype: DType) -> Array:
    if weight is not None:
        rows = rows * _cast(xp, weight, rows.dtype)
    if bias is not None:
        rows = rows + _cast(xp, bias, rows.dtype)
    return _cast(xp, rows, dtype)


def _flat(xp: Namespace, array: Array | None) -> Array | None:
    return array if array is None or len(array.shape) == 1 else xp.reshape(array, (-1,))


def _like(xp: Namespace, g: Array, rows: Array) -> Array:
    """The gradient of y as the matrix that ``rows`` is."""
    return _cast(xp, g if g.shape == rows.shape else xp.reshape(g, rows.shape), rows.dtype)


def _cast(xp: Namespace, x: Array, dtype: DType) -> Array:
    return x if x.dtype == dtype else xp.astype(x, dtype)


batch_norm = op(batch_norm_forward, saves=True, x=batch_norm_x, weight=batch_norm_weight, bias=batch_norm_bias)
layer_norm = op(layer_norm_forward, saves=True, x=layer_norm_x, weight=layer_norm_weight, bias=layer_norm_bias)
