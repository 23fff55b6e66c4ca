"""Short cuts for the commonest calls: one array or two, of one differentiation and one dtype, and no options.

They do what :meth:`Primitive.__call__` does, without its loops, at half its cost, which on small arrays is most
of what an operation takes. Whatever else they are given they leave to it, and so is what fails, for a better message.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from nnx._typing import Namespace
from nnx.tape.needs import Picker
from nnx.tape.node import Node
from nnx.tape.observe import observers, tell_recorded
from nnx.tape.primitive import Primitive, comparable
from nnx.tape.rule import Derivative
from nnx.tape.tracked import Tracked

Edge = tuple[Node, Derivative, tuple[Any, ...]]
"""See :class:`nnx.tape.node.Node`."""

_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "divide": operator.truediv,
    "matmul": operator.matmul,
    "multiply": operator.mul,
    "negative": operator.neg,
    "pow": operator.pow,
    "subtract": operator.sub,
}
"""What computes the same as the function of that name; on NumPy's scalars in a tenth of the time."""


def shortcut(primitive: Primitive, raw: Namespace) -> Callable[..., Any]:
    """What calls ``primitive``, by a short cut if there is one; its attribute ``primitive`` is then the long way.

    Args:
        primitive: a function of the standard.
        raw: the namespace of the arrays beneath.
    """
    rule = primitive.rule
    if type(primitive) is not Primitive or rule is None:
        return primitive
    found = [rule.derivative(position) for position in range(len(rule.parameters))]
    if any(way is None or way[2] for way in found):  # a derivative is missing, or asks for options
        return primitive
    if len(found) == 1:
        call = _of_one(primitive, raw)
    elif len(found) == 2 and rule.promotes:
        call = _of_two(primitive, raw)
    else:
        return primitive
    call.primitive = primitive  # type: ignore[attr-defined]
    return call


def _of_one(primitive: Primitive, raw: Namespace) -> Callable[..., Any]:
    compute = _OPERATORS.get(primitive.name, primitive.forward)
    derivative, pick, _ = primitive.rule.derivative(0)  # type: ignore[union-attr, misc]

    def call(x: Any, /, *more: Any, **options: Any) -> Any:
        if type(x) is not Tracked or more or options:
            return primitive(x, *more, **options)
        value, node = x.value, x.node
        level = node.level
        if not level or type(value) is Tracked:
            return primitive(x)
        y = compute(value)
        result = Tracked(y, x.xp, Node(level, raw, ((node, derivative, pick((y, None, value))),)))
        if observers:
            tell_recorded(primitive, result)
        return result

    return call


def _of_two(primitive: Primitive, raw: Namespace) -> Callable[..., Any]:
    compute = _OPERATORS.get(primitive.name, primitive.forward)
    summed = *_way(primitive, 0, whole=False), *_way(primitive, 1, whole=False)
    whole = *_way(primitive, 0, whole=True), *_way(primitive, 1, whole=True)

    def call(x1: Any, x2: Any, /, *more: Any, **options: Any) -> Any:
        value1, level1, value2, level2 = x1, 0, x2, 0
        if type(x1) is Tracked:
            value1, node1, xp = x1.value, x1.node, x1.xp
            level1 = node1.level
        if type(x2) is Tracked:
            value2, node2, xp = x2.value, x2.node, x2.xp
            level2 = node2.level
        level = level1 or level2
        kind = type(value1)
        # one type of raw arrays is by far the commonest, and spared the look-up
        arrays = True if kind is type(value2) and kind is not Tracked else comparable.get((kind, type(value2)))
        if not level or arrays is None or (level2 and level2 != level) or more or options:
            return primitive(x1, x2, *more, **options)
        if arrays and value1.dtype != value2.dtype:
            return primitive(x1, x2)
        try:
            y = compute(value1, value2)
        except Exception:
            return primitive(x1, x2)  # which fails too, and may know why
        ways = whole if not arrays or value1.shape == value2.shape else summed
        derivative1, pick1, derivative2, pick2 = ways
        environment = y, None, value1, value2
        if not level2:
            edges: tuple[Edge, ...] = ((node1, derivative1, pick1(environment)),)
        elif not level1:
            edges = ((node2, derivative2, pick2(environment)),)
        else:
            edges = (node1, derivative1, pick1(environment)), (node2, derivative2, pick2(environment))
        result = Tracked(y, xp, Node(level, raw, edges))
        if observers:
            tell_recorded(primitive, result)
        return result

    return call


def _way(primitive: Primitive, position: int, *, whole: bool) -> tuple[Derivative, Picker]:
    """The derivative by an argument, and what picks its needs; ``whole``: for arguments of one shape."""
    rule = primitive.rule
    derivative, pick, _ = rule.derivative(position)  # type: ignore[union-attr, misc]
    if whole and derivative.whole is not derivative:
        derivative = derivative.whole
        pick, _ = derivative.picker(rule.parameters, position)  # type: ignore[union-attr]
    return derivative, pick
