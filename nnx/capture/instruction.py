"""What is written down of a step: calls, and the arrays in their arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from nnx._errors import NnxError
from nnx.backend import is_array


class Unrecordable(NnxError):
    """A step cannot be recorded; ``later``: yet, but after a plain step it can."""

    def __init__(self, what: str, *, later: bool = False) -> None:
        super().__init__(what)
        self.later = later


class Ref(NamedTuple):
    """Stands for an array in the arguments and results of an instruction."""

    slot: int


class Instruction(NamedTuple):
    """A call.

    Attributes:
        form: ``"call"``, or how it is written: ``"operator"``, ``"item"``, ``"assignment"``, ``"attribute"``.
        function, args, options: what was called; the arrays in the arguments are refs.
        result: refs in tuples and lists; ``None`` for what is no array, or is an argument.
        pure: it may be left out where nobody uses its result.
        fresh: its result shares no memory with an argument.
        changes: it changes an argument.
        like: the values of its first argument do not matter.
    """

    form: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]
    result: Any
    pure: bool
    fresh: bool
    changes: bool
    like: bool


def arrays_in(x: Any) -> Iterator[Any]:
    """The arrays in nested lists, tuples, dicts and slices."""
    if isinstance(x, (list, tuple)):
        for item in x:
            yield from arrays_in(item)
    elif isinstance(x, dict):
        yield from arrays_in(tuple(x.values()))
    elif isinstance(x, slice):
        yield from arrays_in((x.start, x.stop, x.step))
    elif is_array(x):
        yield x


def caller() -> str:
    """Where the program that uses the library is."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        room = frame.f_globals.get("__name__", "").partition(".")[0]
        if not (room == "nnx" or room.startswith("nnx_") or room == "array_api_compat"):
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
