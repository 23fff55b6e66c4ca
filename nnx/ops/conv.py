"""Convolution over images, channels last."""

from __future__ import annotations

from math import prod
from typing import Any

from nnx._errors import ShapeError
from nnx._precision import in_dtype, total, wide
from nnx._typing import Array, Namespace
from nnx.ops._op import op
from nnx.ops._window import Tap, Windows, pad, read, require_images, spread, windows


def conv2d_forward(
    xp: Namespace,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    r"""Two-dimensional convolution, without flipping the kernel, as everywhere in neural networks.

        y[n, p, q, o] = b[o] + Σ_{i, j, c} x[n, p·s + i·d, q·s + j·d, c] W[i, j, c, o]

    with stride s and dilation d, and x padded by zeros. It is a sum over the taps (i, j) of matrix
    products of the pixels that all windows read there. The adjoints, with G the gradient of y:

        x: Σ over taps, G W[i, j]ᵀ put back where it was read
        weight: W[i, j] gets x_{ij}ᵀ G        bias: Σ over batch and windows, G

    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86(11), 1998; Dumoulin and Visin, "A guide to convolution arithmetic for
    deep learning", arXiv:1603.07285, 2016. Products of floats of 16 bits are added up in float32.

    Args:
        x: shape (batch, height, width, in).
        weight: shape (kernel height, kernel width, in, out).
        bias: shape (out,), or ``None``.
        stride, dilation: a number, or a tuple of one for height and one for width.
        padding: a number of zeros around the image, a tuple of one for height and one for width, or a
            tuple of two pairs (before, after); ``"valid"`` for none; ``"same"`` for as many as make
            ⌈length / stride⌉ windows, the odd one behind (as in TensorFlow).

    Returns:
        Shape (batch, height', width', out), with
        height' = ⌊(height + padding - dilation·(kernel height - 1) - 1) / stride⌋ + 1.

    Raises:
        ShapeError: x or the weight has another number of axes, their channels differ, or the kernel is
            larger than the padded image.
        ArgumentError: a stride, padding or dilation makes no sense.
    """
    w = conv_windows(x.shape, weight.shape, stride, padding, dilation)
    padded = pad(xp, x, w.before, w.after)
    y: Array = None
    for i, j in w.taps():
        product = wide(xp, xp.matmul(_rows(xp, read(padded, w, (i, j))), weight[i, j, :, :]))
        y = product if y is None else y + product
    if bias is not None:
        y = y + in_dtype(xp, bias, y.dtype)
    y = in_dtype(xp, y, weight.dtype)
    return xp.reshape(y, (x.shape[0], *w.out, weight.shape[-1]))


def conv2d_x(
    xp: Namespace,
    g: Array,
    weight: Array,
    x_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    """Σ over taps, G W[i, j]ᵀ put back where it was read."""
    w = conv_windows(x_shape, weight.shape, stride, padding, dilation)
    rows, shape = _rows(xp, g), (*g.shape[:-1], x_shape[-1])

    def part(tap: Tap) -> Array:
        return wide(xp, xp.reshape(xp.matmul(rows, xp.matrix_transpose(weight[(*tap, ...)])), shape))

    return in_dtype(xp, spread(xp, w, part), g.dtype)


def conv2d_weight(
    xp: Namespace,
    g: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> Array:
    """x_{ij}ᵀ G at each tap."""
    w = conv_windows(x.shape, weight_shape, stride, padding, dilation)
    padded, rows = pad(xp, x, w.before, w.after), _rows(xp, g)
    taps = [xp.matmul(xp.matrix_transpose(_rows(xp, read(padded, w, tap))), rows) for tap in w.taps()]
    return xp.reshape(xp.stack(taps), tuple(weight_shape))


def conv2d_bias(xp: Namespace, g: Array) -> Array:
    """Σ over batch and windows, G."""
    return total(xp, _rows(xp, g), 0)


def conv_windows(x: tuple[int, ...], weight: tuple[int, ...], stride: Any, padding: Any, dilation: Any) -> Windows:
    """Where the windows lie, for arrays of these shapes.

    Raises:
        ShapeError, ArgumentError: as :func:`conv2d` says.
    """
    require_images("conv2d()", x)
    if len(weight) != 4:
        raise ShapeError(
            f"conv2d() expected a weight of shape (kernel height, kernel width, in, out), got shape {tuple(weight)}"
        )
    if x[3] != weight[2]:
        raise ShapeError(
            f"conv2d() got images of {x[3]} channels and a weight for {weight[2]}, of shapes {tuple(x)} and "
            f"{tuple(weight)}: channels are the last axis of images, and the last but one of a weight"
        )
    return windows(x[1:3], weight[:2], stride, padding, dilation)


def _rows(xp: Namespace, x: Array) -> Array:
    """The leading axes of ``x`` flattened into one."""
    return xp.reshape(x, (prod(x.shape[:-1]), x.shape[-1]))


conv2d = op(conv2d_forward, x=conv2d_x, weight=conv2d_weight, bias=conv2d_bias)
