"""The dense layer."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from numbers import Integral

from nnx import init, ops
from nnx._errors import ArgumentError, ShapeError
from nnx._typing import Array
from nnx.backend import Device
from nnx.layers._input import fitting
from nnx.module import Module, Parameter
from nnx.random import Generator


class Linear(Module):
    """The affine map y = x W + b.

    Shape: (..., in_features) -> (..., out_features).

    Args:
        in_features: the length of the last axis of x.
        out_features: the length of the last axis of y.
        bias: whether there is a b.
        weight_init: makes W, shape (in_features, out_features).
        bias_init: makes b, shape (out_features,).
        dtype: the dtype of parameters, inputs and outputs.
        device: a device flag; ``None`` for the default device.
        rng: where the initial weights come from; ``None`` for the default generator.

    Raises:
        ArgumentError: there is no feature on one side.
        ShapeError, DTypeError: when it is called on an array that does not fit.
        MixedLibrariesError, DeviceError: the array is of another library, or elsewhere.
    """

    weight: Parameter  # (in_features, out_features)
    bias: Parameter | None  # (out_features,)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        weight_init: Callable[..., Array] = init.glorot_uniform,
        bias_init: Callable[..., Array] = init.zeros,
        dtype: str = "float32",
        device: str | Device | None = None,
        rng: Generator | None = None,
    ) -> None:
        if not all(isinstance(n, Integral) and n >= 1 for n in (in_features, out_features)):
            raise ArgumentError(
                "a Linear layer needs a whole number of features, at least one feature on each side, "
                f"got {in_features!r} and {out_features!r}"
            )
        self.weight = weight_init((in_features, out_features), dtype=dtype, device=device, rng=rng)
        self.bias = bias_init((out_features,), dtype=dtype, device=device, rng=rng) if bias else None

    def __call__(self, x: Array) -> Array:
        return ops.linear(*self._operands(x))

    def rectified(self, x: Array) -> Array:
        """``nnx.relu`` of what the layer answers, computed in one operation."""
        return ops.linear_relu(*self._operands(x))

    def _operands(self, x: Array) -> tuple[Array, Array, Array | None]:
        weight = self.weight
        if getattr(x, "dtype", None) is not weight.dtype:
            x = fitting(self, x, weight)
        if not x.shape or x.shape[-1] != weight.shape[0]:
            raise ShapeError(f"{self!r} expected input of shape (..., {weight.shape[0]}), got {tuple(x.shape)}")
        return x, weight, self.bias

    def operations(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        return prod(y) * (2 * x[-1] - 1 + (self.bias is not None))

    def _arguments(self) -> str:
        return ", ".join(map(str, self.weight.shape)) + ("" if self.bias is not None else ", bias=False")
