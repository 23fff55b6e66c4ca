"""Softmax, its logarithm and its cross-entropy, a few rows at a time, so that these stay in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnx._typing import Array, Kernel
from nnx.ops.softmax import label_error
from nnx.ops.softmax import log_softmax_forward as any_log_softmax
from nnx.ops.softmax import log_softmax_x as any_log_softmax_x
from nnx.ops.softmax import softmax_forward as any_softmax
from nnx.ops.softmax import softmax_x as any_softmax_x
from nnx_numpy import kernels
from nnx_numpy.compiled._loop import loop, served
from nnx_numpy.compiled._threads import spread
from nnx_numpy.compiled._vector import exp, in_order, largest
from nnx_numpy.kernels import rows_of

BLOCK = 2048  # elements, in whole rows, that are worked on together
SHORT = 128  # columns below which exponentials are taken of a block of rows in one run, and else of each row
PIECE = 512  # elements that are summed in single precision
LARGE = 1 << 18  # elements from which a second thread saves time
PART = 1 << 17
INDEX = np.dtype(np.intp)


def softmax_cross_entropy_forward(xp: Any, logits: Array, labels: Array, *, mean: bool = False) -> tuple[Array, Array]:
    """Look the label's logit up, and write the slope where the exponentials stood."""
    if (
        labels.dtype.kind not in "iu"
        or labels.shape != logits.shape[:-1]
        or not logits.size
        or not served(logits.dtype, logits)
    ):
        return kernels.softmax_cross_entropy_forward(xp, logits, labels, mean=mean)
    ids = labels if labels.dtype == INDEX and labels.flags.carray else labels.astype(INDEX, order="C")
    slope = np.empty_like(logits, subok=False)
    z, p = logits, slope
    if z.ndim != 2:
        z, p, ids = rows_of(z), rows_of(p), ids.reshape(-1)
    n, classes = z.shape
    loss = np.empty(n, z.dtype)
    share = 1 / n if mean else 1.0
    if z.size < LARGE:
        right = _cross_entropy(z, ids, p, loss, share, mean)
    else:
        found: list[bool] = []
        _spread(lambda i, j: found.append(_cross_entropy(z[i:j], ids[i:j], p[i:j], loss[i:j], share, False)), z)
        right = all(found)
        if mean and right:
            loss = loss.mean(keepdims=True, dtype=np.float64).astype(loss.dtype)
    if not right:
        raise label_error(int(labels.min()), int(labels.max()), classes)
    return loss[0] if mean else loss if labels.ndim == 1 else loss.reshape(labels.shape), slope


def softmax_forward(xp: Any, x: Array, *, axis: int = -1) -> Array:
    """Over the last axis; the reference does others."""
    if axis not in (-1, x.ndim - 1) or not x.size or not served(x.dtype, x):
        return any_softmax(xp, x, axis=axis)
    return _by_rows(_softmax, x)


def softmax_x(xp: Any, g: Array, y: Array, axis: int = -1) -> Array:
    """Over the last axis; the reference does others."""
    if axis not in (-1, g.ndim - 1) or g.shape != y.shape or not g.size or not served(g.dtype, g, y):
        return any_softmax_x(xp, g, y, axis)
    return _by_rows(_softmax_x, g, y)


def log_softmax_forward(xp: Any, x: Array, *, axis: int = -1) -> Array:
    """Over the last axis; the reference does others."""
    if axis not in (-1, x.ndim - 1) or not x.size or not served(x.dtype, x):
        return any_log_softmax(xp, x, axis=axis)
    return _by_rows(_log_softmax, x)


def log_softmax_x(xp: Any, g: Array, y: Array, axis: int = -1) -> Array:
    """Over the last axis; the reference does others."""
    if axis not in (-1, g.ndim - 1) or g.shape != y.shape or not g.size or not served(g.dtype, g, y):
        return any_log_softmax_x(xp, g, y, axis)
    return _by_rows(_log_softmax_x, g, y)


def _by_rows(function: Callable[..., None], *arrays: Array) -> Array:
    """Call a loop with the rows of arrays of one shape, and of the result."""
    result = np.empty_like(arrays[0], subok=False)
    rows = (*arrays, result) if result.ndim == 2 else tuple(rows_of(a) for a in (*arrays, result))
    if result.size < LARGE:
        function(*rows)
    else:
        _spread(lambda i, j: function(*(a[i:j] for a in rows)), rows[0])
    return result


def _spread(function: Callable[[int, int], None], rows: Array) -> None:
    spread(function, rows.shape[0], max(1, PART // rows.shape[1]))


@loop
def _cross_entropy(z: Array, ids: Array, slope: Array, loss: Array, share: float, mean: bool) -> bool:
    """Whether all labels are in range; if so, the slope times ``share``, and the losses, or the mean in ``loss[0]``."""
    rows, classes = z.shape
    for i in range(rows):
        if ids[i] < 0 or ids[i] >= classes:
            return False
    part, step = z.dtype.type(share), max(1, BLOCK // classes)
    for start in range(0, rows, step):
        x, labels = z[start : start + step], ids[start : start + step]
        e, tops = slope[start : start + step], loss[start : start + step]
        _exponentials(x, e, tops)
        for i in range(labels.size):
            row, label = e[i], labels[i]
            total = _sum(row)
            factor = part / total
            for j in range(classes):
                row[j] *= factor
            row[label] -= part
            tops[i] = in_order(tops[i], -x[i, label], np.log(total))
    if mean:
        whole = 0.0
        for i in range(rows):
            whole += loss[i]
        loss[0] = whole / rows
    return True


@loop
def _softmax(x: Array, y: Array) -> None:
    rows, columns = x.shape
    step = max(1, BLOCK // columns)
    tops = np.empty(step, x.dtype)
    for start in range(0, rows, step):
        e = y[start : start + step]
        _exponentials(x[start : start + step], e, tops)
        for i in range(e.shape[0]):
            row = e[i]
            factor = x.dtype.type(1) / _sum(row)
            for j in range(columns):
                row[j] *= factor


@loop
def _softmax_x(g: Array, y: Array, out: Array) -> None:
    rows, columns = g.shape
    for i in range(rows):
        a, b, c = g[i], y[i], out[i]
        total = _dot(a, b)
        for j in range(columns):
            c[j] = (a[j] - total) * b[j]


@loop
def _log_softmax(x: Array, y: Array) -> None:
    rows, columns = x.shape
    step = max(1, BLOCK // columns)
    tops, work = np.empty(step, x.dtype), np.empty((step, columns), x.dtype)
    for start in range(0, rows, step):
        z, out = x[start : start + step], y[start : start + step]
        e = work[: z.shape[0]]
        _exponentials(z, e, tops)
        for i in range(z.shape[0]):
            a, b, top = z[i], out[i], tops[i]
            normaliser = np.log(_sum(e[i]))
            for j in range(columns):
                b[j] = in_order(a[j], -top, -normaliser)


@loop
def _log_softmax_x(g: Array, y: Array, out: Array) -> None:
    rows, columns = g.shape
    if columns < SHORT:
        x, e = y.reshape(y.size), out.reshape(out.size)
        for i in range(x.size):
            e[i] = exp(x[i])
        for i in range(rows):
            a, c, total = g[i], out[i], _sum(g[i])
            for j in range(columns):
                c[j] = a[j] - total * c[j]
    else:
        for i in range(rows):
            a, b, c, total = g[i], y[i], out[i], _sum(g[i])
            for j in range(columns):
                c[j] = a[j] - total * exp(b[j])


@loop
def _exponentials(x: Array, e: Array, tops: Array) -> None:
    """The largest of each row, and the exponentials of what the row's elements lie below it."""
    rows, columns = x.shape
    if columns < SHORT:
        for i in range(rows):
            a, b, top = x[i], e[i], largest(x[i])
            tops[i] = top
            for j in range(columns):
                b[j] = a[j] - top
        _exp_all(e)
    else:
        for i in range(rows):
            a, b, top = x[i], e[i], largest(x[i])
            tops[i] = top
            for j in range(columns):
                b[j] = exp(a[j] - top)


@loop
def _exp_all(x: Array) -> None:
    """In place: a loop that writes where it reads is vectorised if that is one array."""
    a = x.reshape(x.size)
    for i in range(a.size):
        a[i] = exp(a[i])


@loop
def _sum(a: Array) -> Any:
    """In double precision, of pieces that are summed in their own."""
    total = 0.0
    for start in range(0, a.size, PIECE):
        piece, part = a[start : start + PIECE], a.dtype.type(0)
        for i in range(piece.size):
            part += piece[i]
        total += part
    return a.dtype.type(total)


@loop
def _dot(a: Array, b: Array) -> Any:
    total = 0.0
    for start in range(0, a.size, PIECE):
        x, y, part = a[start : start + PIECE], b[start : start + PIECE], a.dtype.type(0)
        for i in range(x.size):
            part += x[i] * y[i]
        total += part
    return a.dtype.type(total)


KERNELS: dict[str, Kernel] = {
    "log_softmax_forward": log_softmax_forward,
    "log_softmax_x": log_softmax_x,
    "softmax_cross_entropy_forward": softmax_cross_entropy_forward,
    "softmax_forward": softmax_forward,
    "softmax_x": softmax_x,
}
