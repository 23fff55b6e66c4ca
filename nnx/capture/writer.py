"""Python source of calls, and what it names."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nnx._typing import Array
from nnx.capture.instruction import Instruction, Ref
from nnx.capture.state import Place

_BINARY: dict[Callable[..., Any], str] = {
    operator.add: "+", operator.sub: "-", operator.mul: "*", operator.truediv: "/", operator.floordiv: "//",
    operator.mod: "%", operator.pow: "**", operator.matmul: "@", operator.and_: "&", operator.or_: "|",
    operator.xor: "^", operator.lshift: "<<", operator.rshift: ">>", operator.lt: "<", operator.le: "<=",
    operator.gt: ">", operator.ge: ">=", operator.eq: "==", operator.ne: "!=",
}  # fmt: skip


class Writer:
    """Writes expressions, and keeps what they name."""

    def __init__(self, constants: Mapping[int, Array]) -> None:
        self.names: dict[str, Any] = {}
        self.lines: list[str] = []
        self.constants = constants
        self._by_id: dict[int, str] = {}
        self._temporary = 0

    def line(self, text: str, depth: int = 1) -> None:
        """Add a line."""
        self.lines.append("    " * depth + text)

    def leave_if(self, conditions: Sequence[str], answer: Any, depth: int = 1) -> None:
        """Add a line that answers something else if one of some conditions holds."""
        if conditions:
            self.line(f"if {' or '.join(conditions)}: return {self.name(answer)}", depth)

    def new_name(self) -> str:
        """A variable that nothing else is called."""
        self._temporary += 1
        return f"t{self._temporary}"

    def name(self, x: Any) -> str:
        """The name of an object that stays the same."""
        if id(x) not in self._by_id:
            name = self._by_id[id(x)] = f"c{len(self.names)}"
            self.names[name] = x
        return self._by_id[id(x)]

    def expression(self, x: Any) -> str:
        """What makes ``x``, with the variables of its refs."""
        if isinstance(x, Ref):
            return self.name(self.constants[x.slot]) if x.slot in self.constants else f"v{x.slot}"
        if x is None or type(x) in (bool, int, str) or (type(x) is float and math.isfinite(x)):
            return f"({x!r})" if type(x) in (int, float) else repr(x)
        if type(x) in (tuple, slice) and not list(refs(x)) and not _mutable(x):
            return self.name(x)
        if type(x) is tuple:
            return "(" + "".join(self.expression(item) + ", " for item in x) + ")"
        if isinstance(x, tuple):
            items = ", ".join(map(self.expression, x))
            return f"{self.name(type(x))}({items})" if hasattr(x, "_fields") else f"{self.name(type(x))}([{items}])"
        if isinstance(x, list):
            return "[" + ", ".join(map(self.expression, x)) + "]"
        if type(x) is dict:
            return "{" + ", ".join(f"{self.expression(key)}: {self.expression(item)}" for key, item in x.items()) + "}"
        if type(x) is slice:
            return f"slice({', '.join(map(self.expression, (x.start, x.stop, x.step)))})"
        return self.name(x)

    def place(self, place: Place) -> str:
        """What stands in a place, or is assigned to it."""
        owner = self.name(place.owner)
        return f"{owner}[{self.expression(place.key)}]" if isinstance(place.owner, dict) else f"{owner}.{place.key}"

    def statement(self, instruction: Instruction) -> str:
        """An instruction."""
        form, function, args, options, result = instruction[:5]
        x = [self.expression(a) for a in args]
        if form == "assignment":
            return f"{x[0]}[{x[1]}] = {x[2]}"
        if form == "operator" and function in _BINARY:
            call = f"{x[0]} {_BINARY[function]} {x[1]}"
        elif form == "item":
            call = f"{x[0]}[{x[1]}]"
        elif form == "attribute":
            call = f"{x[0]}.{args[1]}"
        else:
            x += [f"{key}={self.expression(value)}" for key, value in options.items()]
            call = f"{self.name(function)}({', '.join(x)})"
        target = _target(result)
        return f"{target} = {call}" if target else call


def _target(result: Any) -> str:
    if isinstance(result, Ref):
        return f"v{result.slot}"
    if result is None or not list(refs(result)):
        return ""
    return "(" + "".join((_target(item) or "_") + ", " for item in result) + ")"


def refs(x: Any) -> Iterator[int]:
    """The slots of the refs in nested lists, tuples, dicts and slices."""
    if isinstance(x, Ref):
        yield x.slot
    elif isinstance(x, (list, tuple)):
        for item in x:
            yield from refs(item)
    elif isinstance(x, dict):
        yield from refs(tuple(x.values()))
    elif isinstance(x, slice):
        yield from refs((x.start, x.stop, x.step))


def _mutable(x: Any) -> bool:
    items = (x.start, x.stop, x.step) if isinstance(x, slice) else x
    return any(isinstance(item, (list, dict)) or (isinstance(item, tuple) and _mutable(item)) for item in items)
