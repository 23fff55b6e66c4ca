"""Layers one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nnx._errors import ArgumentError
from nnx._typing import Array
from nnx.backend import Device
from nnx.layers.linear import Linear
from nnx.module import Module
from nnx.ops import relu


class Sequential(Module):
    """Calls modules and plain functions one after another: y = f_n(… f_2(f_1(x))).

    Its parameters are named by the place of their layer: ``0.weight``, ``3.bias``.

    Args:
        layers: modules, and functions from array to array.
        device: where to move them; ``None`` leaves them where they are.
    """

    def __init__(self, *layers: Callable[[Array], Array], device: str | Device | None = None) -> None:
        for i, layer in enumerate(layers):
            if not callable(layer) or isinstance(layer, type):
                raise ArgumentError(
                    f"layer {i} of a Sequential must be a module or a function, got {layer!r}"
                    + (": make an instance of the class" if isinstance(layer, type) else "")
                )
        self.layers = layers
        if device is not None:
            self.to(device)

    def __call__(self, x: Array) -> Array:
        waiting = None  # a dense layer, which computes the rectifier too if that comes next
        for layer in self.layers:
            if waiting is not None:
                rectified = layer is relu
                x = waiting.rectified(x) if rectified else waiting(x)
                waiting = None
                if rectified:
                    continue
            if type(layer) is Linear:
                waiting = layer
            else:
                x = layer(x)
        return x if waiting is None else waiting(x)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int | slice) -> Callable[[Array], Array]:
        if isinstance(index, slice):
            return Sequential(*self.layers[index])
        return self.layers[index]

    def __iter__(self) -> Iterator[Callable[[Array], Array]]:
        return iter(self.layers)

    def _children(self) -> Iterator[tuple[str, Module]]:
        for name, child in super()._children():
            yield name.removeprefix("layers."), child

    def _parts(self) -> Iterator[tuple[str, str]]:
        for i, layer in enumerate(self.layers):
            yield str(i), repr(layer) if isinstance(layer, Module) else function_name(layer)
        for name, child in super()._children():  # those of a subclass
            if not name.startswith("layers."):
                yield name, repr(child)


def function_name(function: Callable[..., object]) -> str:
    """What to call a function in text: ``relu``."""
    return getattr(function, "__name__", None) or getattr(function, "name", None) or type(function).__name__
