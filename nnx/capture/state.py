"""The arrays that models and optimisers hold, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from nnx._typing import Array, Tree
from nnx.backend import Library, is_array
from nnx.capture.discover import Found
from nnx.module import Module
from nnx.optim import Optimizer
from nnx.tree import leaves, map_leaves


class Place(NamedTuple):
    """``owner[key]`` or, for an attribute that is in no dict, ``owner.key``; an array, or a sequence of arrays."""

    owner: Any
    key: Any
    of_model: bool

    def get(self) -> Any:
        """What stands there."""
        return self.owner[self.key] if isinstance(self.owner, dict) else getattr(self.owner, self.key)

    def put(self, value: Any) -> None:
        """Let ``value`` stand there."""
        if isinstance(self.owner, dict):
            self.owner[self.key] = value
        else:
            setattr(self.owner, self.key, value)


class Setting(NamedTuple):
    """What a step takes for granted: that ``owner[key]`` is ``value``."""

    owner: dict[str, Any]
    key: str
    value: Any


class State:
    """The places of all arrays of the models and optimisers that were found, and what else they hold.

    Attributes:
        places: where arrays stand.
        namespaces: where namespaces stand.
        settings: what is neither.
    """

    def __init__(self, found: Found) -> None:
        self._found = found
        self.places: list[Place] = []
        self.namespaces: list[Place] = []
        self.settings: list[Setting] = []
        self._seen: set[int] = set()
        for model in found.models:
            self._model(model)
        for optimizer in found.optimizers:
            self._object(optimizer, settings=True)
        self.structures = [structure_of(model) for model in found.models]

    def _model(self, model: Module) -> None:
        plan = model._planned()
        taken = set()
        for standing in plan.arrays.values():
            for owner, key in standing:
                if (id(owner), key) not in taken and id(owner) not in self._seen:
                    taken.add((id(owner), key))
                    self.places.append(Place(owner, key, of_model=True))
        for _, module in plan.modules:
            owner = vars(module)
            if id(owner) in self._seen:
                continue
            self._seen.add(id(owner))
            for key, value in owner.items():
                if (id(owner), key) not in taken and not isinstance(value, Module):
                    self.settings.append(Setting(owner, key, value))

    def _object(self, thing: Any, *, settings: bool = False) -> None:
        if id(thing) in self._seen:
            return
        self._seen.add(id(thing))
        for owner, key, value in _attributes(thing):
            if _is_state(value):
                self.places.append(Place(owner, key, of_model=False))
                continue
            if settings:
                self.settings.append(Setting(owner, key, value))
            if _is_namespace(value):
                self.namespaces.append(Place(owner, key, of_model=False))
                continue
            for item in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(item, dict) or _is_part(item):
                    self._object(item)

    def clear_of(self, opened: Callable[[Any], tuple[bool, Any]]) -> list[str]:
        """Replace what should not be in models and optimisers by what ``opened`` answers; say where it was.

        ``opened`` answers whether something should not be there, and what should.
        """
        found = []
        owners = [(name, vars(module)) for model in self._found.models for name, module in model._planned().modules]
        owners += [(type(optimizer).__name__, vars(optimizer)) for optimizer in self._found.optimizers]
        for name, owner in owners:
            for key, value in list(owner.items()):
                strays = [stray for stray, _ in map(opened, leaves(value)) if stray]
                if strays:
                    owner[key] = map_leaves(lambda x: opened(x)[1], value)
                    found.append(f"{name}.{key}".lstrip("."))
        return found


class Snapshot:
    """What a state was: which arrays, and their values; and the values of the arrays in ``arguments``."""

    def __init__(self, state: State, library: Library, arguments: Tree = None) -> None:
        self._placed = [(place, place.get()) for place in state.places]
        self._settings = list(state.settings)
        held: dict[int, Array] = {}
        if library.backend is None or library.backend.views:  # or no array changes
            arrays = [a for a in leaves([arguments, *[value for _, value in self._placed]]) if is_array(a)]
            held = {id(a): a for a in arrays if hasattr(a, "__setitem__")}
        self._copies = [(array, library.namespace.asarray(array, copy=True)) for array in held.values()]

    def restore(self) -> None:
        """Make all as it was."""
        for owner, key, value in self._settings:
            owner[key] = value
        for place, value in self._placed:
            place.put(value)
        for array, copy in self._copies:
            if getattr(getattr(array, "flags", None), "writeable", True):
                array[...] = copy


def structure_of(model: Module) -> tuple[Any, ...]:
    """What must stay the same of a model: its modules, the names of its arrays, and which of them are trained."""
    plan = model._planned()
    return (
        [id(module) for _, module in plan.modules],
        list(plan.trained),
        {name: [(id(owner), key) for owner, key in standing] for name, standing in plan.arrays.items()},
    )


def _attributes(thing: Any) -> Iterator[tuple[Any, Any, Any]]:
    if isinstance(thing, dict):
        for key, value in thing.items():
            yield thing, key, value
        return
    for key, value in getattr(thing, "__dict__", {}).items():
        yield thing.__dict__, key, value
    for kind in type(thing).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if not name.startswith("__") and hasattr(thing, name):
                yield thing, name, getattr(thing, name)


def _is_state(value: Any) -> bool:
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return bool(value) and all(map(_is_state, value))
    return is_array(value)


def _is_namespace(value: Any) -> bool:
    return hasattr(value, "__array_api_version__") and hasattr(value, "matmul")


def _is_part(value: Any) -> bool:
    """Whether an optimiser's arrays may be in it."""
    own = type(value).__module__.partition(".")[0] not in ("builtins", "types", "functools")
    known = isinstance(value, (Module, Optimizer, type)) or callable(value)
    return own and not known and (hasattr(value, "__dict__") or hasattr(type(value), "__slots__"))
