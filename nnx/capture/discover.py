"""What a step uses beside its arguments: the models and optimisers in what it closes over."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from nnx.backend import is_array
from nnx.module import Module
from nnx.optim import Optimizer

MANY = 1000
"""In longer lists are data."""


class Link(NamedTuple):
    """Where something was found: ``holder[name]``, or the contents of the cell ``holder``."""

    holder: Any
    name: str | None
    value: Any


class Found:
    """The models and optimisers that can be reached from a function and its arguments.

    Closures, default values, the globals that a function of the user's names, ``functools.partial``, the objects of
    methods, and lists, tuples and dicts are looked into; of an object, the attributes that the functions name.

    Attributes:
        models, optimizers: each once.
        links: what would have to be looked into again, were it replaced.
    """

    def __init__(self, function: Callable[..., Any], arguments: Any) -> None:
        self.models: list[Module] = []
        self.optimizers: list[Optimizer] = []
        self.links: list[Link] = []
        self._names: set[str] = set()
        self._seen: set[int] = set()
        self._objects: list[Any] = []
        self._walk(function)
        self._walk(arguments)
        for thing in self._objects:  # grows meanwhile
            self._attributes(thing)

    def _walk(self, x: Any) -> None:
        if isinstance(x, (str, bytes, int, float, complex, type, ModuleType, type(None))) or is_array(x):
            return
        if id(x) in self._seen:
            return
        self._seen.add(id(x))
        if isinstance(x, Module):
            self.models.append(x)
        elif isinstance(x, Optimizer):
            self.optimizers.append(x)
            self._walk(x._model)
        elif isinstance(x, FunctionType):
            self._function(x)
        elif isinstance(x, MethodType):
            self._walk(x.__func__)
            self._walk(x.__self__)
        elif isinstance(x, functools.partial):
            self._walk([x.func, x.args, x.keywords])
        elif isinstance(x, (list, tuple, set, frozenset, Mapping)):
            for item in (x.values() if isinstance(x, Mapping) else x) if len(x) <= MANY else ():
                self._walk(item)
        elif hasattr(x, "__dict__"):
            self._objects.append(x)
            self._walk(vars(x).get("__wrapped__"))
            if not is_library(type(x).__module__):
                self._walk(vars(type(x)).get("__call__"))

    def _function(self, function: FunctionType) -> None:
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # it has none yet
                continue
            self._link(cell, None, value)
        self._walk(function.__defaults__)
        self._walk(function.__kwdefaults__)
        if is_library(function.__globals__.get("__name__", "")):
            return
        names, attributes = _names(function.__code__)
        self._names |= attributes
        for name in sorted(names & function.__globals__.keys()):
            self._link(function.__globals__, name, function.__globals__[name])

    def _attributes(self, thing: Any) -> None:
        for name in sorted(self._names & vars(thing).keys()):
            self._link(vars(thing), name, vars(thing)[name])

    def _link(self, holder: dict[str, Any] | CellType, name: str | None, value: Any) -> None:
        if not isinstance(value, (type, ModuleType, BuiltinFunctionType)):
            self.links.append(Link(holder, name, value))
        self._walk(value)


def is_library(module: str) -> bool:
    """Whether a module of that name is part of the library."""
    return module == "nnx" or module.startswith("nnx.")


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """The globals and the attributes that a function names."""
    import dis  # 10 ms that only those who capture need

    names, attributes = set(), set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(instruction.argval)
        elif instruction.opname.startswith(("LOAD_ATTR", "LOAD_METHOD")):
            attributes.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            for found, more in zip((names, attributes), _names(constant), strict=True):
                found |= more
    return names, attributes
