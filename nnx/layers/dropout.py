"""Dropout, which acts while its model is differentiated."""

from __future__ import annotations

from nnx import ops
from nnx._errors import ArgumentError
from nnx._typing import Array
from nnx.backend import HOST, Device, load_backend, load_namespace
from nnx.backend import device as find_device
from nnx.module import Buffer, Module
from nnx.random import Generator, generator_of


class Dropout(Module):
    """Inverted dropout: in training, elements are zeroed with chance ``rate``, the rest divided by 1 - rate.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15,
    2014. The same seed gives the same masks on every backend. When the model predicts, y = x.

    Shape: any -> the same.

    Args:
        rate: the chance that an element is dropped, in [0, 1).
        device: where the layer is to act; ``None`` for the default device.
        rng: gives the layer its random stream; ``None`` for the default generator.
    """

    key: Buffer  # the stream: int32, (2,)
    step: Buffer  # how many masks have been drawn: int32, (1,)

    def __init__(self, rate: float = 0.5, *, device: str | Device | None = None, rng: Generator | None = None) -> None:
        if not 0 <= rate < 1:
            raise ArgumentError(f"a dropout rate lies in [0, 1), got {rate}")
        self.rate = rate
        xp, here = load_namespace(load_backend(HOST)), find_device(device)
        self.key = here.from_host(xp.asarray(generator_of(rng).spawn_key(), dtype=xp.int32))
        self.step = here.from_host(xp.zeros(1, dtype=xp.int32))

    def __call__(self, x: Array) -> Array:
        if not self.training or self.rate == 0:
            return x
        y = ops.dropout(x, self.key, self.step, rate=self.rate)
        self.step = self.step + 1
        return y

    def operations(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        return 0

    def _arguments(self) -> str:
        return str(self.rate)
