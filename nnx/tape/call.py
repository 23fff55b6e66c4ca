"""Steps with several results: their gradients meet in one node before they go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnx._typing import Array, Namespace
from nnx.tape.node import Node
from nnx.tape.rule import Derivative
from nnx.tape.tracked import Tracked

Pull = Callable[[Mapping[int, Array]], Sequence[Array]]
"""From the gradients of the results, by index, to those of the inputs. A result that is missing has none."""


class Bundle:
    """The gradients of a call's results, on their way through the node in which they meet."""

    __slots__ = ("_answer", "found")

    def __init__(self, found: dict[int, Array]) -> None:
        self.found = found
        self._answer: Sequence[Array] | None = None

    def __add__(self, other: Bundle) -> Bundle:
        self.found.update(other.found)  # each result comes once, with its whole gradient, in a bundle of its own
        return self

    def answer(self, pull: Pull) -> Sequence[Array]:
        """The gradients of all inputs, computed when the first is asked for."""
        if self._answer is None:
            self._answer = pull(self.found)
        return self._answer


def _of_result(g: Any, index: int) -> Any:
    return Bundle({index: g})


def _by_input(g: Any, pull: Pull, index: int) -> Any:
    return g.answer(pull)[index]


_OF_RESULT, _BY_INPUT = Derivative(_of_result), Derivative(_by_input)


class Joint(Derivative):
    """The derivative of a function of several results by one argument.

    The formula's ``g`` is a tuple with the gradient of each result, or ``None`` for one that was not used;
    without a ``count``, a dict with the gradients of those that were used, by index.
    """

    __slots__ = ("count",)

    def __init__(self, count: int | None, formula: Callable[..., Array]) -> None:
        super().__init__(formula)
        self.count = count

    def pull(self, xp: Namespace, g: Any, needs: tuple[Any, ...]) -> Array:
        found = g.found if self.count is None else tuple(g.found.get(index) for index in range(self.count))
        tracked = next((x for x in g.found.values() if type(x) is Tracked), None)
        return super().pull(xp if tracked is None else tracked.xp, found, needs)


def fan_out(joint: Node, results: Sequence[Array], xp: Namespace) -> list[Tracked]:
    """Several results, each with a node that leads to ``joint``."""
    level, below = joint.level, joint.xp
    return [Tracked(y, xp, Node(level, below, ((joint, _OF_RESULT, (k,)),))) for k, y in enumerate(results)]


def record_call(
    level: int, xp: Namespace, inputs: Sequence[Node], results: Sequence[Array], pull: Pull
) -> list[Tracked]:
    """Record ``results`` as made of ``inputs`` in one step.

    The graph gets a node in which the gradients of all results meet, so that ``pull`` runs once in a
    walk back; a node for each result leads to it.

    Args:
        level: the differentiation that records, which is that of the inputs.
        xp: the differentiable namespace of the results.
        inputs: the nodes of the arguments that carry a gradient.
        results: arrays of floats, of levels further out.
        pull: computes the gradients; it holds what it needs.
    """
    joint = Node(level, xp, tuple((node, _BY_INPUT, (pull, k)) for k, node in enumerate(inputs)))
    return fan_out(joint, results, xp)
