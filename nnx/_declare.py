"""Declarations: which attributes of a class hold arrays, read off its annotations."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeAlias, get_args

if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations

    def _annotations(cls: type) -> Mapping[str, Any]:
        return get_annotations(cls, format=Format.STRING)
else:

    def _annotations(cls: type) -> Mapping[str, Any]:
        found: Mapping[str, Any] = cls.__dict__.get("__annotations__", {})
        return found


Parameter: TypeAlias = Annotated[Any, "parameter"]
"""Declares an attribute that holds an array to be trained: ``weight: nnx.Parameter``."""

Buffer: TypeAlias = Annotated[Any, "buffer"]
"""Declares an attribute that holds an array which is state but is not trained."""


class Declared(NamedTuple):
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]


_known: dict[type, Declared] = {}


def declared(cls: type) -> Declared:
    """The attributes that a class and its bases declare, in the order of declaration."""
    found = _known.get(cls)
    return _known.setdefault(cls, _read(cls)) if found is None else found


def _read(cls: type) -> Declared:
    kinds: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for name, annotation in _annotations(base).items():
            kind = _kind(annotation)
            if kind is not None:
                kinds[name] = kind
    return Declared(
        tuple(name for name, kind in kinds.items() if kind == "parameter"),
        tuple(name for name, kind in kinds.items() if kind == "buffer"),
    )


def _kind(annotation: Any) -> str | None:
    if isinstance(annotation, str):
        found = re.search(r"\b(Parameter|Buffer)\b", annotation)
        return found[1].lower() if found else None
    if annotation is Parameter:
        return "parameter"
    if annotation is Buffer:
        return "buffer"
    return next((kind for part in get_args(annotation) if (kind := _kind(part))), None)
