"""No room of the library names an array library or a plug-in, not even in a string.

import-linter checks the imports. What it cannot see is ``if backend.name == "torch"`` or an import
by name; either would be a branch on a library, which belongs to the library's plug-in.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nnx

ROOM = Path(nnx.__file__).parent
FILES = sorted(path for path in ROOM.rglob("*.py") if "interop" not in path.relative_to(ROOM).parts)
LIBRARIES = {"array_api_strict", "cupy", "cupyx", "jax", "numpy", "strict", "torch"}
PLUG_INS = {"nnx_cupy", "nnx_jax", "nnx_numpy", "nnx_strict", "nnx_torch"}


def named(source):
    """The libraries and plug-ins that a program names: in imports, and in strings that are nothing but a name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module)):
                found.add(module.partition(".")[0])
            case ast.Constant(value=str(text)):
                found.add(text.partition(".")[0].partition(":")[0])
    return found & (LIBRARIES | PLUG_INS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOM).as_posix())
def test_no_library_is_named(path):
    assert named(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy as np", {"numpy"}),
        ("def f():\n    from jax.nn import relu", {"jax"}),
        ("if backend.name == 'torch': pass", {"torch"}),
        ("importlib.import_module('cupy.cuda')", {"cupy"}),
        ("'''Works on torch and jax alike.'''", set()),
        ("import array_api_compat", set()),
    ],
)
def test_what_counts_as_naming(source, expected):
    assert named(source) == expected
