"""Watching the layers of a model: what each of them gets and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnx._typing import Array, Tree
from nnx.layers.sequential import Sequential
from nnx.module import Module

Tell = Callable[[str, Callable[..., Any], Array, Tree], None]
"""``(path, layer, x, y)``: a module, or a function that stands in a Sequential, answered ``y`` to ``x``."""


def watch(twin: Module, tell: Tell) -> None:
    """Have each layer of a model tell when it has answered, and the plain functions in a Sequential too.

    Args:
        twin: a copy of a model that nobody else holds, such as ``model._twin(...)`` makes; its modules get other
            classes.
        tell: is called after each layer, in the order in which they answer.
    """
    for name, module in twin.modules().items():
        if isinstance(module, Sequential):
            layers = [
                layer if isinstance(layer, Module) else _watched_function(f"{name}.{i}".lstrip("."), layer, tell)
                for i, layer in enumerate(module.layers)
            ]
            object.__setattr__(module, "layers", tuple(layers))
        else:
            _watch_module(name or "(model)", module, tell)


def _watch_module(name: str, module: Module, tell: Tell) -> None:
    kind = type(module)

    def call(self: Any, x: Array, *args: Any, **options: Any) -> Tree:
        y = kind.__call__(self, x, *args, **options)
        tell(name, self, x, y)
        return y

    module.__class__ = type(kind.__name__, (kind,), {"__call__": call, "__slots__": ()})


def _watched_function(name: str, function: Callable[[Array], Array], tell: Tell) -> Callable[[Array], Array]:
    def call(x: Array) -> Array:
        y = function(x)
        tell(name, function, x, y)
        return y

    return call
