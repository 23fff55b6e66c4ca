"""Compiling kernels ahead: small networks are trained that use every one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nnx import layers, losses, ops, regularizers
from nnx._typing import Array
from nnx.backend import Device, asarray, device, named_dtype, namespace_of
from nnx.grad import value_and_grad, vjp
from nnx.layers import Sequential
from nnx.optim import SGD, Adam, AdamW, Optimizer
from nnx.random import Generator

ROWS, WIDTH = 96, 64
"""Enough elements that no kernel leaves the work to something simpler."""


def warm_up(flag: str | Device | None = None, *, dtype: str = "float32") -> Iterator[str]:
    """Compile the kernels of a device, for what the networks of most people need; later they are found on disk.

    Args:
        flag: a device flag; ``None`` for the default device.
        dtype: the dtype of the networks.

    Yields:
        What has just been done.

    Raises:
        DeviceError, BackendUnavailableError: as :func:`nnx.device` does.
        DTypeError: the device does not have the dtype.
    """
    here = device(flag)
    named_dtype(here.namespace, dtype)
    rng = Generator(0)
    options = {"dtype": dtype, "device": here, "rng": rng}

    def draw(*shape: int) -> Array:
        return asarray(rng.normal(shape).astype(dtype), device=here)

    def ids(most: int, *shape: int) -> Array:
        return asarray((rng.uniform(shape) * most).astype("int64"), device=here)

    for name, model, x, loss, optimizers in _scenes(options, draw, ids):
        for optimizer in optimizers:
            _train(model, x, loss, optimizer)
        model(x)
        yield name
    for function in _functions(ids):
        for shape in ((ROWS, WIDTH), (ROWS * WIDTH,)):
            value, pull = vjp(function, draw(*shape))
            pull(value)
    yield "activations and look-ups"


Scene = tuple[str, Any, Array, Callable[[Any, Array], Array], list[Optimizer]]


def _scenes(options: dict[str, Any], draw: Callable[..., Array], ids: Callable[..., Array]) -> Iterator[Scene]:
    """What is trained: its name, the model, its input, its loss and the optimisers."""
    labels = ids(10, ROWS)
    plain = {name: option for name, option in options.items() if name != "dtype"}

    def entropy(model: Any, x: Array) -> Array:
        return losses.cross_entropy(model(x), labels)

    def penalised(model: Any, x: Array) -> Array:
        total = losses.cross_entropy(model(x), labels, reduction="sum")
        return entropy(model, x) + total + regularizers.l2(1e-4)(model)

    dense = Sequential(
        layers.Linear(WIDTH, WIDTH, **options),
        ops.relu,
        layers.Dropout(0.5, **plain),
        layers.Linear(WIDTH, WIDTH, bias=False, **options),
        layers.BatchNorm(WIDTH, dtype=options["dtype"], device=options["device"]),
        ops.relu,
        layers.Linear(WIDTH, WIDTH, **options),
        layers.LayerNorm(WIDTH, dtype=options["dtype"], device=options["device"]),
        layers.Linear(WIDTH, 10, **options),
    )
    optimizers = [Adam(1e-3), AdamW(1e-3, clip_norm=1.0), SGD(0.1), SGD(0.1, momentum=0.9)]
    yield "dense layers, normalisation, dropout", dense, draw(ROWS, WIDTH), entropy, optimizers
    yield "sums of losses and penalties", dense, draw(ROWS, WIDTH), penalised, [SGD(0.1)]
    for channels in (1, 8):
        images = Sequential(
            layers.Conv2d(channels, 8, 5, **options),
            layers.MaxPool2d(2),
            ops.relu,
            layers.Conv2d(8, 16, 3, padding="same", **options),
            layers.Conv2d(16, 32, 5, **options),
            layers.Flatten(),
            layers.Linear(2 * 2 * 32, 10, **options),
        )
        yield f"convolution of {channels} channels", images, draw(ROWS, 16, 16, channels), entropy, [Adam(1e-3)]
    lookup, head = layers.Embedding(50, WIDTH, **options), layers.Linear(8 * WIDTH, 10, **options)
    words = Sequential(lookup, layers.Flatten(), head)
    yield "embedding", words, ids(50, ROWS, 8), entropy, [Adam(1e-3)]


def _functions(ids: Callable[..., Array]) -> Iterator[Callable[[Array], Array]]:
    """What is differentiated beside the networks."""
    yield from (ops.relu, ops.leaky_relu, ops.elu, ops.sigmoid, ops.tanh, ops.silu, ops.gelu)
    yield lambda x: ops.gelu(x, approximate=True)
    yield from (ops.softmax, ops.log_softmax)
    yield lambda x: ops.gather(x, ids(WIDTH, *x.shape[:-1], 3))
    yield lambda x: namespace_of(x).take(x, ids(WIDTH, ROWS), axis=0)


def _train(model: Any, x: Array, loss: Callable[[Any, Array], Array], optimizer: Optimizer) -> None:
    _, grads = value_and_grad(loss)(model, x)
    optimizer.update(model, grads)
