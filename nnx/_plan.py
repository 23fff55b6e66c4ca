"""Plans: where the arrays of a module stand, and how to copy it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nnx import tree
from nnx._declare import declared
from nnx._errors import StateError, UndeclaredStateError
from nnx._typing import Array
from nnx.backend import is_array

Place = tuple[dict[str, Any], str]
"""Where an array stands: the attributes of a module, and the name of one."""

_versions = itertools.count(1)
_version = 0
"""Changes whenever the structure of some module does, so that plans are known to be out of date."""


def structure_changed() -> None:
    """Say that some module's structure has changed."""
    global _version
    _version = next(_versions)


def modules_in(path: str, value: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """The modules in an attribute, which may be nested lists, tuples and dicts."""
    if isinstance(value, kind):
        yield path, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from modules_in(f"{path}.{i}", item, kind)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from modules_in(f"{path}.{key}", item, kind)


Build = Callable[[list[Any]], Any]


class Plan:
    """The structure of a module: walked once, and good until some module's structure changes.

    Args:
        root: the module.
        kind: the class of modules.

    Attributes:
        modules: path and module, this one first.
        trained, parameters, buffers, arrays: by name, the places of each array; the first gives the
            name. ``parameters`` has the frozen ones too, ``arrays`` everything.
        indices: by name, the places as an index into ``modules`` and an attribute.
        rebindable: the places of all declared buffers, held or not.
        fixed: whether nothing in it can change unseen, as a list can.
    """

    def __init__(self, root: Any, kind: type) -> None:
        self._kind = kind
        self._version = _version
        self._containers: list[tuple[Any, list[Any]]] = []
        self.modules: list[tuple[str, Any]] = []
        self._index: dict[int, int] = {}
        self._builders: list[list[tuple[str, Build]]] = []
        self._walk(root)
        self.fixed = not self._containers
        self.trained: dict[str, list[Place]] = {}
        self.parameters: dict[str, list[Place]] = {}
        self.buffers: dict[str, list[Place]] = {}
        self.arrays: dict[str, list[Place]] = {}
        self.indices: dict[str, list[tuple[int, str]]] = {}
        self.rebindable: list[tuple[int, str]] = []
        names: dict[int, str] = {}
        owners: dict[str, Any] = {}
        for i, (path, module) in enumerate(self.modules):
            kinds, state = declared(type(module)), module.__dict__
            self.rebindable.extend((i, attribute) for attribute in kinds.buffers)
            for attribute in (*kinds.parameters, *kinds.buffers):
                array = state.get(attribute)
                if array is None:
                    if is_array(vars(type(module)).get(attribute)):
                        raise UndeclaredStateError(
                            f"{type(module).__name__}.{attribute} is an array of the class, which all its modules "
                            f"would share: assign self.{attribute} in __init__"
                        )
                    continue
                name = f"{path}.{attribute}" if path else attribute
                if attribute in kinds.parameters:  # a buffer is rebound in its own place alone
                    name = names.setdefault(id(array), name)
                if owners.setdefault(name, array) is not array:
                    raise StateError(
                        f"two arrays are named {name!r}: keys of dicts of modules must differ as text, and have no "
                        "dots that make them look like paths"
                    )
                groups = [self.arrays]
                if attribute in kinds.buffers:
                    groups.append(self.buffers)
                else:
                    groups += [self.parameters] if attribute in module._frozen else [self.parameters, self.trained]
                for group in groups:
                    group.setdefault(name, []).append((state, attribute))
                self.indices.setdefault(name, []).append((i, attribute))

    def _walk(self, root: Any) -> None:
        stack = [("", root)]
        while stack:
            path, module = stack.pop()
            if id(module) in self._index:
                continue
            self._index[id(module)] = len(self.modules)
            self.modules.append((path, module))
            below = [(f"{path}.{name}" if path else name, child) for name, child in module._children()]
            stack.extend(reversed(below))
        for _, module in self.modules:
            found = [(name, self._builder(value)) for name, value in module.__dict__.items()]
            self._builders.append([(name, build) for name, build in found if build is not None])

    def _builder(self, value: Any) -> Build | None:
        """What makes the copy of an attribute that holds modules; ``None`` if it holds none."""
        if isinstance(value, self._kind):
            i = self._index[id(value)]
            return lambda twins: twins[i]
        if isinstance(value, dict):
            self._containers.append((value, [*value.keys(), *value.values()]))
            built = {key: self._builder(item) for key, item in value.items()}
            if not any(built.values()):
                return None
            return lambda twins: {key: b(twins) if b else value[key] for key, b in built.items()}
        if isinstance(value, (list, tuple)):
            if isinstance(value, list):
                self._containers.append((value, list(value)))
            parts = [self._builder(item) for item in value]
            if not any(parts):
                return None
            return lambda twins: tree.sequence(
                type(value), [b(twins) if b else item for b, item in zip(parts, value, strict=True)]
            )
        return None

    def holds(self) -> bool:
        """Whether the structure is as it was. Lists and dicts can change unseen, so they are compared."""
        return self._version == _version and self.containers_hold()

    def containers_hold(self) -> bool:
        """Whether lists and dicts hold what they did."""
        for container, before in self._containers:
            now = [*container.keys(), *container.values()] if isinstance(container, dict) else container
            if len(now) != len(before) or any(a is not b for a, b in zip(now, before, strict=True)):
                return False
        return True

    def copy(self, training: bool) -> list[Any]:
        """Shallow copies of all modules, which refer to one another as the originals do."""
        twins = []
        for _, module in self.modules:
            twin = object.__new__(type(module))
            state = twin.__dict__
            state.update(module.__dict__)
            state["training"] = training
            twins.append(twin)
        for twin, builders in zip(twins, self._builders, strict=True):
            for name, build in builders:
                twin.__dict__[name] = build(twins)
        return twins


def first_of(places: list[Place]) -> Array:
    """The array that stands in these places."""
    state, attribute = places[0]
    return state[attribute]


def pick(places: Mapping[str, list[Place]]) -> dict[str, Array]:
    """The arrays that stand in these places, by name."""
    return {name: found[0][0][found[0][1]] for name, found in places.items()}


def put(places: Mapping[str, list[Place]], arrays: Mapping[str, Array]) -> None:
    """Put arrays into all the places that bear their names."""
    for name, array in arrays.items():
        for state, attribute in places[name]:
            state[attribute] = array
