"""Pooling layers, over images whose last axis is the channels."""

from __future__ import annotations

from math import prod
from typing import Any

from nnx import ops
from nnx._errors import DTypeError, ShapeError
from nnx._precision import in_dtype, wide
from nnx._typing import Array
from nnx.backend import is_array, namespace_of
from nnx.module import Module
from nnx.ops._window import per_axis, require_images
from nnx.ops.pool import require_pool


class _Pool2d(Module):
    def __init__(
        self, kernel_size: int | tuple[int, int], stride: int | tuple[int, int] | None = None, padding: Any = 0
    ) -> None:
        require_pool(type(self).__name__, kernel_size, stride, padding)
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding

    def operations(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        return prod(y) * (prod(per_axis("kernel_size", self.kernel_size, 2)) - 1)

    def _arguments(self) -> str:
        stride = [f"stride={self.stride!r}"] if self.stride is not None else []
        padding = [f"padding={self.padding!r}"] if self.padding != 0 else []
        return ", ".join([repr(self.kernel_size), *stride, *padding])


class MaxPool2d(_Pool2d):
    """The largest element of each window, in each channel: see :func:`nnx.ops.max_pool2d`.

    Shape: (batch, height, width, channels) -> (batch, height', width', channels), where
    height' = ⌊(height + padding - kernel) / stride⌋ + 1.

    Args:
        kernel_size: of the window; a number, or a tuple of one for height and one for width.
        stride: the step from window to window; ``None`` for the size of the window.
        padding: -∞ around the image, as in :class:`nnx.Conv2d`; less than the kernel on each side.

    Raises:
        ArgumentError: a number makes no sense.
        ShapeError, DTypeError: when it is called on an array that does not fit.
    """

    def __call__(self, x: Array) -> Array:
        _require_array(self, x)
        return ops.max_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


class AvgPool2d(_Pool2d):
    """The mean of each window, in each channel: see :func:`nnx.ops.avg_pool2d`.

    Shape: (batch, height, width, channels) -> (batch, height', width', channels), where
    height' = ⌊(height + padding - kernel) / stride⌋ + 1.

    Args:
        kernel_size: of the window; a number, or a tuple of one for height and one for width.
        stride: the step from window to window; ``None`` for the size of the window.
        padding: zeros around the image, as in :class:`nnx.Conv2d`; less than the kernel on each side.
        count_include_pad: whether these zeros count as elements.

    Raises:
        ArgumentError: a number makes no sense.
        ShapeError, DTypeError: when it is called on an array that does not fit.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: Any = 0,
        *,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.count_include_pad = count_include_pad

    def __call__(self, x: Array) -> Array:
        _require_array(self, x)
        return ops.avg_pool2d(
            x,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            count_include_pad=self.count_include_pad,
        )

    def _arguments(self) -> str:
        return super()._arguments() + ("" if self.count_include_pad else ", count_include_pad=False")


class GlobalAvgPool2d(Module):
    """The mean of each channel over the whole image.

    Lin, Chen and Yan, "Network in network", ICLR 2014, section 3.2.

    Shape: (batch, height, width, channels) -> (batch, channels).

    Raises:
        ShapeError, DTypeError: when it is called on an array that does not fit.
    """

    def __call__(self, x: Array) -> Array:
        _require_array(self, x)
        require_images(repr(self), x.shape)
        if not prod(x.shape[1:3]):
            raise ShapeError(f"{self!r} expected images of at least one pixel, got shape {tuple(x.shape)}")
        xp = namespace_of(x)
        return in_dtype(xp, xp.mean(wide(xp, x), axis=(1, 2)), x.dtype)

    def operations(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        return prod(x)


def _require_array(layer: Module, x: Array) -> None:
    if not is_array(x):
        raise DTypeError(f"{layer!r} expected an array, got {type(x).__name__}: make one with nnx.asarray(...)")
