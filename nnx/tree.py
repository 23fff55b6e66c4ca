"""Arrays in nested lists, tuples and dicts.

A leaf is anything that is none of these. Dicts keep the order of their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnx._typing import Tree


def map_leaves(function: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """Apply ``function`` to each leaf of ``tree``, and to the leaves in its place in ``rest``.

    >>> map_leaves(lambda a, b: a + b, {"w": 1, "b": [2, 3]}, {"w": 10, "b": [20, 30]})
    {'w': 11, 'b': [22, 33]}
    """
    if isinstance(tree, dict):
        return {key: map_leaves(function, item, *(r[key] for r in rest)) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        items = [map_leaves(function, *each) for each in zip(tree, *rest, strict=True)]
        return sequence(type(tree), items)
    return function(tree, *rest)


def sequence(kind: Any, items: Sequence[Any]) -> Any:
    """A list, tuple or named tuple of type ``kind`` with these items."""
    return kind(*items) if hasattr(kind, "_fields") else kind(items)


def leaves(tree: Tree) -> list[Any]:
    """The leaves of ``tree``, in order.

    >>> leaves({"w": 1, "b": [2, (3,)]})
    [1, 2, 3]
    """
    found: list[Any] = []
    map_leaves(found.append, tree)
    return found
