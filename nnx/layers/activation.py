"""Activations with parameters."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from nnx import init, ops
from nnx._arguments import count
from nnx._errors import ShapeError
from nnx._typing import Array
from nnx.backend import Device, namespace_of
from nnx.layers._input import fitting
from nnx.module import Module, Parameter
from nnx.random import Generator


class PReLU(Module):
    """The rectifier whose slope is learnt: y = x where x > 0, else slope · x.

    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015, equation 1. The slope is 0.25 at
    first, as there. Weight decay would draw it to relu: leave it out.

    Shape: (..., features) -> the same; any -> the same where one slope is shared.

    Args:
        features: how many slopes there are, one for each entry of the last axis; 1 for one that all share.
        slope: its initial value.
        dtype: the dtype of the slope, inputs and outputs.
        device: a device flag; ``None`` for the default device.

    Raises:
        ArgumentError: ``features`` is no whole number of 1 or more.
        ShapeError, DTypeError: when it is called on an array that does not fit.
    """

    slope: Parameter  # (features,)

    def __init__(
        self,
        features: int = 1,
        *,
        slope: float = 0.25,
        dtype: str = "float32",
        device: str | Device | None = None,
    ) -> None:
        features = count("the number of features of PReLU", features)
        self.slope = init.constant((features,), slope, dtype=dtype, device=device)

    def __call__(self, x: Array) -> Array:
        slope = self.slope
        if getattr(x, "dtype", None) is not slope.dtype:
            x = fitting(self, x, slope)
        features = slope.shape[0]
        if features == 1:
            slope = namespace_of(x, slope).reshape(slope, ())
        elif not x.shape or x.shape[-1] != features:
            raise ShapeError(f"{self!r} expected input of shape (..., {features}), got {tuple(x.shape)}")
        return ops.prelu(x, slope)

    def operations(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        return prod(y)

    def _arguments(self) -> str:
        return str(self.slope.shape[0])


class Maxout(Module):
    """The largest of several affine maps: y_j = max_k (x W_k + b_k)_j, for k = 1 … pieces.

    Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout networks", ICML 2013, equation 1. relu
    and leaky_relu are the cases of two pieces of which one is a multiple of the other. Pieces that are
    equally large share the gradient.

    Shape: (..., in_features) -> (..., out_features).

    Args:
        in_features: the length of the last axis of x.
        out_features: the length of the last axis of y.
        pieces: how many affine maps there are.
        bias: whether there is a b.
        weight_init: makes each W_k, shape (in_features, out_features).
        bias_init: makes b, shape (pieces · out_features,).
        dtype: the dtype of parameters, inputs and outputs.
        device: a device flag; ``None`` for the default device.
        rng: where the initial weights come from; ``None`` for the default generator.

    Raises:
        ArgumentError: there is no feature on one side, or no piece.
        ShapeError, DTypeError: when it is called on an array that does not fit.
        MixedLibrariesError, DeviceError: the array is of another library, or elsewhere.
    """

    weight: Parameter  # (in_features, pieces · out_features): W_1 … W_k side by side
    bias: Parameter | None  # (pieces · out_features,)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        pieces: int = 2,
        bias: bool = True,
        weight_init: Callable[..., Array] = init.glorot_uniform,
        bias_init: Callable[..., Array] = init.zeros,
        dtype: str = "float32",
        device: str | Device | None = None,
        rng: Generator | None = None,
    ) -> None:
        inputs = count("in_features of Maxout", in_features)
        outputs = count("out_features of Maxout", out_features)
        self.pieces = count("the number of pieces of Maxout", pieces)
        # one at a time, so that fan-out is that of one map
        weights = [weight_init((inputs, outputs), dtype=dtype, device=device, rng=rng) for _ in range(self.pieces)]
        self.weight = namespace_of(weights[0]).concat(weights, axis=1)
        self.bias = bias_init((self.pieces * outputs,), dtype=dtype, device=device, rng=rng) if bias else None

    def __call__(self, x: Array) -> Array:
        weight = self.weight
        if getattr(x, "dtype", None) is not weight.dtype:
            x = fitting(self, x, weight)
        inputs, outputs = weight.shape[0], weight.shape[1] // self.pieces
        if not x.shape or x.shape[-1] != inputs:
            raise ShapeError(f"{self!r} expected input of shape (..., {inputs}), got {tuple(x.shape)}")
        z = ops.linear(x, weight, self.bias)
        xp = namespace_of(z)
        return xp.max(xp.reshape(z, (*x.shape[:-1], self.pieces, outputs)), axis=-2)

    def operations(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        return prod(y) * (self.pieces * (2 * x[-1] - 1 + (self.bias is not None)) + self.pieces - 1)

    def _arguments(self) -> str:
        inputs, outputs = self.weight.shape[0], self.weight.shape[1] // self.pieces
        return f"{inputs}, {outputs}, pieces={self.pieces}" + ("" if self.bias is not None else ", bias=False")
