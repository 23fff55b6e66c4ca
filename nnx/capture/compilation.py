"""Recording by a compiler of the backend."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from nnx import tree
from nnx._recording import recorders
from nnx._typing import Array, Precision
from nnx.backend import is_array
from nnx.capture.instruction import Instruction, Ref, Unrecordable, caller
from nnx.capture.program import Program
from nnx.capture.recording import Recording, Subject, alike, leaves_of, map_refs, with_arrays
from nnx.tape.primitive import untracked


class Compilation(Recording):
    """The step as a function from arrays to arrays, which the backend compiles."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self._values: list[Array] = []
        self._by_id: dict[int, int] = {}
        self._refs = with_arrays(subject.arguments, self._new)
        self._before = [(place, tree.map_leaves(self._known, place.get())) for place in subject.state.places]
        self._inputs = len(self._values)
        self._tracer: type = object
        self._compiled: Any = subject.library.backend.capture(self._pure)  # type: ignore[union-attr]
        self._step: Callable[..., Any] | None = None

    def run(self, step: Callable[..., Any]) -> Any:
        """Compile the step, and run it."""
        self._step = step
        self._places = list(self._before)
        outputs = self._compiled(self._values)
        slots = dict(enumerate([*self._values, *outputs]))

        def opened(x: Any) -> Any:
            return slots[x.slot] if isinstance(x, Ref) else x

        for place, after in self._written:
            place.put(map_refs(opened, after))
        return map_refs(opened, self._result)

    def program(self) -> Program:
        """What calls the compiled function."""
        inputs = [Ref(slot) for slot in range(self._inputs)]
        outputs = tuple(Ref(slot) for slot in range(self._inputs, self._inputs + self._outputs))
        call = Instruction(
            "call", self._compiled, (inputs,), {}, outputs, pure=False, fresh=True, changes=False, like=False
        )
        program = self._write(self._refs, [call])
        self._values.clear()  # the compiled function keeps this recording, which must keep no arrays
        self._arguments = (), {}
        return program

    def note(self, what: str) -> None:
        """The step does something that cannot be compiled; it goes on, and is not used again."""
        self.reason = self.reason or f"{what} ({caller()})"

    def require(self, arrays: Iterable[Array], what: str) -> None:
        """Raise unless ``arrays`` are among those that are compiled."""
        if not all(isinstance(untracked(a), self._tracer) for a in arrays):
            raise Unrecordable(f"{what} ({caller()})")

    def require_later(self, what: str) -> None:
        """Raise: what comes cannot be compiled, and does not happen in the next step again."""
        raise Unrecordable(what, later=True)

    def precision(self, name: str, how: Precision) -> None:
        """A part of the step is computed in a precision; its context has had its effect when it was compiled."""
        self.precisions[name] = Precision(how.dtype, None)

    def constant(self, array: Array) -> None:
        """Constants need not be known."""

    def stand_in(self, array: Array) -> Array:
        """Constants stand for themselves."""
        return array

    def _new(self, array: Array) -> Ref:
        self._values.append(array)
        return Ref(len(self._values) - 1)

    def _known(self, array: Array) -> Ref:
        slot = self._by_id.get(id(array))
        if slot is None:
            slot = self._by_id[id(array)] = self._new(array).slot
        return Ref(slot)

    def _pure(self, values: Sequence[Array]) -> Sequence[Array]:
        """The outputs of the step, for the values of its inputs; called once, on arrays without values."""
        thread = threading.get_ident()
        self._tracer = type(values[0])
        slots = {id(value): slot for slot, value in enumerate(values)}
        outputs: list[Array] = []

        def value(x: Any) -> Any:
            return values[x.slot] if isinstance(x, Ref) else x

        def ref(x: Any) -> Any:
            if not is_array(x):
                return x
            if id(x) not in slots:
                slots[id(x)] = len(values) + len(outputs)
                outputs.append(x)
            return Ref(slots[id(x)])

        step = self._step
        assert step is not None
        real = [(place, place.get()) for place in self._state.places]
        after: list[Any] = []
        recorders[thread] = self
        try:
            for place, before in self._before:
                place.put(map_refs(value, before))
            args, options = map_refs(value, self._refs)
            given = leaves_of((args, options))
            answer = step(*args, **options)
            self._require_same(given, (args, options))
            after = [place.get() for place, _ in real]
        finally:
            del recorders[thread]
            for place, array in real:
                place.put(array)
        refs = [tree.map_leaves(ref, each) for each in after]
        self._result = tree.map_leaves(ref, answer)
        self._written = [
            (place, now) for (place, before), now in zip(self._before, refs, strict=True) if not alike(before, now)
        ]
        self._outputs = len(outputs)
        return outputs
