"""Layers that bring their input to mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from nnx import init, ops
from nnx._arguments import count, non_negative, positive
from nnx._errors import ArgumentError, DTypeError, ShapeError
from nnx._precision import fits, in_dtype, wide
from nnx._typing import Array
from nnx.backend import (
    HOST,
    Device,
    activating,
    dtype_kind,
    is_array,
    load_backend,
    load_namespace,
    named_dtype,
    namespace_of,
)
from nnx.module import Buffer, Module, Parameter


class BatchNorm(Module):
    """Batch normalisation: y = (x - μ) / sqrt(σ² + eps) · weight + bias, channel by channel.

    Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", ICML 2015. The channels are the last axis; μ and σ² are over all the others,
    however many there are. In training they are those of the batch, and move the running ones:

        running ← (1 - momentum) · running + momentum · batch

    where the batch's variance enters as the unbiased n / (n - 1) σ², as in torch. When the model
    predicts, μ and σ² are the running ones, so that each example is computed for itself and a batch
    may be of any size.

    Shape: (..., features) -> the same.

    Args:
        features: the number of channels.
        momentum: the weight of a batch in the running statistics, in [0, 1]; 0 keeps them as they are.
        eps: added to the variance, greater than 0.
        affine: whether there are a weight, 1 at first, and a bias, 0 at first.
        dtype: the dtype of parameters, statistics, inputs and outputs.
        device: a device flag; ``None`` for the default device.

    Raises:
        ArgumentError: an argument is outside those values.
        ShapeError, DTypeError: when it is called on an array that does not fit; in training also on one
            with no more than one value for each channel, such as an empty batch.
    """

    weight: Parameter | None  # (features,)
    bias: Parameter | None  # (features,)
    running_mean: Buffer  # (features,)
    running_var: Buffer  # (features,)

    def __init__(
        self,
        features: int,
        *,
        momentum: float = 0.1,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: str = "float32",
        device: str | Device | None = None,
    ) -> None:
        _require_floats(dtype)
        self.features = count("features", features)
        self.momentum = non_negative("momentum", momentum)
        if self.momentum > 1:
            raise ArgumentError(f"momentum must lie in [0, 1], got {momentum!r}")
        self.eps = positive("eps", eps)
        self.weight = init.ones((self.features,), dtype=dtype, device=device) if affine else None
        self.bias = init.zeros((self.features,), dtype=dtype, device=device) if affine else None
        self.running_mean = init.zeros((self.features,), dtype=dtype, device=device)
        self.running_var = init.ones((self.features,), dtype=dtype, device=device)

    @activating
    def __call__(self, x: Array) -> Array:
        _check_input(self, x, self.running_mean, (self.features,))
        if not self.training:
            xp = namespace_of(x, self.running_mean, self.weight, self.bias)
            scale = 1 / xp.sqrt(self.running_var + self.eps)
            if self.weight is not None:
                scale = scale * in_dtype(xp, self.weight, scale.dtype)
            y = (wide(xp, x) - self.running_mean) * scale
            return in_dtype(xp, y if self.bias is None else y + in_dtype(xp, self.bias, y.dtype), x.dtype)
        y, mean, var = ops.batch_norm(x, self.weight, self.bias, eps=self.eps)
        n, momentum = prod(x.shape[:-1]), self.momentum
        self.running_mean = mean * momentum + self.running_mean * (1 - momentum)
        self.running_var = var * (momentum * n / (n - 1)) + self.running_var * (1 - momentum)
        return y

    def operations(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        return 2 * prod(y) if self.weight is None else 3 * prod(y)

    def _arguments(self) -> str:
        return f"{self.features}" + ("" if self.weight is not None else ", affine=False")


class LayerNorm(Module):
    """Layer normalisation: y = (x - μ) / sqrt(σ² + eps) · weight + bias, example by example.

    Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450, 2016. μ and σ² are over the last axes,
    those of ``features``; they are the same in training and in prediction.

    Shape: (..., *features) -> the same.

    Args:
        features: the length of the last axis, or the lengths of the last axes.
        eps: added to the variance, greater than 0.
        affine: whether there are a weight, 1 at first, and a bias, 0 at first, of the shape ``features``.
        dtype: the dtype of the parameters, and then of inputs and outputs.
        device: where the parameters are; ``None`` for the default device.

    Raises:
        ArgumentError: an argument is outside those values.
        ShapeError, DTypeError: when it is called on an array that does not fit.
    """

    weight: Parameter | None  # features
    bias: Parameter | None  # features

    def __init__(
        self,
        features: int | tuple[int, ...],
        *,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: str = "float32",
        device: str | Device | None = None,
    ) -> None:
        lengths = tuple(features) if isinstance(features, Iterable) else (features,)
        if not lengths:
            raise ArgumentError("features are the lengths of one axis or more, got ()")
        _require_floats(dtype)
        self.features = tuple(count("features", length) for length in lengths)
        self.eps = positive("eps", eps)
        self.weight = init.ones(self.features, dtype=dtype, device=device) if affine else None
        self.bias = init.zeros(self.features, dtype=dtype, device=device) if affine else None

    def __call__(self, x: Array) -> Array:
        _check_input(self, x, self.weight, self.features)
        return ops.layer_norm(x, self.weight, self.bias, axes=len(self.features), eps=self.eps)

    def operations(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        return 6 * prod(y) if self.weight is None else 8 * prod(y)  # two means, a difference, a square, a product

    def _arguments(self) -> str:
        features = self.features[0] if len(self.features) == 1 else self.features
        return f"{features}" + ("" if self.weight is not None else ", affine=False")


def _require_floats(dtype: str) -> None:
    xp = load_namespace(load_backend(HOST))
    if dtype_kind(xp, named_dtype(xp, dtype)) != "real floating":
        raise DTypeError(f"a normalisation layer needs a floating-point dtype, such as 'float32', got {dtype!r}")


def _check_input(layer: Module, x: Any, like: Array | None, features: tuple[int, ...]) -> None:
    """Raise if ``x`` is no array of the dtype of ``like`` whose last axes have the lengths ``features``."""
    dtype = getattr(x, "dtype", None)
    if dtype is None or (like is not None and dtype is not like.dtype):
        if not is_array(x):
            raise DTypeError(f"{layer!r} expected an array, got {type(x).__name__}: make one with nnx.asarray(...)")
        namespace_of(x, like)  # arrays of two libraries are the better explanation, and have no common dtypes
        if dtype != like.dtype and not fits(namespace_of(x, like), dtype, like.dtype):  # type: ignore[union-attr]
            raise DTypeError(
                f"{layer!r} has {like.dtype} arrays and expected input of that dtype, got {dtype}: "  # type: ignore[union-attr]
                "cast the input, or the model with model.to(dtype=...)"
            )
    if x.shape[-len(features) :] != features:
        lengths = ", ".join(map(str, features))
        raise ShapeError(f"{layer!r} expected input of shape (..., {lengths}), got {tuple(x.shape)}")
