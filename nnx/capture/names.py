"""What functions and classes name, and where they are from."""

from __future__ import annotations

import functools
import sys
from types import CodeType, FunctionType
from typing import Any


def is_library(module: str) -> bool:
    """Whether a module of that name is part of the library."""
    return module == "nnx" or module.startswith("nnx.")


def is_pythons(module: str) -> bool:
    """Whether it is of the standard library, in which nobody keeps models."""
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names and top != "__main__"


def is_installed(module: str) -> bool:
    """Whether it is of a package that was installed, and not of the user's own files."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def home_of(function: Any) -> str:
    """The module that a function, or the class of an object, is of."""
    if isinstance(function, FunctionType):
        return str(function.__globals__.get("__name__", ""))
    return type(function).__module__


def package_of(function: Any) -> str:
    """The package that a step is of."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__module__", None) or type(function).__module__).partition(".")[0]


def in_class(kind: type, name: str) -> Any:
    """What a class, or one that it is derived from, has under a name; not what an object would answer."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


def slots_of(kind: type) -> set[str]:
    """The attributes of objects of a class that are in no dict."""
    found: set[str] = set()
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        found.update([slots] if isinstance(slots, str) else slots)
    return found


@functools.lru_cache(256)
def names_in(code: CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[tuple[str, str]]]:
    """The globals and the attributes that a function names; and the attributes of variables, with these.

    The variables are globals, and ``""`` for others.
    """
    import dis  # 10 ms that only those who capture need

    names: set[str] = set()
    attributes: set[str] = set()
    methods: set[tuple[str, str]] = set()
    before = ("", "")
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(instruction.argval)
        elif instruction.opname.startswith(("LOAD_ATTR", "LOAD_METHOD")):
            attributes.add(instruction.argval)
            if before[0].startswith(("LOAD_FAST", "LOAD_DEREF")):
                methods.add(("", instruction.argval))
            elif before[0] in ("LOAD_GLOBAL", "LOAD_NAME"):
                methods.add((before[1], instruction.argval))
        before = (instruction.opname, instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            more = names_in(constant)
            names |= more[0]
            attributes |= more[1]
            methods |= more[2]
    return frozenset(names), frozenset(attributes), frozenset(methods)
