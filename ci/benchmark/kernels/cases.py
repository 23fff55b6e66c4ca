"""What each kernel is called with, from one element to many."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Size = tuple[int, ...]
Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of a kernel after the namespace, and its options."""


class Draw:
    """Random arrays of a dtype, the same in every process."""

    def __init__(self, dtype: str) -> None:
        self.rng, self.dtype = np.random.default_rng(0), np.dtype(dtype)

    def __call__(self, *shape: int) -> Any:
        return self.rng.standard_normal(shape, "float32").astype(self.dtype, copy=False)

    def ids(self, shape: Size, n: int) -> Any:
        """Integers of 0 to n - 1."""
        return self.rng.integers(0, n, shape)


class Case(NamedTuple):
    """A kernel at several sizes, smallest first."""

    arguments: Callable[..., Call]
    """``arguments(draw, *size)``."""

    sizes: tuple[Size, ...]
    joint: str = "×"
    """Between the numbers of a size in a table: ``-`` for the widths of a network."""

    def label(self, size: Size) -> str:
        """The size, for people."""
        if len(size) > 1:
            return self.joint.join(map(str, size))
        return f"{size[0]:,}"


LENGTHS: tuple[Size, ...] = ((1,), (32,), (1024,), (16_384,), (65_536,), (1 << 20,), (1 << 22,))
MATRICES: tuple[Size, ...] = ((1, 1), (32, 10), (32, 32), (128, 128), (128, 512), (1024, 1024), (4096, 1024))
LOGITS: tuple[Size, ...] = ((1, 2), (32, 10), (128, 10), (1024, 10), (128, 1000), (32, 50_000))
ROWS: tuple[Size, ...] = ((2, 1), (32, 32), (128, 512), (4096, 768), (50_176, 16))
"""Of norms; the last is a batch of 64 images of 28×28 pixels and 16 channels."""

NETWORKS: tuple[Size, ...] = ((1,), (32,), (64, 32, 10), (784, 128, 64, 10), (784, 512, 512, 10), (784, 2048, 2048, 10))
"""Widths of layers; the third last has 109,386 parameters, the next 669,706, the last 5,824,522."""

PRODUCTS: tuple[Size, ...] = ((1, 1, 1), (32, 64, 32), (64, 784, 128), (128, 784, 512), (512, 2048, 2048))
"""Rows, inputs, outputs."""

IMAGES: tuple[Size, ...] = (
    (1, 3, 3, 1, 3, 1),
    (1, 8, 8, 4, 3, 4),
    (32, 28, 28, 1, 3, 16),
    (32, 28, 28, 1, 5, 16),
    (32, 14, 14, 16, 3, 32),
    (32, 14, 14, 16, 5, 32),
)
"""Images, height, width, inputs, side of the window, outputs."""

LOOKED_UP: tuple[Size, ...] = ((1, 1, 1), (32, 100, 8), (1024, 1000, 64), (16_384, 10_000, 128))
"""Ids, rows of the table, features."""

POOLED: tuple[Size, ...] = ((1, 2, 2, 1), (1, 8, 8, 4), (32, 28, 28, 16), (128, 28, 28, 32))


def pieces(draw: Draw, *widths: int) -> list[Any]:
    """The weights and biases of a network; a lone width is one array."""
    shapes = [shape for m, n in pairwise(widths) for shape in ((m, n), (n,))] or [widths]
    return [draw(*shape) for shape in shapes]


def same(draw: Draw, *shape: int) -> Call:
    """One array."""
    return (draw(*shape),), {}


def adjoint(draw: Draw, *shape: int) -> Call:
    """g, and the argument or the value."""
    return (draw(*shape), abs(draw(*shape))), {}


def linear(draw: Draw, rows: int, inputs: int, outputs: int) -> Call:
    return (draw(rows, inputs), draw(inputs, outputs), draw(outputs)), {}


def linear_x(draw: Draw, rows: int, inputs: int, outputs: int) -> Call:
    return (draw(rows, outputs), draw(inputs, outputs)), {}


def linear_weight(draw: Draw, rows: int, inputs: int, outputs: int) -> Call:
    return (draw(rows, outputs), draw(rows, inputs)), {}


def softmax_cross_entropy(draw: Draw, rows: int, classes: int) -> Call:
    return (3 * draw(rows, classes), draw.ids((rows,), classes)), {"mean": True}


def softmax_cross_entropy_logits(draw: Draw, rows: int, classes: int) -> Call:
    return (draw(1)[0], draw(rows, classes), True), {}


def dropout(draw: Draw, *shape: int) -> Call:
    return (draw(*shape), draw.ids((2,), 1 << 31).astype("int32"), np.asarray([3], "int32")), {"rate": 0.3}


def norm(draw: Draw, rows: int, features: int) -> Call:
    return (draw(rows, features), draw(features), draw(features)), {}


def saved(draw: Draw, rows: int, features: int, by_row: bool) -> Any:
    """What a norm's forward leaves: the normalised rows, and 1 / σ."""
    return draw(rows, features), abs(draw(*((rows, 1) if by_row else (1, features))))


def layer_norm_x(draw: Draw, rows: int, features: int) -> Call:
    return (draw(rows, features), saved(draw, rows, features, True), draw.dtype, draw(features)), {}


def layer_norm_parameter(draw: Draw, rows: int, features: int) -> Call:
    return (draw(rows, features), saved(draw, rows, features, True), (features,), draw.dtype), {}


def batch_norm_x(draw: Draw, rows: int, features: int) -> Call:
    return (draw(rows, features), saved(draw, rows, features, False), draw.dtype, draw(features)), {}


def batch_norm_parameter(draw: Draw, rows: int, features: int) -> Call:
    return (draw(rows, features), saved(draw, rows, features, False), draw.dtype), {}


def adam(draw: Draw, *widths: int) -> Call:
    gradients = pieces(draw, *widths)
    total = sum(g.size for g in gradients)
    state = draw(total), draw(total), abs(draw(total))
    options = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
    return (state[0], gathered(gradients), *state[1:], np.int32(1000), 1e-3, None), options


def sgd(draw: Draw, *widths: int) -> Call:
    gradients = pieces(draw, *widths)
    total = sum(g.size for g in gradients)
    options = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
    return (draw(total), gathered(gradients), draw(total), 1e-3, None), options


def gathered(gradients: list[Any]) -> list[Any]:
    """As ``gather_gradients`` of NumPy leaves them: 1-D, where they lie."""
    return [g.reshape(-1) for g in gradients]


def gradients_alone(draw: Draw, *widths: int) -> Call:
    return (pieces(draw, *widths),), {}


def gather_gradients(draw: Draw, *widths: int) -> Call:
    gradients = pieces(draw, *widths)
    return (draw(sum(g.size for g in gradients)), gradients), {}


def embedding_weight(draw: Draw, count: int, rows: int, features: int) -> Call:
    return (draw(count, features), (rows, features), draw.ids((count,), rows)), {}


def summed_rows(draw: Draw, count: int, rows: int, features: int) -> Call:
    return (draw(count, features), rows, draw.ids((count,), rows)), {}


def gather_x(draw: Draw, rows: int, columns: int, chosen: int) -> Call:
    return (draw(rows, chosen), (rows, columns), draw.ids((rows, chosen), columns)), {}


def conv(draw: Draw, n: int, height: int, width: int, inputs: int, side: int, outputs: int) -> Call:
    weight = draw(side, side, inputs, outputs)
    return (draw(n, height, width, inputs), weight, draw(outputs)), {"padding": side // 2}


def conv_x(draw: Draw, n: int, height: int, width: int, inputs: int, side: int, outputs: int) -> Call:
    g, weight = draw(n, height, width, outputs), draw(side, side, inputs, outputs)
    return (g, weight, (n, height, width, inputs), 1, side // 2, 1), {}


def conv_weight(draw: Draw, n: int, height: int, width: int, inputs: int, side: int, outputs: int) -> Call:
    g, x = draw(n, height, width, outputs), draw(n, height, width, inputs)
    return (g, x, (side, side, inputs, outputs), 1, side // 2, 1), {}


def conv_bias(draw: Draw, n: int, height: int, width: int, channels: int) -> Call:
    return (draw(n, height, width, channels),), {}


def pool(draw: Draw, *shape: int) -> Call:
    return (draw(*shape),), {"kernel_size": 2}


def max_pool_x(draw: Draw, n: int, height: int, width: int, channels: int) -> Call:
    x = draw(n, height, width, channels)
    y = x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    return (draw(*y.shape), x, y, 2), {}


def avg_pool_x(draw: Draw, n: int, height: int, width: int, channels: int) -> Call:
    return (draw(n, height // 2, width // 2, channels), (n, height, width, channels), 2), {}


def summed_to(draw: Draw, rows: int, columns: int) -> Call:
    return (draw(rows, columns), (columns,)), {}


ACTIVATIONS = (
    "celu elu erf gelu hard_sigmoid hard_swish hard_tanh leaky_relu log_cosh log_sigmoid mish relu relu6 selu sigmoid "
    "silu softplus softsign tanh"
).split()

CASES: dict[str, Case] = {
    **{f"{name}_forward": Case(same, LENGTHS) for name in ACTIVATIONS},
    **{f"{name}_x": Case(adjoint, LENGTHS) for name in ACTIVATIONS},
    **{f"{name}_forward": Case(same, LOGITS) for name in ("softmax", "log_softmax")},
    **{f"{name}_x": Case(adjoint, LOGITS) for name in ("softmax", "log_softmax")},
    "adam_update": Case(adam, NETWORKS, "-"),
    "avg_pool2d_forward": Case(pool, POOLED),
    "avg_pool2d_x": Case(avg_pool_x, POOLED),
    "batch_norm_bias": Case(batch_norm_parameter, ROWS),
    "batch_norm_forward": Case(norm, ROWS),
    "batch_norm_weight": Case(batch_norm_parameter, ROWS),
    "batch_norm_x": Case(batch_norm_x, ROWS),
    "conv2d_bias": Case(conv_bias, POOLED),
    "conv2d_forward": Case(conv, IMAGES),
    "conv2d_weight": Case(conv_weight, IMAGES),
    "conv2d_x": Case(conv_x, IMAGES),
    "dropout_forward": Case(dropout, LENGTHS),
    "dropout_x": Case(adjoint, LENGTHS),
    "embedding_weight": Case(embedding_weight, LOOKED_UP),
    "gather_gradients": Case(gather_gradients, NETWORKS, "-"),
    "gather_x": Case(gather_x, ((1, 1, 1), (32, 10, 1), (256, 1000, 34), (256, 10_000, 34))),
    "layer_norm_bias": Case(layer_norm_parameter, ROWS),
    "layer_norm_forward": Case(norm, ROWS),
    "layer_norm_weight": Case(layer_norm_parameter, ROWS),
    "layer_norm_x": Case(layer_norm_x, ROWS),
    "linear_bias": Case(same, MATRICES),
    "linear_forward": Case(linear, PRODUCTS),
    "linear_relu_forward": Case(linear, PRODUCTS),
    "linear_weight": Case(linear_weight, PRODUCTS),
    "linear_x": Case(linear_x, PRODUCTS),
    "max_pool2d_forward": Case(pool, POOLED),
    "max_pool2d_x": Case(max_pool_x, POOLED),
    "sgd_update": Case(sgd, NETWORKS, "-"),
    "softmax_cross_entropy_forward": Case(softmax_cross_entropy, LOGITS),
    "softmax_cross_entropy_logits": Case(softmax_cross_entropy_logits, LOGITS),
    "squared_norm": Case(gradients_alone, NETWORKS, "-"),
    "sum_squares_forward": Case(same, LENGTHS),
    "sum_squares_x": Case(lambda draw, *shape: ((draw(1)[0], draw(*shape)), {}), LENGTHS),
    "summed_rows": Case(summed_rows, LOOKED_UP),
    "summed_to": Case(summed_to, MATRICES),
}
"""By the name of the kernel."""

STATE = {"adam_update": (0, 2, 3), "sgd_update": (0, 2)}
"""Kernels whose results are arguments of the next call, and the places of these: parameters and state."""
