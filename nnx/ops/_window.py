"""Windows that slide over the axes between batch and channels: where they lie, and how they are read.

Along an axis of length n, padded to n + before + after, window q reads the elements q·stride + i·dilation
for i in 0 … kernel-1. A *tap* is one i for each axis; what all windows read at one tap is a strided slice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import product
from math import prod
from numbers import Integral
from typing import Any, NamedTuple

from nnx._arguments import count
from nnx._errors import ArgumentError, ShapeError
from nnx._typing import Array, Namespace
from nnx.backend import native_device

Axes = tuple[int, ...]
Tap = tuple[int, ...]
Padding = str | int | tuple[int, ...] | tuple[tuple[int, int], ...]


class Windows(NamedTuple):
    """The windows of an array of shape (batch, *size, channels); a number for each of the axes between.

    Attributes:
        size: the lengths of the axes.
        kernel, stride, dilation: of the windows.
        before, after: how much padding there is on either side.
        out: how many windows there are.
    """

    size: Axes
    kernel: Axes
    stride: Axes
    dilation: Axes
    before: Axes
    after: Axes
    out: Axes

    @property
    def padded(self) -> Axes:
        """The lengths of the axes with their padding."""
        return tuple(map(sum, zip(self.before, self.size, self.after, strict=True)))

    def taps(self) -> list[Tap]:
        """All taps, in row-major order."""
        return list(product(*map(range, self.kernel)))


def windows(size: Axes, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> Windows:
    """Where windows lie on axes of these lengths.

    Args:
        size: the lengths of the axes.
        kernel, stride, dilation: a number, or one for each axis.
        padding: a number, one for each axis, or a pair (before, after) for each; ``"valid"`` for none;
            ``"same"`` for as much as makes ⌈length / stride⌉ windows, what is odd about it behind.

    Raises:
        ArgumentError: one of them is not such a number.
        ShapeError: not one window fits into the padded axes.
    """
    return _windows(tuple(size), *map(_frozen, (kernel, stride, padding, dilation)))


def _frozen(value: Any) -> Any:
    """Lists as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


@functools.lru_cache(maxsize=512, typed=True)  # 1.0 is no whole number, though it equals one
def _windows(size: Axes, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Windows:
    rank = len(size)
    kernel, stride, dilation = (
        per_axis(name, value, rank)
        for name, value in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation))
    )
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    before, after = _padding(padding, size, stride, reach)
    padded = tuple(map(sum, zip(before, size, after, strict=True)))
    if any(r > p for r, p in zip(reach, padded, strict=True)):
        raise ShapeError(
            f"a window of {text(reach)} does not fit into an image of {text(size)}"
            + (f", which is {text(padded)} with padding" if padded != size else "")
            + ": take a smaller kernel_size or dilation, or more padding"
        )
    out = tuple((p - r) // s + 1 for p, r, s in zip(padded, reach, stride, strict=True))
    return Windows(size, kernel, stride, dilation, before, after, out)


def per_axis(name: str, value: Any, rank: int) -> Axes:
    """A number at least 1, or a tuple of one for each axis, as the tuple."""
    values = value if isinstance(value, (tuple, list)) else (value,) * rank
    if len(values) != rank:
        raise ArgumentError(f"{name} is a number or a tuple of {rank}, got {value!r}")
    return tuple(count(name, v) for v in values)


def require_windows(rank: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any = 1) -> None:
    """Raise ``ArgumentError`` for numbers that make no windows in any array."""
    for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
        per_axis(name, value, rank)
    _padding(_frozen(padding), *((1,) * rank,) * 3)


def _padding(padding: Any, size: Axes, stride: Axes, reach: Axes) -> tuple[Axes, Axes]:
    """The padding before and after each axis."""
    rank = len(size)
    if padding == "valid":
        return (0,) * rank, (0,) * rank
    if padding == "same":
        total = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(size, stride, reach, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    axes = padding if isinstance(padding, tuple) else (padding,) * rank
    pairs = [pair if isinstance(pair, tuple) else (pair, pair) for pair in axes]
    if len(pairs) != rank or not all(len(pair) == 2 and all(_at_least_0(n) for n in pair) for pair in pairs):
        raise ArgumentError(
            f"padding is 'same', 'valid', a number of at least 0, a tuple of {rank}, or a tuple of {rank} pairs "
            f"(before, after), got {padding!r}"
        )
    return tuple(int(pair[0]) for pair in pairs), tuple(int(pair[1]) for pair in pairs)


def _at_least_0(n: Any) -> bool:
    return isinstance(n, Integral) and not isinstance(n, bool) and int(n) >= 0


def text(lengths: Axes) -> str:
    """Lengths of axes for people: 3 × 5."""
    return " × ".join(map(str, lengths))


def require_images(name: str, shape: Axes) -> None:
    """Raise ``ShapeError`` unless this is the shape of a batch of images."""
    if len(shape) != 4:
        raise ShapeError(
            f"{name} expected images of shape (batch, height, width, channels), got shape {tuple(shape)}"
            + (": add the axis that is missing with xp.expand_dims(x, axis=...)" if len(shape) == 3 else "")
        )


def pad(xp: Namespace, x: Array, before: Axes, after: Axes, value: float = 0.0) -> Array:
    """``x`` of shape (batch, *axes, channels) with ``value`` around its axes."""
    for axis, (left, right) in enumerate(zip(before, after, strict=True), start=1):
        if left or right:
            parts = [_full(xp, x, axis, left, value), x, _full(xp, x, axis, right, value)]
            x = xp.concat([part for part in parts if part.shape[axis]], axis=axis)
    return x


def _full(xp: Namespace, x: Array, axis: int, length: int, value: float) -> Array:
    shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
    return xp.full(shape, value, dtype=x.dtype, device=native_device(x))


def read(padded: Array, w: Windows, tap: Tap) -> Array:
    """What the windows read at a tap: shape (batch, *out, channels)."""
    spans = zip(tap, w.dilation, w.out, w.stride, strict=True)
    return padded[(slice(None), *(slice(i * d, i * d + (n - 1) * s + 1, s) for i, d, n, s in spans), slice(None))]


def spread(xp: Namespace, w: Windows, part: Callable[[Tap], Array]) -> Array:
    """The adjoint of reading: the sum of ``part(tap)`` put back where ``read`` found it, without the padding.

    The elements of an axis fall into phases, by their number modulo the stride. Within a phase a part
    lies without gaps, so that it is padded and added; the phases are then interleaved.
    """
    lengths = tuple(-(-p // s) for p, s in zip(w.padded, w.stride, strict=True))
    sums: dict[Tap, Array] = {}
    for tap in w.taps():
        starts = [divmod(i * d, s) for i, d, s in zip(tap, w.dilation, w.stride, strict=True)]
        before = tuple(start for start, _ in starts)
        after = tuple(n - b - out for n, b, out in zip(lengths, before, w.out, strict=True))
        phase, placed = tuple(rest for _, rest in starts), pad(xp, part(tap), before, after)
        sums[phase] = sums[phase] + placed if phase in sums else placed
    some = next(iter(sums.values()))
    zeros = xp.zeros_like(some) if len(sums) < prod(w.stride) else None
    phases = [sums.get(phase, zeros) for phase in product(*map(range, w.stride))]
    whole = some if len(phases) == 1 else _interleaved(xp, phases, w.stride)
    inner = (slice(b, b + n) for b, n in zip(w.before, w.size, strict=True))
    return whole[(slice(None), *inner, slice(None))]


def _interleaved(xp: Namespace, phases: list[Array], stride: Axes) -> Array:
    rank, (batch, *lengths, channels) = len(stride), phases[0].shape
    stacked = xp.reshape(xp.stack(phases), (*stride, batch, *lengths, channels))
    order = [rank, *(axis for i in range(rank) for axis in (rank + 1 + i, i)), 2 * rank + 1]
    whole = tuple(n * s for n, s in zip(lengths, stride, strict=True))
    return xp.reshape(xp.permute_dims(stacked, tuple(order)), (batch, *whole, channels))
