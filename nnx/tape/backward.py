"""The walk back from a result to the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from nnx._typing import Array
from nnx.tape.node import Node
from nnx.tape.observe import observers, tell_walked
from nnx.tape.tracked import Tracked


def backward(roots: Sequence[tuple[Node, Array]], leaves: Sequence[Node], *, release: bool) -> list[Array | None]:
    """Accumulate gradients from ``roots`` to ``leaves``.

    Nodes are visited against the order in which they were recorded, so each has its whole gradient
    when its turn comes (reverse accumulation; Griewank and Walther, Evaluating Derivatives, 2008,
    section 3.2). There is no recursion: depth is bounded by memory alone.

    Args:
        roots: the nodes of the results, each with the gradient it starts from.
        leaves: the nodes of the inputs.
        release: forget what the edges saved as soon as it is used; a second walk is then impossible.

    Returns:
        For each leaf its gradient, or ``None`` if no path leads to it.
    """
    gradients: dict[Node, Array] = {}
    pending: list[tuple[int, Node]] = []  # a heap: the last recorded first
    for node, g in roots:
        _add(gradients, pending, node, g)
    while pending:
        node = heappop(pending)[1]
        edges = node.edges
        if not edges:
            continue  # a leaf keeps its gradient
        g = gradients.pop(node)
        xp = g.xp if type(g) is Tracked else node.xp
        for parent, derivative, needs in edges:
            by_parent = derivative.pull(xp, g, needs)
            if observers:
                tell_walked(node, derivative, by_parent)
            if parent in gradients:  # as _add does, without a call
                before = gradients[parent]
                gradients[parent] = by_parent + before if type(by_parent) is Tracked else before + by_parent
            else:
                gradients[parent] = by_parent
                heappush(pending, (-parent.serial, parent))
        if release:
            node.edges = ()
    return [gradients.get(leaf) for leaf in leaves]


def _add(gradients: dict[Node, Array], pending: list[tuple[int, Node]], node: Node, g: Array) -> None:
    if node in gradients:
        before = gradients[node]  # of some libraries it raises at an operator with a tracked array on its right
        gradients[node] = g + before if type(g) is Tracked else before + g
    else:
        gradients[node] = g
        heappush(pending, (-node.serial, node))
