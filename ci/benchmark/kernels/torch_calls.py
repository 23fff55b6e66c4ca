"""What torch does in the place of a kernel: the operator that its own layers and backward passes call.

Images are channels first, as its users have them. Arguments are those of :mod:`benchmark.kernels.cases`, from NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

aten = torch.ops.aten
Run = Callable[[], Any]


def tensors(*arrays: Any) -> list[torch.Tensor]:
    return [torch.from_numpy(np.asarray(a)) for a in arrays]


def channels_first(x: Any) -> torch.Tensor:
    """Of images (n, h, w, c)."""
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()


def of(function: Callable[..., Any], *more: Any) -> Callable[..., Run]:
    """A function of all arrays."""

    def made(*arrays: Any, **_: Any) -> Run:
        given = [a if isinstance(a, int) else tensors(a)[0] for a in arrays]
        return lambda: function(*given, *more)

    return made


def cross_entropy(logits: Any, labels: Any, *, mean: bool) -> Run:
    """Loss and gradient: the kernel makes both."""
    x, y = tensors(logits, labels)
    x.requires_grad_()

    def run() -> Any:
        loss = F.cross_entropy(x, y)
        return torch.autograd.grad(loss, x)

    return run


def dropout(x: Any, key: Any, step: Any, *, rate: float) -> Run:
    (x,) = tensors(x)
    return lambda: torch.native_dropout(x, rate, True)


def layer_norm(x: Any, weight: Any, bias: Any) -> Run:
    x, weight, bias = tensors(x, weight, bias)
    return lambda: torch.native_layer_norm(x, weight.shape, weight, bias, 1e-5)


def batch_norm(x: Any, weight: Any, bias: Any) -> Run:
    x, weight, bias = tensors(x, weight, bias)
    return lambda: torch.native_batch_norm(x, weight, bias, None, None, True, 0.1, 1e-5)


def layer_norm_backward(place: int) -> Callable[..., Run]:
    """By x, weight or bias alone."""

    def made(g: Any, saved: Any, *more: Any) -> Run:
        g, rows, inverse = tensors(g, *saved)
        weight, mask = _weight(more, rows), [i == place for i in range(3)]
        x, mean, shape = rows / inverse, torch.zeros_like(inverse), [rows.shape[1]]
        return lambda: aten.native_layer_norm_backward(g, x, shape, mean, inverse, weight, weight, mask)

    return made


def batch_norm_backward(place: int) -> Callable[..., Run]:
    """By x, weight or bias alone."""

    def made(g: Any, saved: Any, *more: Any) -> Run:
        g, rows, inverse = tensors(g, *saved)
        weight, mask = _weight(more, rows), [i == place for i in range(3)]
        x, inverse = rows / inverse, inverse.reshape(-1)
        mean = torch.zeros_like(inverse)
        return lambda: aten.native_batch_norm_backward(g, x, weight, None, None, mean, inverse, True, 1e-5, mask)

    return made


def _weight(more: tuple[Any, ...], rows: torch.Tensor) -> torch.Tensor:
    """The weight, which the kernel of the gradient by x alone is given."""
    if more and isinstance(more[-1], np.ndarray):
        return torch.from_numpy(more[-1])
    return torch.ones(rows.shape[1], dtype=rows.dtype)


def optimizer(make: Callable[..., torch.optim.Optimizer]) -> Callable[..., Run]:
    """``step`` of an optimiser, over one tensor for each gradient."""

    def made(_: Any, gradients: Any, *__: Any, **___: Any) -> Run:
        parameters = []
        for g in tensors(*gradients):
            parameters.append(torch.nn.Parameter(g.clone()))
            parameters[-1].grad = g
        return make(parameters).step

    return made


def norm(gradients: Any) -> Run:
    found = tensors(*gradients)
    return lambda: torch.nn.utils.get_total_norm(found)


def embedding(g: Any, shape: Any, ids: Any) -> Run:
    g, ids = tensors(g, ids)
    return lambda: aten.embedding_dense_backward(g, ids, shape[0], -1, False)


def index_add(g: Any, rows: int, ids: Any) -> Run:
    g, ids = tensors(g, ids)
    return lambda: torch.zeros((rows, *g.shape[1:]), dtype=g.dtype).index_add_(0, ids, g)


def gather(g: Any, shape: Any, ids: Any) -> Run:
    g, ids = tensors(g, ids)
    return lambda: torch.zeros(shape, dtype=g.dtype).scatter_add_(1, ids, g)


def conv(x: Any, weight: Any, bias: Any, *, padding: int) -> Run:
    x, weight, (bias,) = channels_first(x), filters(weight), tensors(bias)
    return lambda: torch.conv2d(x, weight, bias, padding=padding)


def filters(weight: Any) -> torch.Tensor:
    return torch.from_numpy(weight).permute(3, 2, 0, 1).contiguous()


def conv_x(g: Any, weight: Any, shape: Any, stride: int, padding: int, dilation: int) -> Run:
    n, height, width, channels = shape
    x = torch.zeros((n, channels, height, width), dtype=torch.from_numpy(g).dtype)
    return _conv_backward(channels_first(g), x, filters(weight), padding, [True, False, False])


def conv_weight(g: Any, x: Any, shape: Any, stride: int, padding: int, dilation: int) -> Run:
    weight = filters(np.zeros(shape, x.dtype))
    return _conv_backward(channels_first(g), channels_first(x), weight, padding, [False, True, False])


def _conv_backward(g: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, padding: int, mask: list[bool]) -> Run:
    p, one = [padding, padding], [1, 1]
    return lambda: aten.convolution_backward(g, x, weight, None, one, p, one, False, [0, 0], 1, mask)


def max_pool(x: Any, *, kernel_size: int) -> Run:
    x = channels_first(x)
    return lambda: F.max_pool2d(x, kernel_size, return_indices=True)


def max_pool_x(g: Any, x: Any, y: Any, size: int) -> Run:
    g, x = channels_first(g), channels_first(x)
    _, places = F.max_pool2d(x, size, return_indices=True)
    k, zero, one = [size, size], [0, 0], [1, 1]
    return lambda: aten.max_pool2d_with_indices_backward(g, x, k, k, zero, one, False, places)


def avg_pool(x: Any, *, kernel_size: int) -> Run:
    x = channels_first(x)
    return lambda: F.avg_pool2d(x, kernel_size)


CALLS: dict[str, Callable[..., Run]] = {
    "adam_update": optimizer(lambda p: torch.optim.Adam(p, 1e-3, fused=True)),
    "avg_pool2d_forward": avg_pool,
    "batch_norm_bias": batch_norm_backward(2),
    "batch_norm_forward": batch_norm,
    "batch_norm_weight": batch_norm_backward(1),
    "batch_norm_x": batch_norm_backward(0),
    "conv2d_bias": of(lambda g: torch.sum(g, (0, 1, 2))),
    "conv2d_forward": conv,
    "conv2d_weight": conv_weight,
    "conv2d_x": conv_x,
    "dropout_forward": dropout,
    "dropout_x": of(torch.mul),
    "embedding_weight": embedding,
    "gather_x": gather,
    "gelu_forward": of(F.gelu),
    "gelu_x": of(aten.gelu_backward),
    "layer_norm_bias": layer_norm_backward(2),
    "layer_norm_forward": layer_norm,
    "layer_norm_weight": layer_norm_backward(1),
    "layer_norm_x": layer_norm_backward(0),
    "leaky_relu_forward": of(F.leaky_relu),
    "leaky_relu_x": of(aten.leaky_relu_backward, 0.01, False),
    "linear_bias": of(lambda g: torch.sum(g, 0)),
    "linear_forward": of(lambda x, w, b: torch.addmm(b, x, w)),
    "linear_relu_forward": of(lambda x, w, b: torch.addmm(b, x, w).relu_()),
    "linear_weight": of(lambda g, x: x.T @ g),
    "linear_x": of(lambda g, w: g @ w.T),
    "log_softmax_forward": of(torch.log_softmax, -1),
    "max_pool2d_forward": max_pool,
    "max_pool2d_x": max_pool_x,
    "relu_forward": of(torch.relu),
    "relu_x": of(aten.threshold_backward, 0),
    "sgd_update": optimizer(lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9, fused=True)),
    "sigmoid_forward": of(torch.sigmoid),
    "sigmoid_x": of(aten.sigmoid_backward),
    "silu_forward": of(F.silu),
    "silu_x": of(aten.silu_backward),
    "softmax_cross_entropy_forward": cross_entropy,
    "softmax_forward": of(torch.softmax, -1),
    "softplus_forward": of(F.softplus),
    "squared_norm": norm,
    "sum_squares_forward": of(lambda x: torch.dot(x, x)),
    "summed_rows": index_add,
    "summed_to": lambda g, shape: of(lambda a: torch.sum(a, 0))(g),
    "tanh_forward": of(torch.tanh),
    "tanh_x": of(aten.tanh_backward),
}
"""By the name of the kernel."""
