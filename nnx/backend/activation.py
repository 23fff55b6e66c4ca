"""The current device of libraries that have one.

CUDA computes where it was last told to, and not where the arrays lie. A backend of such a library has ``activate``,
and what computes on raw arrays asks here: the differentiations, the optimisers, the training loop, the forwards of
ops. While no such library has been used, the question is whether a dict is empty.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

from nnx.backend.library import activators, wrappers

P = ParamSpec("P")
T = TypeVar("T")
Context = AbstractContextManager[Any]

NOTHING: Context = nullcontext()
"""Does nothing; it may be entered many times at once."""


def due(values: Sequence[Any]) -> Context | None:
    """What makes the device of the first array current; ``None`` if it is, or if there is none that has to be.

    Arrays are looked for in lists, tuples and dicts too, and where there are none in models.
    """
    for value in values:
        kind = type(value)
        activate = activators.get(kind)
        if activate is not None:
            return activate(value)
        if kind in wrappers:
            return due((wrappers[kind](value)[1],))
        if kind is list or kind is tuple:
            inner = due(value)
        elif kind is dict:
            inner = due(tuple(value.values()))
        else:
            continue
        if inner is not None:
            return inner
    for value in values:
        if hasattr(value, "_twin"):
            return due(tuple(value.arrays().values()))
    return None


def activation(*values: Any) -> Context:
    """A context in which the device of the first array among ``values`` is current."""
    return (due(values) if activators else None) or NOTHING


def activating(function: Callable[P, T]) -> Callable[P, T]:
    """Make ``function`` compute on the device of its first array."""

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        if activators and (context := due((*args, *options.values()))) is not None:
            with context:
                return function(*args, **options)
        return function(*args, **options)

    return call
