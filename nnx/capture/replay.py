"""Recording by writing down calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from nnx import tree
from nnx._recording import recorders
from nnx._typing import Array
from nnx.backend import is_array
from nnx.capture.graphed import Calls, graph_of
from nnx.capture.instruction import Ref
from nnx.capture.namespace import kind_of
from nnx.capture.program import Program
from nnx.capture.recorded import Recorded
from nnx.capture.recorder import Recorder
from nnx.capture.recording import Recording, Subject, alike, leaves_of, with_arrays
from nnx.capture.state import Place


class Replay(Recording):
    """The calls of the step, which are made again."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        library, state = subject.library, subject.state
        kind = kind_of(library)
        self._namespace = kind._xp
        settings = tree.leaves([setting.value for setting in state.settings])
        known = [*subject.found.arrays, *filter(is_array, settings)]
        self._recorder = Recorder(kind, library.namespace, known)
        self._recorded = with_arrays(subject.arguments, self._recorder.new)
        self._by_id: dict[int, Recorded] = {}

    def run(self, step: Callable[..., Any]) -> Any:
        """Run the step on arrays that are recorded."""
        thread = threading.get_ident()
        swapped: list[tuple[Place, Any, Any]] = []
        namespaces = [(place, place.get()) for place in self._state.namespaces]
        recorders[thread] = self._recorder
        try:
            try:
                for place in self._state.places:
                    raw = place.get()
                    stand_ins = tree.map_leaves(self._stand_in, raw)
                    swapped.append((place, raw, stand_ins))
                    place.put(stand_ins)
                for place, _ in namespaces:
                    place.put(self._namespace)
                args, options = self._recorded
                before = leaves_of((args, options))
                answer = step(*args, **options)
                self._require_same(before, (args, options))
            finally:
                for place, raw in namespaces:
                    place.put(raw)
                for place, raw, stand_ins in swapped:
                    self._put_back(place, raw, stand_ins)
                for what in (*self._state.clear_of(_opened_if_recorded), *self._found.clear_of(_opened_if_recorded)):
                    self._recorder.note(f"{what} keeps an array in a place where none was before")
            self._result = tree.map_leaves(self._ref, answer)
            return tree.map_leaves(_opened, answer)
        finally:
            del recorders[thread]
            self._recorder.end()
            self.reason, self.precisions = self._recorder.reason, self._recorder.precisions

    def take_back(self) -> None:
        """Give the arrays that were changed by operators their values again."""
        self._recorder.take_back()

    def program(self) -> Program:
        """What makes the same calls."""
        recorder = self._recorder
        arguments = tree.map_leaves(lambda a: Ref(a.slot) if isinstance(a, Recorded) else a, self._recorded)
        if self._library.backend is not None and self._library.backend.graph is not None:
            calls = Calls(recorder.instructions, recorder.constants, recorder.guesses)
            graph = graph_of(calls, arguments, self._places, self._written, self._result, self._library, self._say)
            self._written, self._result = graph.written, graph.result
            return self._write(arguments, [graph.call])
        return self._write(arguments, recorder.instructions, recorder.constants, recorder.guesses)

    def _stand_in(self, array: Array) -> Recorded:
        """One for each array, in however many places it stands."""
        found = self._by_id.get(id(array))
        if found is None:
            found = self._by_id[id(array)] = self._recorder.new(array)
        return found

    def _put_back(self, place: Place, raw: Any, stand_ins: Any) -> None:
        now = place.get()
        before, after = tree.map_leaves(self._ref, stand_ins), tree.map_leaves(self._ref, now)
        self._places.append((place, before))
        if alike(before, after):
            place.put(raw)
            return
        self._written.append((place, after))
        place.put(tree.map_leaves(_opened, now))
        if not all(map(is_array, tree.leaves(now))):
            self._recorder.note(f"{place.key!r} of a model or an optimiser, which was an array, is none any more")

    def _ref(self, x: Any) -> Any:
        if isinstance(x, Recorded):
            return Ref(x.slot)
        if is_array(x):
            self._recorder.note("it answers or keeps an array that is made of nothing that it is given")
        return x


def _opened(x: Any) -> Any:
    return x.value if isinstance(x, Recorded) else x


def _opened_if_recorded(x: Any) -> tuple[bool, Any]:
    return isinstance(x, Recorded), _opened(x)
