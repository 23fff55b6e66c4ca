"""One run of a step, after which there is a program that does the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from nnx import tree
from nnx._typing import Array, Precision, Tree
from nnx.backend import Library, is_array
from nnx.capture.discover import Found
from nnx.capture.instruction import Instruction, Ref, Unrecordable
from nnx.capture.program import Program, in_precision, write_program
from nnx.capture.state import Place, State, structure_of


class Subject(NamedTuple):
    """What is recorded.

    Attributes:
        library: of all its arrays.
        found: its models and optimisers.
        state: where their arrays stand.
        arguments: the positional ones, and the others by name.
        say: told why what comes of it is slower than it could be.
    """

    library: Library
    found: Found
    state: State
    arguments: tuple[Any, Any]
    say: Callable[[str], None]


class Recording:
    """A run of a step with other arrays in place of those of its arguments, its models and its optimisers.

    Attributes:
        precisions: those in which parts of the step are computed, by name.
        reason: why it cannot be used; ``None`` if it can.
    """

    def __init__(self, subject: Subject) -> None:
        self._library, self._found, self._state, self._arguments, self._say = subject
        self._places: list[tuple[Place, Any]] = []
        self._written: list[tuple[Place, Any]] = []
        self._result: Any = None
        self.precisions: dict[str, Precision] = {}
        self.reason: str | None = None

    def run(self, step: Callable[..., Any]) -> Any:
        """Run the step; answer what it answers, in raw arrays. The state is then as after a plain step."""
        raise NotImplementedError

    def take_back(self) -> None:
        """Give the arrays that the step has changed, beside those of the state, their values again."""

    def program(self) -> Program:
        """What does the same."""
        raise NotImplementedError

    def _require_same(self, before: Sequence[Any], arguments: Any) -> None:
        """Raise if the step has changed a list or a dict among its arguments, which are copies of those it was given.

        Args:
            before: what was in them.
            arguments: those of the step.

        Raises:
            Unrecordable: they hold something else.
        """
        now = leaves_of(arguments)
        if len(now) != len(before) or any(a is not b for a, b in zip(now, before, strict=True)):
            raise Unrecordable("it changes a list or a dict among its arguments")

    def _write(
        self,
        arguments: Any,
        instructions: Sequence[Instruction],
        constants: Mapping[int, Array] | None = None,
        guesses: Mapping[int, Array] | None = None,
    ) -> Program:
        models, structures = self._found.models, self._state.structures
        plans = [model._planned() for model in models]  # what follows must not keep this recording, with its arrays

        def recheck() -> bool:
            return [structure_of(model) for model in models] == structures

        def containers() -> bool:
            return all(plan.containers_hold() for plan in plans)

        program = write_program(
            arguments=self._arguments,
            recorded_arguments=arguments,
            places=self._places,
            written=self._written,
            settings=self._state.settings,
            links=self._found.links,
            recheck=recheck,
            containers=None if all(plan.fixed for plan in plans) else containers,
            instructions=instructions,
            constants=constants or {},
            guesses=guesses or {},
            result=self._result,
        )
        return in_precision(program, self.precisions.values())


def alike(a: Any, b: Any) -> bool:
    """Whether two trees of refs are the same."""
    if isinstance(a, Ref) or isinstance(b, Ref):
        return isinstance(a, Ref) and isinstance(b, Ref) and a.slot == b.slot
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    return a is b


def leaves_of(arguments: tuple[Any, Any]) -> list[Any]:
    """What is in the arguments of a step."""
    return tree.leaves([list(arguments[0]), arguments[1]])


def with_arrays(x: Tree, stand_in: Callable[[Array], Any]) -> Tree:
    """A tree, with something else in place of its arrays."""
    return tree.map_leaves(lambda a: stand_in(a) if is_array(a) else a, x)


def map_refs(function: Callable[[Any], Any], x: Tree) -> Tree:
    """A tree, with something else in place of its refs."""
    if isinstance(x, dict):
        return {key: map_refs(function, item) for key, item in x.items()}
    if isinstance(x, (list, tuple)) and not isinstance(x, Ref):
        return tree.sequence(type(x), [map_refs(function, item) for item in x])
    return function(x)
