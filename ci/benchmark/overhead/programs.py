"""What every peer differentiates: programs of a hundred small operations, written once in functions of the standard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


def chain(xp: Any, x: Any, a: Any, b: Any) -> Any:
    """Elementwise functions one after the other; ``a`` and ``b`` are constants, and ``b`` is broadcast."""
    for _ in range(20):
        x = xp.sin(x * a)
        x = xp.exp(xp.tanh(x + b))
    return xp.sum(x)


def shared(xp: Any, x: Any, w: Any) -> Any:
    """Intermediate results that are used twice, so that gradients come together again."""
    for _ in range(12):
        u = x * w
        v = xp.sin(u)
        x = xp.tanh((u + v) * (u - v)) + x * 0.5
    return xp.sum(x)


def layers(xp: Any, x: Any, w: Any, b: Any) -> Any:
    """A recurrent network: matrix product, bias, tanh."""
    for _ in range(16):
        x = xp.tanh(xp.matmul(x, w) + b)
    return xp.sum(x)


class Case(NamedTuple):
    """A program and its arguments, float64."""

    name: str
    program: Callable[..., Any]
    operations: int
    shapes: tuple[tuple[int, ...], ...]
    """Of the arguments."""

    ranges: tuple[tuple[float, float], ...]
    """Between which the elements of each argument lie."""

    by: tuple[int, ...]
    """The arguments to differentiate by."""

    def __str__(self) -> str:
        return f"{self.name} of {self.operations} operations on {self.shapes[0]}"

    def arrays(self) -> list[Any]:
        """The arguments, the same in every process."""
        rng = np.random.default_rng(0)
        return [np.asarray(rng.uniform(*r, shape)) for shape, r in zip(self.shapes, self.ranges, strict=True)]


def _chain(shape: tuple[int, ...]) -> Case:
    return Case("chain", chain, 101, (shape, shape, ()), ((0.2, 1.0), (1.15, 1.25), (0.2, 0.3)), (0,))


def _shared(shape: tuple[int, ...]) -> Case:
    return Case("shared", shared, 97, (shape, shape), ((0.2, 1.0), (1.2, 1.6)), (0, 1))


_layers = Case("layers", layers, 49, ((4, 8), (8, 8), (8,)), ((-1.0, 1.0), (-0.8, 0.8), (-0.1, 0.1)), (1, 2))

CASES = {
    "chain-0d": _chain(()),
    "chain-32": _chain((32,)),
    "shared-0d": _shared(()),
    "shared-32": _shared((32,)),
    "layers-32": _layers,
}
