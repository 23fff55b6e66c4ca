"""Watching a differentiation: every operation that is recorded, and every step of the walk back.

Nobody watches in ordinary use, and then the tape asks one question of an operation: is a dict empty.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nnx._typing import Array
    from nnx.tape.node import Node
    from nnx.tape.primitive import Primitive
    from nnx.tape.rule import Derivative
    from nnx.tape.tracked import Tracked


class Observer(Protocol):
    """What is told of the differentiations of a thread."""

    def recorded(self, primitive: Primitive, result: Tracked) -> None:
        """``primitive`` has computed ``result``."""

    def walked(self, node: Node, derivative: Derivative, gradient: Array) -> None:
        """``derivative``, of the operation that made ``node``, has computed ``gradient`` by one argument."""


observers: dict[int, Observer] = {}
"""By thread; empty while nobody watches."""


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Tell ``observer`` what the current thread differentiates inside the block."""
    thread = threading.get_ident()
    before = observers.get(thread)
    observers[thread] = observer
    try:
        yield
    finally:
        if before is None:
            del observers[thread]
        else:
            observers[thread] = before


def tell_recorded(primitive: Primitive, result: Tracked) -> None:
    """Tell the thread's observer, if it has one."""
    observer = observers.get(threading.get_ident())
    if observer is not None:
        observer.recorded(primitive, result)


def tell_walked(node: Node, derivative: Derivative, gradient: Array) -> None:
    """Tell the thread's observer, if it has one."""
    observer = observers.get(threading.get_ident())
    if observer is not None:
        observer.walked(node, derivative, gradient)
