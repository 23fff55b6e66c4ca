"""What a step uses beside its arguments: the models and optimisers in what it closes over."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from nnx._typing import Array
from nnx.backend import is_array
from nnx.capture.names import home_of, in_class, is_installed, is_library, is_pythons, names_in, package_of, slots_of
from nnx.module import Module
from nnx.optim import LossScale, Optimizer
from nnx.tree import leaves

MANY = 1000
"""In longer lists are data."""

FEW = 64
"""The items of longer lists and dicts may be replaced without notice."""

_NUMBERS = (bool, int, float, complex)


class Link(NamedTuple):
    """Where something was found.

    Attributes:
        holder, name: ``holder[name]``, ``holder.name``, or the contents of the cell ``holder``.
        value: what was there.
        how: ``"item"``, ``"attribute"``, ``"cell"``, or ``"length"``, where ``value`` is that of ``holder``.
    """

    holder: Any
    name: Any
    value: Any
    how: str

    def get(self) -> Any:
        """What is there; ``None`` where there is nothing any more."""
        try:
            if self.how == "item":
                return self.holder[self.name]
            return getattr(self.holder, "cell_contents" if self.how == "cell" else self.name)
        except (LookupError, AttributeError, TypeError, ValueError):
            return None

    def put(self, value: Any) -> None:
        """Let ``value`` be there."""
        if self.how == "item":
            self.holder[self.name] = value
        else:
            setattr(self.holder, "cell_contents" if self.how == "cell" else self.name, value)


class Found:
    """The models and optimisers that can be reached from a function and its arguments.

    Closures, default values, the globals that a function of the user's names, ``functools.partial``, the objects of
    methods, schedules, the functions among the settings of models, and lists, tuples and dicts are looked into; of an
    object, the attributes that the functions name, and its methods and properties of these names; of a module or
    a class, numbers, arrays, models and functions of these names.

    Attributes:
        models, optimizers: each once; a loss scale counts as an optimiser.
        links: what would have to be looked into again, were it replaced.
        arrays: those that the step may use, as they are linked or cannot be replaced.
        containers: the lists and dicts.
    """

    def __init__(self, function: Callable[..., Any], arguments: Any) -> None:
        self.models: list[Module] = []
        self.optimizers: list[Optimizer | LossScale] = []
        self.links: list[Link] = []
        self.arrays: list[Array] = []
        self.containers: list[Any] = []
        self._names: set[str] = set()
        self._methods: set[str] = set()
        self._seen: set[int] = set()
        self._linked: set[tuple[int, Any]] = set()
        self._objects: list[Any] = []
        self._scopes: list[ModuleType | type] = []
        self._package = package_of(function)
        self._walk(function)
        self._walk(arguments, linked=False)  # they are compared by themselves
        known = -1
        while known != (
            known := len(self._names) + len(self._methods) + len(self._objects) + len(self._scopes) + len(self._seen)
        ):
            for thing in list(self._objects):
                self._attributes(thing)
            for scope in list(self._scopes):
                self._of_scope(scope)

    def clear_of(self, opened: Callable[[Any], tuple[bool, Any]]) -> list[str]:
        """Replace what should not be in the places that links lead to, and in containers; say where it was.

        ``opened`` answers whether something should not be there, and what should.
        """
        places: dict[tuple[int, Any], Link] = {(id(link.holder), link.name): link for link in self.links}
        for container in self.containers:
            for key in list(container) if isinstance(container, dict) else range(len(container)):
                places.setdefault((id(container), key), Link(container, key, None, "item"))
        strays = []
        for link in places.values():
            stray, value = opened(link.get())
            if stray:
                link.put(value)
                strays.append(f"{link.name!r}, which the step reaches,")
        return strays

    def _walk(self, x: Any, *, linked: bool = True) -> None:
        if is_array(x):
            if linked:
                self.arrays.append(x)
            return
        if isinstance(x, (str, bytes, type(None), *_NUMBERS)):
            return
        if id(x) in self._seen:
            return
        self._seen.add(id(x))
        if isinstance(x, (ModuleType, type)):
            if not self._is_other(x.__name__ if isinstance(x, ModuleType) else x.__module__):
                self._scopes.append(x)
        elif isinstance(x, Module):
            self.models.append(x)
            for _, module in x._planned().modules:
                self._settings(module)
        elif isinstance(x, Optimizer):
            self.optimizers.append(x)
            self._walk(x._model)
            self._walk(x._rate)
        elif isinstance(x, LossScale):
            self.optimizers.append(x)
        elif isinstance(x, FunctionType):
            self._function(x)
        elif isinstance(x, MethodType):
            self._walk(x.__func__)
            self._walk(x.__self__)
        elif isinstance(x, functools.partial):
            self._walk(x.func)
            self._walk(x.args)
            self._walk(x.keywords)
        elif isinstance(x, (list, tuple, set, frozenset, Mapping)):
            self._items(x, linked)
        elif hasattr(x, "__dict__") or slots_of(type(x)):
            self._walk(getattr(x, "__dict__", {}).get("__wrapped__"))
            if type(x).__module__ == "nnx.capture.captured":
                return  # another step; its counters are its own affair
            self._objects.append(x)
            if is_library(type(x).__module__):
                self.arrays += filter(is_array, leaves(list(getattr(x, "__dict__", {}).values())))
            else:
                self._walk(in_class(type(x), "__call__"))

    def _items(self, x: Any, linked: bool) -> None:
        if len(x) > MANY:
            return
        items = list(x.items()) if isinstance(x, Mapping) else list(enumerate(x))
        if not isinstance(x, (list, dict)) or not linked:
            for _, item in items:
                self._walk(item, linked=linked)
            return
        self.containers.append(x)
        for key, item in items:
            if len(x) <= FEW:
                self._link(x, key, item, "item")
            elif not is_array(item):
                self._walk(item)
        if any(isinstance(item, (Module, Optimizer)) or callable(item) for _, item in items):
            self.links.append(Link(x, "__len__", len(x), "length"))

    def _settings(self, module: Module) -> None:
        """The functions that a model calls: its own, and those it was given. What it holds is compared elsewhere."""
        if not is_library(type(module).__module__):
            self._objects.append(module)
            self._walk(in_class(type(module), "__call__"))
        for value in vars(module).values():
            for item in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(item, Module) or is_array(item) or is_library(home_of(item)):
                    continue  # its arrays have places
                if hasattr(item, "__dict__"):
                    self._walk(item)

    def _function(self, function: FunctionType) -> None:
        library = is_library(home_of(function)) or is_pythons(home_of(function))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # it has none yet
                continue
            if library:
                self._walk(value)
            else:
                self._link(cell, name, value, "cell")
        self._walk(function.__defaults__)
        self._walk(function.__kwdefaults__)
        if library:
            return
        names, attributes, methods = names_in(function.__code__)
        self._names |= attributes
        for variable, name in methods:  # nnx.losses says nothing of the methods of other objects
            if not isinstance(function.__globals__.get(variable), ModuleType):
                self._methods.add(name)
        for name in sorted(names & function.__globals__.keys()):
            self._link(function.__globals__, name, function.__globals__[name], "item")

    def _attributes(self, thing: Any) -> None:
        own = getattr(thing, "__dict__", {})
        if not isinstance(thing, Module):  # whose settings are compared
            for name in sorted(self._names & own.keys()):
                self._link(own, name, own[name], "item")
        if self._is_other(type(thing).__module__):
            return
        for name in sorted(self._names - own.keys()):
            value = in_class(type(thing), name)
            if isinstance(value, (staticmethod, classmethod)):
                value = value.__func__
            if isinstance(value, (property, FunctionType)):
                if name in self._methods:
                    self._walk(value.fget if isinstance(value, property) else value)
            elif isinstance(value, _NUMBERS) or (name in slots_of(type(thing)) and hasattr(thing, name)):
                self._link(thing, name, getattr(thing, name), "attribute")

    def _of_scope(self, scope: ModuleType | type) -> None:
        for name in sorted(self._names & vars(scope).keys()):
            value = vars(scope)[name]
            own = isinstance(value, FunctionType) and value.__globals__ is vars(scope)
            if own or isinstance(value, (*_NUMBERS, Module, Optimizer)) or is_array(value):
                self._link(scope, name, value, "attribute")

    def _is_other(self, module: str) -> bool:
        """Whether a module is of a package that the step has nothing to do with but to call it."""
        return (
            is_library(module)
            or is_pythons(module)
            or (is_installed(module) and module.partition(".")[0] != self._package)
        )

    def _link(self, holder: Any, name: Any, value: Any, how: str) -> None:
        if (id(holder), name) in self._linked:
            return
        self._linked.add((id(holder), name))
        if not isinstance(value, (type, ModuleType, BuiltinFunctionType)):
            self.links.append(Link(holder, name, value, how))
        self._walk(value)
