"""Every public name is exported, once, and exists."""

from __future__ import annotations

import importlib
import pkgutil
import types
from collections import Counter

import pytest

import nnx

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(nnx.__path__, "nnx.") if not module.name.endswith("__main__")
)
LISTS = ["nnx", *(name for name in MODULES if hasattr(importlib.import_module(name), "__all__"))]


def public(name):
    """The names that ``from <module> import *`` brings, with what they stand for."""
    module = importlib.import_module(name)
    return {exported: getattr(module, exported) for exported in module.__all__}


@pytest.mark.parametrize("name", LISTS)
def test_exported_names_exist_and_are_listed_once(name):
    module = importlib.import_module(name)
    counts = Counter(module.__all__)

    assert [exported for exported, count in counts.items() if count > 1] == []
    assert [exported for exported in counts if not hasattr(module, exported)] == []


@pytest.mark.parametrize("name", LISTS)
def test_no_object_is_exported_under_two_names_of_one_module(name):
    counts = Counter(id(value) for value in public(name).values() if callable(value))

    assert [exported for exported, value in public(name).items() if counts[id(value)] > 1] == []


def test_no_public_name_of_the_library_is_left_out():
    names = {name for name in vars(nnx) if not name.startswith("_")}
    rooms = {
        name
        for name in names
        if isinstance(value := getattr(nnx, name), types.ModuleType) and value.__name__ == f"nnx.{name}"
    }
    futures = {name for name in names if type(getattr(nnx, name)).__module__ == "__future__"}

    assert names - rooms - futures - set(nnx.__all__) == set()


def test_exported_rooms_are_rooms_of_the_library():
    rooms = {name: value for name, value in public("nnx").items() if isinstance(value, types.ModuleType)}

    assert [name for name, room in rooms.items() if not room.__name__.startswith("nnx.")] == []


def test_every_exception_is_public():
    errors = {
        name
        for name, value in vars(importlib.import_module("nnx._errors")).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }

    assert errors
    assert errors <= set(nnx.__all__)
