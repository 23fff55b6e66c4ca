"""What a derivative needs of a call, picked by name when the call is recorded; ``rule.py`` lists the names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

Environment = tuple[Any, ...]
"""The result, what was saved, and the positional arguments of a call."""

Options = Mapping[str, Any]
Picker = Callable[..., tuple[Any, ...]]
"""From an environment, and the options if it wants them, to the values of the needs, in their order."""

_FIRST = ("y", "saved")  # what stands before the arguments
_ATTRIBUTES = ("_shape", "_dtype", "_device")


def picker(needs: Sequence[str], defaults: Options, parameters: Sequence[str], position: int) -> tuple[Picker, bool]:
    """What picks the needs of a derivative, and whether it is to be given the options too.

    Args:
        needs: their names.
        defaults: those that the caller may leave out, and what they are then.
        parameters: the names of the function's positional parameters.
        position: the argument that the derivative is by.
    """
    places = [*_FIRST, *parameters]
    if any(_of_options(need, defaults, places) for need in needs):
        picks = [_of_call(need, defaults, places, position) for need in needs]
        return (lambda environment, options: tuple([pick(environment, options) for pick in picks])), True
    if not needs:
        return (lambda environment: ()), False
    if all(need in places for need in needs):
        first, *others = [places.index(need) for need in needs]
        return (itemgetter(first, *others) if others else itemgetter(slice(first, first + 1))), False
    of_arguments = [_of_arguments(need, places, position) for need in needs]
    if len(of_arguments) == 2:  # without a loop
        one, other = of_arguments
        return (lambda environment: (one(environment), other(environment))), False
    return (lambda environment: tuple([pick(environment) for pick in of_arguments])), False


def shape_of(position: int) -> Callable[[Environment], tuple[int, ...]]:
    """What picks the shape of an argument that is an array."""
    at = position + len(_FIRST)
    return lambda environment: environment[at].shape


def _of_options(need: str, defaults: Options, places: Sequence[str]) -> bool:
    known = need in places or need in ("position", "shapes") or need.endswith(_ATTRIBUTES)
    return need in defaults or not known


def _of_arguments(need: str, places: Sequence[str], position: int) -> Callable[[Environment], Any]:
    if need in places:
        return itemgetter(places.index(need))
    if need == "position":
        return lambda environment: position
    if need == "shapes":
        return lambda environment: tuple([a.shape for a in environment[len(_FIRST) :]])
    name, _, attribute = need.rpartition("_")
    at = places.index(name)
    return lambda environment: getattr(environment[at], attribute, ())  # a Python scalar has none


def _of_call(
    need: str, defaults: Options, places: Sequence[str], position: int
) -> Callable[[Environment, Options], Any]:
    if not _of_options(need, defaults, places):
        pick = _of_arguments(need, places, position)
        return lambda environment, options: pick(environment)
    if need not in defaults:
        return lambda environment, options: options[need]
    default = defaults[need]
    if need not in places:
        return lambda environment, options: options.get(need, default)
    at = places.index(need)
    return lambda environment, options: environment[at] if at < len(environment) else options.get(need, default)
