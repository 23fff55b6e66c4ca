"""The loops of convolution: sums of products that stay in vector registers, read straight from the images.

There is no matrix of what the windows read. A *tile* is a few rows of one or two vectors of the result: pixels by
channels, or taps by channels. Each number of one factor is multiplied with a vector of the other (Georganas et al.,
"Anatomy of high-performance deep learning convolutions on SIMD architectures", 2018):

========  =================  ==================  =========================  =====================
result    rows               vectors             sum over                   vectors read from
========  =================  ==================  =========================  =====================
forward   pixels of a line   outputs             taps and input channels    the weight, packed
by x      pixels of a line   input channels      taps of a column, outputs  the weight, packed
by few x  windows of a line  a line of taps      lines of taps, outputs     the weight, packed
by W      taps and inputs    outputs             windows of some lines      G, packed
========  =================  ==================  =========================  =====================
"""

from __future__ import annotations

import numpy as np

from nnx._typing import Array
from nnx_numpy.compiled._loop import loop
from nnx_numpy.compiled._packing import copy_padded, pack, unpack
from nnx_numpy.compiled._simd import WIDTH
from nnx_numpy.compiled._tiles import ROWS, VECTORS, tile, writable


@loop
def forward_lines(
    x: Array,
    panels: Array,
    bias: Array,
    y: Array,
    segments: Array,
    run: int,
    geometry: tuple[int, ...],
    start: int,
    stop: int,
) -> None:
    """Lines ``start`` to ``stop`` of y, counted through the batch; ``band`` of them share a copy with padding, if any.

    ``segments``: where ``run`` numbers lie side by side that a window reads, and the rows of the weight for them.
    """
    top, left, down, right, reach, wide, band = geometry
    height, width, channels = x.shape[1:]
    lines, columns, outputs = y.shape[1:]
    vectors, rows, lane = panels.shape
    step = vectors * lane
    padded = top > 0 or wide > width or reach + (lines - 1) * down > height
    source, flat = writable(x).reshape(-1), panels.reshape(-1)
    scratch = np.empty((reach + (band - 1) * down if padded else 0, wide, channels), x.dtype)
    if padded:
        source = scratch.reshape(-1)
    direct = step == outputs
    whole = y.reshape(-1)
    c = whole if direct else np.empty(band * columns * step, x.dtype)
    blocks = (columns + ROWS - 1) // ROWS
    line = start
    while line < stop:
        n, p = line // lines, line % lines
        count = min(band, stop - line, lines - p)
        if padded:
            copy_padded(x, n, p * down - top, left, scratch[: reach + (count - 1) * down])
        origin = 0 if padded else (n * height + p * down) * width * channels
        c_at = line * columns * step if direct else 0
        for v in range(0, vectors, VECTORS):
            some = min(VECTORS, vectors - v)
            for q in range(count):
                first = 0
                for m in range(blocks):
                    size = (columns - first + blocks - m - 1) // (blocks - m)
                    tile(
                        size, some,
                        c, c_at + (q * columns + first) * step + v * lane, step,
                        bias, v * lane, 0,
                        source, origin + (q * down * wide + first * right) * channels, right * channels, 1,
                        flat, v * rows * lane, lane, rows * lane,
                        segments, segments.shape[1], run,
                    )  # fmt: skip
                    first += size
        if not direct:
            unpack(
                c.reshape(-1, step),
                whole[line * columns * outputs : (line + count) * columns * outputs].reshape(-1, outputs),
            )
        line += count


@loop
def lines_that_read(line: int, height: int, top: int, down: int, step: int, lines: int, segments: Array) -> int:
    """How many lines of G read this line of x: ``segments[0]`` has which, ``segments[1]`` by which line of taps."""
    n, h = line // height, line % height
    count = 0
    for i in range(segments.shape[1]):
        place = h + top - i * step
        if place >= 0 and place % down == 0 and place // down < lines:
            segments[0, count] = n * lines + place // down
            segments[1, count] = i
            count += 1
    return count


@loop
def x_lines(g: Array, panels: Array, gradient: Array, geometry: tuple[int, ...], start: int, stop: int) -> None:
    """Lines ``start`` to ``stop`` of the gradient by x, one column of taps after the other."""
    top, left, down, right, dilation_down, dilation_right, taps_down, taps_right = geometry
    height, width, channels = gradient.shape[1:]
    lines, columns, outputs = g.shape[1:]
    vectors, rows, lane = panels.shape
    step = vectors * lane
    source, flat = g.reshape(-1), panels.reshape(-1)
    direct = step == channels
    whole = gradient.reshape(-1)
    c = whole if direct else np.empty(width * step, g.dtype)
    segments = np.empty((2, taps_down), np.int64)
    for line in range(start, stop):
        count = lines_that_read(line, height, top, down, dilation_down, lines, segments)
        for i in range(count):
            segments[0, i] *= columns * outputs
            segments[1, i] *= outputs * lane
        origin = line * width * step if direct else 0
        c[origin : origin + width * step] = 0
        for v in range(0, vectors, VECTORS):
            some = min(VECTORS, vectors - v)
            for j in range(taps_right):
                shift = j * dilation_right - left
                first = (right - 1 - shift) // right if shift < 0 else 0
                last = min(columns, (width - 1 - shift) // right + 1) if shift < width else 0
                blocks = (last - first + ROWS - 1) // ROWS
                for m in range(blocks):
                    size = (last - first + blocks - m - 1) // (blocks - m)
                    at = origin + (first * right + shift) * step + v * lane
                    tile(
                        size, some,
                        c, at, right * step,
                        c, at, right * step,
                        source, first * outputs, outputs, 1,
                        flat, (v * rows + j * taps_down * outputs) * lane, lane, rows * lane,
                        segments, count, outputs,
                    )  # fmt: skip
                    first += size
        if not direct:
            unpack(
                c.reshape(-1, step),
                whole[line * width * channels : (line + 1) * width * channels].reshape(-1, channels),
            )


@loop
def x_runs(
    g: Array, panels: Array, zeros: Array, gradient: Array, run: int, geometry: tuple[int, ...], start: int, stop: int
) -> None:
    """The gradient by lines of x of few channels: what a line of taps gives ``run`` numbers side by side, at once."""
    top, left, down, right, step_down, _, taps_down, wide = geometry
    height, width, channels = gradient.shape[1:]
    lines, columns, outputs = g.shape[1:]
    vectors, rows, lane = panels.shape
    step = vectors * lane
    source, flat = g.reshape(-1), panels.reshape(-1)
    c = np.empty(columns * step, g.dtype)
    padded, whole = np.empty(wide * channels, g.dtype), gradient.reshape(-1)
    inner = padded[left * channels : (left + width) * channels]
    segments = np.empty((2, taps_down), np.int64)
    blocks = (columns + ROWS - 1) // ROWS
    for line in range(start, stop):
        count = lines_that_read(line, height, top, down, step_down, lines, segments)
        for i in range(count):
            segments[0, i] *= columns * outputs
            segments[1, i] *= outputs * lane
        for v in range(0, vectors, VECTORS):
            some, first = min(VECTORS, vectors - v), 0
            for m in range(blocks):
                size = (columns - first + blocks - m - 1) // (blocks - m)
                tile(
                    size, some,
                    c, first * step + v * lane, step,
                    zeros, 0, 0,
                    source, first * outputs, outputs, 1,
                    flat, v * rows * lane, lane, rows * lane,
                    segments, count, outputs,
                )  # fmt: skip
                first += size
        padded[:] = 0
        for q in range(columns):
            at = q * right * channels
            into, part = padded[at : at + run], c[q * step : q * step + run]
            for k in range(part.size):
                into[k] += part[k]
        to = whole[line * width * channels : (line + 1) * width * channels]
        for k in range(to.size):
            to[k] = inner[k]


@loop
def weight_parts(
    x: Array,
    g: Array,
    totals: Array,
    runs: Array,
    run: int,
    geometry: tuple[int, ...],
    start: int,
    stop: int,
) -> None:
    """Sums over parts of the lines, ``totals[part]`` of shape (taps and inputs, vectors), for some vectors each.

    ``runs``: where ``run`` numbers lie side by side that the taps of a window read.
    """
    top, left, down, right, reach, wide, band = geometry
    height, width, channels = x.shape[1:]
    lines, columns, outputs = g.shape[1:]
    parts, step = totals.shape[0], totals.shape[2]
    lane = WIDTH // x.itemsize
    pitch, each = wide * channels, (x.shape[0] * lines + parts - 1) // parts
    padded = top > 0 or wide > width or reach + (lines - 1) * down > height
    source: Array = writable(x).reshape(-1)
    scratch = np.empty((band * down + (band // lines + 2) * reach if padded else 0, wide, channels), x.dtype)
    if padded:
        source = scratch.reshape(-1)
    panels = np.empty((VECTORS, band * columns, lane), x.dtype)
    matrix, flat, c = g.reshape(-1, outputs), panels.reshape(-1), totals.reshape(-1)
    segments = np.empty((2, band), np.int64)
    blocks = (run + ROWS - 1) // ROWS
    for unit in range(start, stop):
        v, part = unit // parts * VECTORS, unit % parts
        some = min(VECTORS, step // lane - v)
        line, end = part * each, min((part + 1) * each, x.shape[0] * lines)
        while line < end:
            count = min(band, end - line)
            used = 0
            for q in range(count):
                n, p = (line + q) // lines, (line + q) % lines
                segments[0, q] = (n * height + p * down) * pitch
                segments[1, q] = q * columns * lane
                if padded:
                    if q == 0 or p == 0:
                        more = reach + (min(count - q, lines - p) - 1) * down
                        copy_padded(x, n, p * down - top, left, scratch[used : used + more])
                        used += more
                        begin = used - more - p * down
                    segments[0, q] = (begin + p * down) * pitch
            pack(matrix[line * columns : (line + count) * columns], v * lane, panels[:some])
            for r in range(runs.size):
                first = 0
                for m in range(blocks):
                    size = (run - first + blocks - m - 1) // (blocks - m)
                    at = (part * totals.shape[1] + r * run + first) * step + v * lane
                    tile(
                        size, some,
                        c, at, step,
                        c, at, step,
                        source, runs[r] + first, 1, right * channels,
                        flat, 0, lane, band * columns * lane,
                        segments, count, columns,
                    )  # fmt: skip
                    first += size
            line += count
