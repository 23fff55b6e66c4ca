"""The graph: a node for each recorded result, an edge to each input that carries a gradient."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnx._typing import Namespace
    from nnx.tape.rule import Derivative

_serial = itertools.count(1)


class Node:
    """Where a result came from.

    A node holds no result. Its edges hold what the derivatives asked for, so an array lives on only
    if a derivative needs it.

    Attributes:
        level: which differentiation recorded it. A differentiation that begins later lies inside
            those that are under way, so a greater level is always an inner one. 0 is no
            differentiation at all: a constant.
        serial: its place in the order of recording; no node comes before its inputs.
        xp: the namespace in which the derivatives compute.
        edges: for each input that carries a gradient, its node, the derivative by that input, and
            the arguments which the derivative asked for.
    """

    __slots__ = ("edges", "level", "serial", "xp")

    def __init__(
        self, level: int, xp: Namespace, edges: tuple[tuple[Node, Derivative, tuple[Any, ...]], ...] = ()
    ) -> None:
        self.level = level
        self.serial = next(_serial)
        self.xp = xp
        self.edges = edges


def new_level() -> int:
    """A level inside every differentiation under way. It needs no clean-up."""
    return next(_serial)


CONSTANT = Node(0, None)
"""The node of every tracked array that carries no gradient."""
