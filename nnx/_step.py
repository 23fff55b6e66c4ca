"""Functions of nested arrays and models that are recorded as one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnx import tree
from nnx._errors import DifferentiationError
from nnx._typing import Array, Tree
from nnx.backend import activation, is_array, is_float, library_of
from nnx.tape.call import Pull, record_call
from nnx.tape.node import Node
from nnx.tape.primitive import constants, held, untracked
from nnx.tape.tracked import Tracked

Rebuild = Callable[[Sequence[Any]], Tree]
"""Makes the tree again with other leaves in the places of the ones that it had."""


def flatten(x: Tree) -> tuple[list[Any], Rebuild]:
    """The leaves of a tree, and what makes it again of others. The leaves of a model are its arrays.

    What makes it again holds no leaf of ``x``, and makes a new copy of each model.
    """
    leaves: list[Any] = []
    return leaves, _flatten(x, leaves)


def _flatten(x: Tree, leaves: list[Any]) -> Rebuild:
    if hasattr(x, "_twin"):
        arrays, training = x.arrays(), x.training
        names, start, end = tuple(arrays), len(leaves), len(leaves) + len(arrays)
        leaves.extend(arrays.values())
        # its arrays are raw, or the graph, which keeps this, would be part of a circle
        skeleton = x._twin(training, {name: untracked(array) for name, array in arrays.items()})[0]
        return lambda new: skeleton._twin(training, dict(zip(names, new[start:end], strict=True)))[0]
    if isinstance(x, dict):
        pairs = {key: _flatten(item, leaves) for key, item in x.items()}
        return lambda new: {key: rebuild(new) for key, rebuild in pairs.items()}
    if isinstance(x, (list, tuple)):
        items = [_flatten(item, leaves) for item in x]
        kind = type(x)  # not x itself, which what is answered must not hold
        return lambda new: tree.sequence(kind, [rebuild(new) for rebuild in items])
    place = len(leaves)
    leaves.append(x)
    return lambda new: new[place]


def is_float_array(x: Any) -> bool:
    """Whether ``x`` is an array, tracked or not, of a floating-point dtype: one that has derivatives."""
    return is_array(x) and is_float(x.xp.raw if type(x) is Tracked else library_of(x).namespace, x.dtype)


def step(
    name: str,
    function: Callable[[Sequence[Any]], Tree],
    leaves: Sequence[Any],
    pull_back: Callable[[Sequence[Any], Sequence[int], Tree], Pull],
) -> Tree:
    """Compute ``function(leaves)``, recorded as one step in every differentiation that tracks a leaf.

    Args:
        name: what the error messages call the function.
        function: gets raw arrays; answers a tree.
        leaves: the arguments.
        pull_back: ``(values, places, y)``: makes what goes back, from the leaves and the result as
            the differentiations further out see them, to the gradients of the leaves at ``places``.
    """
    level, xp = 0, None
    for a in leaves:
        if type(a) is Tracked and a.node.level > level:
            level, xp = a.node.level, a.xp
    if level == 0:
        xp = next((a.xp for a in leaves if type(a) is Tracked), None)
        with activation(*leaves):
            y = function([untracked(a) if type(a) is Tracked else a for a in leaves])
        return y if xp is None else tree.map_leaves(lambda v: v if type(v) is Tracked else constants(xp, v), y)
    values, places, nodes = list(leaves), [], list[Node]()
    for place, a in enumerate(leaves):
        if type(a) is not Tracked:
            continue
        if a.node.level == level:
            places.append(place)
            nodes.append(a.node)
        values[place] = held(a.value) if a.node.level in (0, level) else held(a)
    y = step(name, function, values, pull_back)
    results: list[Array] = []

    def collect(v: Any) -> None:
        if type(v) is Tracked and v.node.level >= level:
            raise DifferentiationError(
                f"{name} uses a tracked array that is not among its arguments: pass it as an argument, or "
                "nnx.stop_gradient(...) of it"
            )
        if is_float_array(v):
            results.append(v)

    tree.map_leaves(collect, y)
    recorded = iter(record_call(level, xp, nodes, results, pull_back(values, places, y)))
    return tree.map_leaves(lambda v: next(recorded) if is_float_array(v) else constants(xp, v), y)
