"""Vectors of things that are numbered, such as words and characters."""

from __future__ import annotations

import functools
from collections.abc import Callable

from nnx import init, ops
from nnx._arguments import count
from nnx._errors import DTypeError
from nnx._typing import Array
from nnx.backend import Device, is_array
from nnx.module import Module, Parameter
from nnx.random import Generator

_STANDARD_NORMAL = functools.partial(init.normal, std=1.0)


class Embedding(Module):
    """A trained vector for each of ``num`` ids: y[...] = W[ids[...]].

    Bengio, Ducharme, Vincent and Jauvin, "A neural probabilistic language model", JMLR 3, 2003.

    Shape: ids of an integer dtype, any shape (...) -> (..., features).

    Args:
        num: how many ids there are, 0 … num-1.
        features: the length of the vectors.
        weight_init: makes W, shape (num, features); independent standard normal numbers, unless told
            otherwise.
        dtype: the dtype of W and of the output.
        device: a device flag; ``None`` for the default device.
        rng: where the initial weights come from; ``None`` for the default generator.

    Raises:
        ArgumentError: there is no id, or no feature.
        DTypeError: when it is called on what is no array of integers.
        LabelError: when an id is out of range. Where the values cannot be read at once (on a GPU, or
            under a compiler), its vector is NaN instead.
    """

    weight: Parameter  # (num, features)

    def __init__(
        self,
        num: int,
        features: int,
        *,
        weight_init: Callable[..., Array] = _STANDARD_NORMAL,
        dtype: str = "float32",
        device: str | Device | None = None,
        rng: Generator | None = None,
    ) -> None:
        shape = count("num", num), count("features", features)
        self.weight = weight_init(shape, dtype=dtype, device=device, rng=rng)

    def __call__(self, ids: Array) -> Array:
        if not is_array(ids):
            raise DTypeError(f"{self!r} expected an array, got {type(ids).__name__}: make one with nnx.asarray(...)")
        return ops.embedding(self.weight, ids)

    def operations(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        return 0

    def _arguments(self) -> str:
        return ", ".join(map(str, self.weight.shape))
