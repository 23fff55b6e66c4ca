"""A recording whose calls a backend puts into one graph of its device's work."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from nnx._typing import Array
from nnx.backend import Library, activation
from nnx.capture.instruction import Instruction, Ref, Unrecordable
from nnx.capture.program import body_of
from nnx.capture.prune import kept
from nnx.capture.recording import map_refs
from nnx.capture.state import Place
from nnx.capture.writer import refs

RESTLESS = 8
"""After so many graphs in a row that were of no use, since arrays of the state had moved, calls are made one by one."""


class Graphed:
    """The calls of a recording: a function of the arrays that the step is given and of those of its state.

    The first call captures them. State is used where it lies; what the step replaces gets arrays of the graph, in
    which it stays. Where other arrays stand in its places later, their values are copied into these, or the calls
    are captured anew.

    Args:
        body: makes the calls; answers what the step answers and what stands in the places of the state after it.
        before: where in the arguments those stand that are replaced; as many as ``body`` answers last.
        fed: where those stand that the step is given.
        copied: the places, in what ``body`` answers, of what may share memory with something else.
        library: of all the arrays.
        say: told why calls cannot be captured.
    """

    def __init__(
        self,
        body: Callable[[Sequence[Array]], Sequence[Array]],
        *,
        before: Sequence[int],
        fed: Sequence[int],
        copied: frozenset[int],
        library: Library,
        say: Callable[[str], None],
    ) -> None:
        self._body = body
        self._before = tuple(before)
        self._fed = tuple(fed)
        self._copied = copied
        self._xp = library.namespace
        self._make: Any = library.backend.graph  # type: ignore[union-attr]
        self._say = say
        self._state: list[tuple[int, Array]] = []
        self._graph: Any = None
        self._plain = False
        self._restless = 0

    def __call__(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """What the step answers, and what stands in the places of the state after it."""
        if self._plain:
            return self._one_by_one(arrays)
        if self._graph is None or not self._holds(arrays):
            self._capture(arrays)
            if self._plain:
                return self._one_by_one(arrays)
        else:
            self._restless = 0
        answers: list[Array] = self._graph(arrays)
        state = dict(self._state)
        return [*answers, *(state[i] for i in self._before)]

    def _holds(self, arrays: Sequence[Array]) -> bool:
        """Whether the state lies where the graph uses it; what the step replaces is copied there."""
        moved = [(i, known) for i, known in self._state if arrays[i] is not known]
        if any(i not in self._before for i, _ in moved):
            return False
        mine = {id(known) for _, known in self._state}
        with activation(arrays):
            values = [self._copy(arrays[i]) if id(arrays[i]) in mine else arrays[i] for i, _ in moved]
            for (_, known), value in zip(moved, values, strict=True):
                known[...] = value
        return True

    def _capture(self, arrays: Sequence[Array]) -> None:
        self._restless += 1
        if self._restless > RESTLESS:
            self._plain, self._graph, self._state = True, None, []
            self._say("arrays of models and optimisers lie elsewhere at each call")
            return
        self._graph = None  # whose memory the new one may have
        with activation(arrays):
            self._make_graph(arrays)

    def _make_graph(self, arrays: Sequence[Array]) -> None:
        # what a step replaces may be somebody's, who has kept it: the graph writes to arrays of its own
        given = [self._copy(array) if i in self._before else array for i, array in enumerate(arrays)]
        self._state = [(i, array) for i, array in enumerate(given) if i not in self._fed]
        try:
            self._graph = self._make(self._work, given, self._fed)
        except Exception as error:  # a device may refuse anything while it is captured
            self._plain, self._graph, self._state = True, None, []
            said = str(error).strip().partition("\n")[0]
            self._say(f"{type(error).__name__}: {said}")

    def _one_by_one(self, arrays: Sequence[Array]) -> Sequence[Array]:
        with activation(arrays):
            return self._body(arrays)

    def _copy(self, array: Array) -> Array:
        return self._xp.asarray(array, copy=True)

    def _work(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """The calls, after which the state stands in the arrays where it stood before."""
        answers = [self._copy(answer) if i in self._copied else answer for i, answer in enumerate(self._body(arrays))]
        count = len(answers) - len(self._before)
        for i, after in zip(self._before, answers[count:], strict=True):
            before = arrays[i]
            if after.shape != before.shape or after.dtype != before.dtype:
                raise Unrecordable("an array of a model or an optimiser gets another shape or dtype")
            before[...] = after
        return answers[:count]


class Calls(NamedTuple):
    """What a recorder has written down."""

    instructions: Sequence[Instruction]
    constants: Mapping[int, Array]
    guesses: Mapping[int, Array]


class GraphCall(NamedTuple):
    """The one call that does a recording's; where the state is then, and the answer, in its results."""

    call: Instruction
    written: list[tuple[Place, Any]]
    result: Any


def graph_of(
    calls: Calls,
    arguments: Any,
    places: Sequence[tuple[Place, Any]],
    written: Sequence[tuple[Place, Any]],
    result: Any,
    library: Library,
    say: Callable[[str], None],
) -> GraphCall:
    """Make one call of many.

    Args:
        calls: those.
        arguments: of the step, with refs in place of arrays.
        places, written, result: as in :func:`nnx.capture.program.write_program`.
        library: of all the arrays.
        say: told why calls cannot be captured.
    """
    before_of = {(id(place.owner), place.key): before for place, before in places}
    replaced: dict[int, int] = {}  # the slot that stands for an array before the step, and after it
    for place, after in written:
        for slot, later in _pairs(before_of[id(place.owner), place.key], after):
            if replaced.setdefault(slot, later) != later:
                raise Unrecordable("one array of a model or an optimiser becomes two")
    replaced = {slot: later for slot, later in replaced.items() if slot != later}
    answered = list(dict.fromkeys(refs(result)))
    outputs = [*answered, *replaced.values()]
    instructions, constants = kept(calls.instructions, calls.constants, calls.guesses, set(outputs))
    xp = library.namespace
    instructions = [_suited(xp, instruction, constants) for instruction in instructions]

    used = set(outputs).union(*(refs((each.args, each.options)) for each in instructions))
    fed = [slot for slot in dict.fromkeys(refs(arguments)) if slot in used]
    state = [slot for slot in dict.fromkeys(refs([before for _, before in places])) if slot in used or slot in replaced]
    inputs = [*fed, *state]
    fresh = {slot for each in instructions if each.fresh or each.form == "operator" for slot in refs(each.result)}
    graphed = Graphed(
        body_of(instructions, constants, inputs, outputs),
        before=[inputs.index(slot) for slot in replaced],
        fed=range(len(fed)),
        copied=frozenset(i for i, slot in enumerate(outputs) if slot not in fresh),
        library=library,
        say=say,
    )
    first = 1 + max([*inputs, *outputs, *constants], default=0)
    results = [Ref(first + i) for i in range(len(outputs))]
    of_answer = dict(zip(answered, results[: len(answered)], strict=True))
    kept_in = dict(zip(replaced, results[len(answered) :], strict=True))
    call = Instruction(
        "call", graphed, ([Ref(slot) for slot in inputs],), {}, tuple(results),
        pure=False, fresh=True, changes=False, like=False,
    )  # fmt: skip
    return GraphCall(
        call,
        [
            (place, map_refs(lambda ref: kept_in.get(ref.slot, ref), before_of[id(place.owner), place.key]))
            for place, _ in written
        ],
        map_refs(lambda x: of_answer[x.slot] if isinstance(x, Ref) else x, result),
    )


def _pairs(before: Any, after: Any) -> list[tuple[int, int]]:
    """The slots of an array, or of those of a sequence, before and after the step."""
    old, new = list(refs(before)), list(refs(after))
    if len(old) != len(new):
        raise Unrecordable("a list of arrays of a model or an optimiser gets longer or shorter")
    return list(zip(old, new, strict=True))


def _suited(xp: Any, instruction: Instruction, constants: dict[int, Array]) -> Instruction:
    """An instruction that needs neither the host's memory nor the library's own operator for products."""
    if instruction.function is operator.matmul:
        return instruction._replace(form="call", function=xp.matmul)
    given = list(refs((instruction.args, instruction.options)))
    if instruction.form == "call" and not given and getattr(instruction.function, "__name__", "") == "asarray":
        slot = -1 - len(constants)
        constants[slot] = instruction.function(*instruction.args, **instruction.options)
        return instruction._replace(function=xp.asarray, args=(Ref(slot),), options={"copy": True})
    return instruction
