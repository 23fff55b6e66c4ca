"""Pooling over images, channels last: the largest or the mean of each window, in each channel."""

from __future__ import annotations

from math import prod
from typing import Any

from nnx._errors import ArgumentError
from nnx._precision import in_dtype, wide
from nnx._typing import Array, Namespace
from nnx.backend import native_device
from nnx.ops._op import op
from nnx.ops._window import Axes, Tap, Windows, pad, per_axis, read, require_images, spread, text, windows


def max_pool2d_forward(xp: Namespace, x: Array, *, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Array:
    """The largest element of each window, in each channel.

    Of equal ones the first, in row-major order, gets the gradient, as in PyTorch: so one element gets
    all of it. Where a window holds NaN, y is NaN, and the gradient goes to one of its elements.

    Args:
        x: shape (batch, height, width, channels), floating-point.
        kernel_size: a number, or a tuple of one for height and one for width.
        stride: likewise; ``None`` for that of the kernel, so that windows do not overlap.
        padding: as in :func:`conv2d`, by -∞, and less than the kernel: each window holds an element of x.

    Returns:
        Shape (batch, height', width', channels), as in :func:`conv2d`.

    Raises:
        ShapeError: x has another number of axes, or the kernel is larger than the padded image.
        ArgumentError: a number makes no sense.
    """
    w = pool_windows("max_pool2d()", x.shape, kernel_size, stride, padding)
    padded = pad(xp, x, w.before, w.after, -float("inf"))
    first, *others = w.taps()
    y = read(padded, w, first)
    for tap in others:
        y = xp.maximum(y, read(padded, w, tap))
    return y if others else xp.asarray(y, copy=True)


def max_pool2d_x(
    xp: Namespace, g: Array, x: Array, y: Array, kernel_size: Any, stride: Any = None, padding: Any = 0
) -> Array:
    """G at the first element of each window that is y, else 0."""
    w = pool_windows("max_pool2d()", x.shape, kernel_size, stride, padding)
    padded, last = pad(xp, x, w.before, w.after, -float("inf")), w.taps()[-1]
    free = xp.ones_like(y, dtype=xp.bool)

    of_windows = wide(xp, g)  # those that overlap are added

    def part(tap: Tap) -> Array:
        nonlocal free
        hit = free if tap == last else xp.logical_and(free, read(padded, w, tap) == y)
        free = xp.logical_and(free, xp.logical_not(hit))
        return xp.where(hit, of_windows, 0.0)

    return in_dtype(xp, spread(xp, w, part), g.dtype)


def avg_pool2d_forward(
    xp: Namespace,
    x: Array,
    *,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window, in each channel.

    Args:
        x: shape (batch, height, width, channels), floating-point.
        kernel_size: a number, or a tuple of one for height and one for width.
        stride: likewise; ``None`` for that of the kernel, so that windows do not overlap.
        padding: as in :func:`conv2d`, and less than the kernel.
        count_include_pad: whether the zeros of the padding count as elements, as in PyTorch; if not, the
            mean is over the elements of x alone, as in Keras.

    Returns:
        Shape (batch, height', width', channels), as in :func:`conv2d`.

    Raises:
        ShapeError: x has another number of axes, or the kernel is larger than the padded image.
        ArgumentError: a number makes no sense.
    """
    w = pool_windows("avg_pool2d()", x.shape, kernel_size, stride, padding)
    padded = pad(xp, wide(xp, x), w.before, w.after)
    first, *others = w.taps()
    total = read(padded, w, first)
    for tap in others:
        total = total + read(padded, w, tap)
    return in_dtype(xp, total * _share(xp, total, w, count_include_pad), x.dtype)


def avg_pool2d_x(
    xp: Namespace,
    g: Array,
    x_shape: Axes,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    count_include_pad: bool = True,
) -> Array:
    """G / count at each element of the window."""
    w = pool_windows("avg_pool2d()", x_shape, kernel_size, stride, padding)
    shared = wide(xp, g)
    shared = shared * _share(xp, shared, w, count_include_pad)
    return in_dtype(xp, spread(xp, w, lambda tap: shared), g.dtype)


def pool_windows(name: str, shape: Axes, kernel_size: Any, stride: Any, padding: Any) -> Windows:
    """Where the windows lie in images of this shape.

    Raises:
        ShapeError, ArgumentError: as :func:`max_pool2d` says.
    """
    require_images(name, shape)
    w = windows(shape[1:3], kernel_size, kernel_size if stride is None else stride, padding)
    _require_inside(name, w)
    return w


def require_pool(name: str, kernel_size: Any, stride: Any, padding: Any) -> None:
    """Raise ``ArgumentError`` for numbers that do not fit any images."""
    reach = per_axis("kernel_size", kernel_size, 2)
    _require_inside(name, windows(reach, kernel_size, kernel_size if stride is None else stride, padding))


def _require_inside(name: str, w: Windows) -> None:
    if any(p >= k for pads in (w.before, w.after) for p, k in zip(pads, w.kernel, strict=True)):
        raise ArgumentError(
            f"{name} would have windows that lie in the padding altogether: it must be less than the kernel on each "
            f"side, got a kernel of {text(w.kernel)} and padding of {text(w.before)} before and {text(w.after)} after"
        )


def _share(xp: Namespace, like: Array, w: Windows, count_include_pad: bool) -> Any:
    """One over the number of elements of each window: a number, or an array of shape (height', width', 1)."""
    if count_include_pad or not any(w.before + w.after):
        return 1 / prod(w.kernel)
    counts = [
        [min(q * s - b + k, n) - max(q * s - b, 0) for q in range(out)]
        for out, s, b, k, n in zip(w.out, w.stride, w.before, w.kernel, w.size, strict=True)
    ]
    shares = [[[1 / (rows * columns)] for columns in counts[1]] for rows in counts[0]]
    return xp.asarray(shares, dtype=like.dtype, device=native_device(like))


max_pool2d = op(max_pool2d_forward, x=max_pool2d_x)
avg_pool2d = op(avg_pool2d_forward, x=avg_pool2d_x)
