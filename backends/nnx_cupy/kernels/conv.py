"""Convolution as matrix products of what the windows read (im2col).

Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006. The matrix
is made in tiles, so that it takes little memory beside the images. Sums are made in an order that shapes alone decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

from nnx._typing import Array, Kernel
from nnx.ops import conv as reference
from nnx.ops._window import Windows
from nnx.ops.conv import conv_windows
from nnx_cupy.blas import product
from nnx_cupy.kernels import linear
from nnx_cupy.kernels._arrays import alike, numbers, rows_of, summed_in, vector, whole
from nnx_cupy.kernels._map import over
from nnx_cupy.kernels._source import THREADS, WIDE, Source, blocks_for

SOURCE = Source("conv", "vectors", "windows")

TILE = 64 << 20
"""Bytes of a tile of the matrix, unless it has one row: enough to keep a GPU busy with a product, and about what its
cache holds from the copy to the product."""

ROWS = 8
"""Elements of the matrix that a thread copies, so that its divisions do not cost more than the copies."""


def conv2d_forward(
    xp: Any,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    """A copy and a product for each tile, straight into y, and one launch that adds the bias."""
    w = conv_windows(x.shape, weight.shape, stride, padding, dilation)
    outputs = weight.shape[3]
    arrays = (x, weight) if bias is None else (x, weight, bias)
    if not alike(*arrays) or not x.size or not weight.size or (bias is not None and bias.shape != (outputs,)):
        return reference.conv2d_forward(xp, x, weight, bias, stride=stride, padding=padding, dilation=dilation)
    y = xp.empty((x.shape[0], *w.out, outputs), dtype=x.dtype)
    rows, matrix = rows_of(y), whole(xp, weight).reshape(-1, outputs)
    for first, tile in _tiles(xp, x, w):
        product(tile, matrix, _some(rows, first, tile.shape[0]))
    if bias is not None:
        over(linear.SOURCE, "add_bias", y.dtype, y.size, (y, whole(xp, bias), y.size, outputs, False))
    return y


def conv2d_x(
    xp: Any,
    g: Array,
    weight: Array,
    x_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    """A product for each tile, and a launch in which each element of x collects what the windows send back to it."""
    w = conv_windows(x_shape, weight.shape, stride, padding, dilation)
    outputs = weight.shape[3]
    if not alike(g, weight) or not prod(x_shape) or not weight.size or g.shape != (x_shape[0], *w.out, outputs):
        return reference.conv2d_x(xp, g, weight, x_shape, stride, padding, dilation)
    g, matrix, rows = whole(xp, g), whole(xp, weight).reshape(-1, outputs).T, prod(g.shape[:3])
    if _apart(w):
        return product(rows_of(g), matrix).reshape(x_shape)
    gradient = xp.empty(x_shape, dtype=g.dtype)
    parts = _parts(w, x_shape[0], matrix.shape[1] * g.dtype.itemsize)
    tile = xp.empty((max(1, *(part.rows for part in parts)), matrix.shape[1]), dtype=g.dtype)
    size = vector(x_shape[3], gradient, tile)
    wide = max(gradient.size, tile.size) >= WIDE
    kernel = SOURCE("col2im", g.dtype, wide, VECTOR=size)
    for part in parts:
        if part.rows:
            read = g if part.rows == rows else g[part.images, part.windows]
            product(rows_of(read), matrix, _some(tile, 0, part.rows))
        into = gradient if len(parts) == 1 else gradient[part.images, part.lines]
        count, given = into.size // size, numbers(part.within(w), x_shape[3] // size)
        kernel((blocks_for(count),), (THREADS,), (tile, into, count, *given))
    return gradient


def conv2d_weight(
    xp: Any,
    g: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    """A copy and a product for each tile, which is added to that of the tiles before, in float32 for low types."""
    w = conv_windows(x.shape, weight_shape, stride, padding, dilation)
    outputs = weight_shape[3]
    if not alike(g, x) or not x.size or not prod(weight_shape) or g.shape != (x.shape[0], *w.out, outputs):
        return reference.conv2d_weight(xp, g, x, weight_shape, stride, padding, dilation)
    rows, columns, itemsize = rows_of(whole(xp, g)), prod(weight_shape[:3]), g.dtype.itemsize
    one = _apart(w) or rows.shape[0] <= _most(columns * itemsize)
    dtype = g.dtype if one else summed_in(xp, g.dtype)
    total = xp.empty((columns, outputs), dtype=dtype)
    for first, tile in _tiles(xp, x, w):
        product(tile.T, _some(rows, first, tile.shape[0]), total, accumulate=first > 0)
    return total.astype(g.dtype, copy=False).reshape(weight_shape)


def _some(rows: Array, first: int, count: int) -> Array:
    """So many rows; the array itself where these are all, as slicing costs more than to look."""
    return rows if count == rows.shape[0] else rows[first : first + count]


def _apart(w: Windows) -> bool:
    """Whether the windows lie side by side and cover the images, which then are the matrix."""
    if any(w.before + w.after):
        return False
    return w.kernel == w.stride == (1, 1) or (w.kernel == w.size and w.dilation == (1, 1))


def _most(line: int) -> int:
    """How many rows of so many bytes a tile may have."""
    return max(1, TILE // line)


def _tiles(xp: Any, x: Array, w: Windows) -> Iterator[tuple[int, Array]]:
    """What the windows read, a window a row: the number of the first, and some rows. They share their memory."""
    x = whole(xp, x)
    rows, columns = x.shape[0] * prod(w.out), prod(w.kernel) * x.shape[3]
    if _apart(w):
        yield 0, x.reshape(rows, columns)
        return
    count = _even(rows, _most(columns * x.dtype.itemsize))
    matrix = xp.empty((count, columns), dtype=x.dtype)
    size = vector(x.shape[3], x, matrix)
    kernel = SOURCE("im2col", x.dtype, max(x.size, matrix.size, rows) >= WIDE, VECTOR=size)
    across, given = columns // size, numbers(w, x.shape[3] // size)
    for first in range(0, rows, count):
        tile = _some(matrix, 0, min(count, rows - first))
        blocks = max(blocks_for(tile.shape[0] * across // ROWS), -(-across // THREADS))  # a thread a column, at least
        kernel((blocks,), (THREADS,), (x, tile, first, tile.shape[0], *given))
        yield first, tile


def _even(count: int, most: int) -> int:
    """The size of parts of ``count``, none larger than ``most``: as few as there can be, of about one size."""
    return -(-count // -(-count // most))


class Part(NamedTuple):
    """Some lines of some images, and the windows that read them.

    Attributes:
        images, lines: of x.
        windows: the lines of windows, in each of these images.
        place: that of the first line, counted from what the first of these windows reads first.
        rows: windows altogether.
    """

    images: slice
    lines: slice
    windows: slice
    place: int
    rows: int

    def within(self, w: Windows) -> Windows:
        """The windows of an image, as if it had these lines alone."""
        lines, windows = self.lines.stop - self.lines.start, self.windows.stop - self.windows.start
        return w._replace(size=(lines, w.size[1]), before=(self.place, w.before[1]), out=(windows, w.out[1]))


def _parts(w: Windows, batch: int, line: int) -> list[Part]:
    """Whole images where a tile has room for one, else lines of one; a window has so many bytes of the tile."""
    most, (height, _), (out, width) = _most(line), w.size, w.out
    (stride, _), (before, _), reach = w.stride, w.before, (w.kernel[0] - 1) * w.dilation[0]
    images = _even(batch, most // (out * width)) if most >= out * width else 1
    lines = height
    if most < out * width:  # so many lines that no more windows read them than a tile has room for
        lines = _even(height, max(1, (most // width - 1) * stride - reach + 1))
    parts = []
    for a in range(0, batch, images):
        b = min(a + images, batch)
        for h in range(0, height, lines):
            stop = min(h + lines, height)
            first = max(0, -(-(h + before - reach) // stride))
            end = max(first, min(out, (stop - 1 + before) // stride + 1))
            rows = (b - a) * (end - first) * width
            place = h + before - first * stride
            parts.append(Part(slice(a, b), slice(h, stop), slice(first, end), place, rows))
    return parts


KERNELS: dict[str, Kernel] = {
    "conv2d_forward": conv2d_forward,
    "conv2d_weight": conv2d_weight,
    "conv2d_x": conv2d_x,
}
