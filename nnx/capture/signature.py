"""What tells the calls of a step apart."""

from __future__ import annotations

from typing import Any

from nnx.backend import is_array

REMEMBERED = 1024
"""How many signatures are known by name."""


def remember(signatures: set[Any], signature: Any) -> None:
    """Keep a signature; where there are too many, forget the others."""
    if len(signatures) >= REMEMBERED:
        signatures.clear()
    signatures.add(signature)


def signature_of(x: Any) -> Any:
    """What is the same for all arguments that one recording can do for."""
    if isinstance(x, dict):
        return type(x), tuple((key, signature_of(item)) for key, item in x.items())
    if isinstance(x, (list, tuple)):
        return type(x), tuple(signature_of(item) for item in x)
    if is_array(x):
        return type(x), tuple(x.shape), str(x.dtype)
    if isinstance(x, (float, complex)):
        return type(x), repr(x)  # in which -0.0 is not 0.0, and NaN is NaN
    if isinstance(x, (bool, int, str, bytes, type(None))):
        return type(x), x
    if isinstance(x, slice):
        return slice, signature_of((x.start, x.stop, x.step))
    return type(x), id(x)
