"""Convolution layers, over arrays whose last axis is the channels."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from nnx import init, ops
from nnx._arguments import count
from nnx._errors import ShapeError
from nnx._typing import Array
from nnx.backend import Device
from nnx.layers._input import fitting
from nnx.module import Module, Parameter
from nnx.ops._window import per_axis, require_windows
from nnx.random import Generator


class Conv2d(Module):
    """Two-dimensional convolution: each output pixel is an affine map of a window of input pixels.

        y[n, p, q, o] = b[o] + Σ_{i, j, c} x[n, p·s + i·d, q·s + j·d, c] W[i, j, c, o]

    with stride s and dilation d. LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to
    document recognition", Proceedings of the IEEE 86(11), 1998.

    Shape: (batch, height, width, in_channels) -> (batch, height', width', out_channels), where
    height' = ⌊(height + padding - dilation·(kernel - 1) - 1) / stride⌋ + 1.

    Args:
        in_channels, out_channels: the lengths of the last axes of x and y.
        kernel_size: of the window; a number, or a tuple of one for height and one for width.
        stride: the step from window to window; likewise.
        padding: zeros around the image: a number, a tuple of one for height and one for width, or a tuple
            of two pairs (before, after); ``"valid"`` for none; ``"same"`` for as many as make
            ⌈length / stride⌉ windows, the odd one behind.
        dilation: the step from element to element of a window.
        bias: whether there is a b.
        weight_init: makes W, shape (kernel height, kernel width, in_channels, out_channels).
        bias_init: makes b, shape (out_channels,).
        dtype: the dtype of parameters, inputs and outputs.
        device: a device flag; ``None`` for the default device.
        rng: where the initial weights come from; ``None`` for the default generator.

    Raises:
        ArgumentError: a number makes no sense.
        ShapeError, DTypeError: when it is called on an array that does not fit.
        MixedLibrariesError, DeviceError: the array is of another library, or elsewhere.
    """

    weight: Parameter  # (kernel height, kernel width, in_channels, out_channels)
    bias: Parameter | None  # (out_channels,)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: Any = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
        weight_init: Callable[..., Array] = init.glorot_uniform,
        bias_init: Callable[..., Array] = init.zeros,
        dtype: str = "float32",
        device: str | Device | None = None,
        rng: Generator | None = None,
    ) -> None:
        require_windows(2, kernel_size, stride, padding, dilation)
        channels = count("in_channels", in_channels), count("out_channels", out_channels)
        self.kernel_size = per_axis("kernel_size", kernel_size, 2)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.weight = weight_init((*self.kernel_size, *channels), dtype=dtype, device=device, rng=rng)
        self.bias = bias_init((out_channels,), dtype=dtype, device=device, rng=rng) if bias else None

    def __call__(self, x: Array) -> Array:
        weight = self.weight
        if getattr(x, "dtype", None) is not weight.dtype:
            x = fitting(self, x, weight)
        if len(x.shape) != 4 or x.shape[3] != weight.shape[2]:
            raise ShapeError(
                f"{self!r} expected images of shape (batch, height, width, {weight.shape[2]}), got {tuple(x.shape)}"
            )
        return ops.conv2d(x, weight, self.bias, stride=self.stride, padding=self.padding, dilation=self.dilation)

    def operations(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        return prod(y) * int(2 * prod(self.weight.shape[:3]) - 1 + (self.bias is not None))

    def _arguments(self) -> str:
        height, width, *channels = self.weight.shape
        parts = [*map(str, channels), str(height if height == width else (height, width))]
        options = {"stride": (self.stride, 1), "padding": (self.padding, 0), "dilation": (self.dilation, 1)}
        parts += [f"{name}={value!r}" for name, (value, default) in options.items() if value != default]
        return ", ".join(parts + ([] if self.bias is not None else ["bias=False"]))
