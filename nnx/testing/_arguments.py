"""The arguments of a call, taken apart into the arrays that can be differentiated by."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from nnx import tree
from nnx._errors import ArgumentError
from nnx._trace import companion
from nnx._typing import Array, Namespace
from nnx.backend import Device, asarray, dtype_kind, is_array, is_float, namespace_of
from nnx.random import Generator
from nnx.tape.tracked import Tracked

Build = Callable[[Sequence[Array], bool], Any]


class Arguments:
    """The arguments of ``f``, on a device.

    Models are copied, so that a call changes none that the caller holds.

    Attributes:
        names: of each array of floats in the arguments, parameters of models among them: where it is.
        leaves: these arrays.
    """

    def __init__(self, f: Callable[..., Any], args: Sequence[Any], device: Device | None) -> None:
        self.names: list[str] = []
        self.leaves: list[Array] = []
        self._device = device
        if hasattr(f, "_twin"):
            self._function: Callable[..., Any] = _call_model
            args, names = (f, *args), ["the model", *_parameters(f, len(args))]
        else:
            self._function, names = f, _parameters(f, len(args))
        self._builds = [self._take(x, name) for x, name in zip(args, names, strict=True)]
        if not self.leaves:
            raise ArgumentError("there is nothing to differentiate by: expected an array of floats, or a model")

    def call(self, leaves: Sequence[Array], *, training: bool) -> Any:
        """Answer ``f`` of these arrays in place of :attr:`leaves`, with its models in that mode."""
        return self._function(*(build(leaves, training) for build in self._builds))

    def _take(self, x: Any, name: str) -> Build:
        """What makes ``x`` again from the leaves."""
        if hasattr(x, "_twin"):
            return self._take_model(x, name)
        if isinstance(x, dict):
            builds = {key: self._take(item, f"{name}[{key!r}]") for key, item in x.items()}
            return lambda leaves, training: {key: build(leaves, training) for key, build in builds.items()}
        if isinstance(x, (list, tuple)):
            items = [self._take(item, f"{name}[{i}]") for i, item in enumerate(x)]
            return lambda leaves, training: tree.sequence(type(x), [build(leaves, training) for build in items])
        if not is_array(x):
            return lambda leaves, training: x
        if self._device is not None:
            x = asarray(x, device=self._device)
        if not is_float(namespace_of(x), x.dtype):
            return lambda leaves, training: companion(x, _namespace(leaves[0]))
        place = self._leaf(x, name)
        return lambda leaves, training: leaves[place]

    def _take_model(self, model: Any, name: str) -> Build:
        copy = model._twin(False, {})[0]
        if self._device is not None:
            copy.to(self._device)
        places = {path: self._leaf(array, f"{path} of {name}") for path, array in copy.parameters().items()}

        def build(leaves: Sequence[Array], training: bool) -> Any:
            stand_ins = {path: companion(array, _namespace(leaves[0])) for path, array in copy.arrays().items()}
            return copy._twin(training, stand_ins | {path: leaves[place] for path, place in places.items()})[0]

        return build

    def _leaf(self, x: Array, name: str) -> int:
        self.names.append(name)
        self.leaves.append(x)
        return len(self.leaves) - 1


def draw(rng: Generator, like: Array, place: Device) -> Array:
    """Normal numbers of the shape and dtype of ``like``, real or complex."""
    xp, shape = namespace_of(like), tuple(like.shape)
    host, names = rng.normal(shape), ("float32", "float64")
    if dtype_kind(xp, like.dtype) == "complex floating":
        host, names = host + 1j * rng.normal(shape), ("complex64", "complex128")
    return asarray(host, device=place, dtype=names[like.dtype != getattr(xp, names[0])])


def _call_model(model: Any, *args: Any) -> Any:
    return model(*args)


def _parameters(f: Callable[..., Any], count: int) -> list[str]:
    """What to call the positional arguments of ``f``."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):  # a built-in function
        parameters = []
    names = [f"argument {p.name!r}" for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [*names, *(f"argument {i}" for i in range(len(names), count))][:count]


def _namespace(leaf: Array) -> Namespace | None:
    return leaf.xp if type(leaf) is Tracked else None
