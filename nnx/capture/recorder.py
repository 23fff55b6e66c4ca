"""What writes down the calls of a step."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterable
from typing import Any

from nnx._errors import StateError
from nnx._typing import Array, Namespace, Precision
from nnx.backend import is_array
from nnx.capture.instruction import Instruction, Ref, Unrecordable, arrays_in, caller
from nnx.capture.recorded import Recorded
from nnx.tape.primitive import untracked
from nnx.tape.tracked import Tracked
from nnx.tree import sequence


class Recorder:
    """Records a step of one thread.

    Args:
        kind: the class of its arrays.
        raw: the namespace of the arrays beneath.
        found: the arrays from elsewhere that the step may use: if others take their places, it is noticed.
    """

    def __init__(self, kind: type[Recorded], raw: Namespace, found: Iterable[Array]) -> None:
        self._kind = kind
        self.raw = raw
        self._found = {id(array): array for array in found}
        self._thread = threading.get_ident()
        self._slots = 0
        self._ended = False
        self.instructions: list[Instruction] = []
        self.constants: dict[int, Array] = {}  # arrays that the step takes from elsewhere
        self.guesses: dict[int, Array] = {}  # made of constants, and the same in each step unless somebody changes them
        self.precisions: dict[str, Precision] = {}
        self.reason: str | None = None
        self._undo: list[tuple[Array, Array]] = []

    # --- arrays -------------------------------------------------------------------------------

    def new(self, value: Array) -> Recorded:
        """An array with a slot of its own."""
        self._slots += 1
        return self._kind(self, value, self._slots)

    def precision(self, name: str, how: Precision) -> None:
        """A part of the step is computed in a precision, and so will be the calls that are made again."""
        self.precisions[name] = how

    def constant(self, array: Array) -> None:
        """``array`` may be used in all steps: it is made of the same numbers in each."""
        self._found[id(array)] = array

    def stand_in(self, array: Array) -> Array:
        """What is recorded in place of ``array``, a constant of the step."""
        if not self._is_raw(array):
            return array
        found = self.new(array)
        self.constants[found.slot] = array
        if not hasattr(array, "__setitem__"):
            self.guesses[found.slot] = array
        return found

    def _is_raw(self, x: Any) -> bool:
        return is_array(x) and not isinstance(x, (Recorded, Tracked))

    def elsewhere(self) -> bool:
        """Whether another thread asks."""
        return threading.get_ident() != self._thread

    def end(self) -> None:
        """From here on, its arrays are of no use."""
        self._ended = True

    def open(self, x: Any) -> Any:
        """``x`` with the arrays beneath in place of those of this recording."""
        if isinstance(x, Recorded):
            if x.recorder is not self or self._ended:
                x.recorder._require_under_way()
            return x.value
        if isinstance(x, RawNamed):
            return x.beneath
        if isinstance(x, (list, tuple)):
            return sequence(type(x), [self.open(item) for item in x])
        if isinstance(x, dict):
            return {key: self.open(item) for key, item in x.items()}
        if isinstance(x, slice):
            return slice(self.open(x.start), self.open(x.stop), self.open(x.step))
        return x

    def _refs(self, x: Any) -> Any:
        if isinstance(x, Recorded):
            return Ref(x.slot)
        if isinstance(x, RawNamed):
            return x.beneath
        if isinstance(x, (list, tuple)):
            return sequence(type(x), [self._refs(item) for item in x])
        if isinstance(x, dict):
            return {key: self._refs(item) for key, item in x.items()}
        if isinstance(x, slice):
            return slice(self._refs(x.start), self._refs(x.stop), self._refs(x.step))
        return x

    def _require_under_way(self) -> None:
        if self._ended and threading.get_ident() == self._thread:
            raise StateError(
                "an array that a captured step has kept, in a list or an attribute, was used after the step: when the "
                "step is replayed, it keeps nothing. Have the step answer it"
            )

    # --- calls --------------------------------------------------------------------------------

    def call(
        self,
        form: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        options: dict[str, Any] | None = None,
        *,
        pure: bool = False,
        fresh: bool = False,
        changes: bool = False,
        like: bool = False,
    ) -> Any:
        """Compute, and write it down. ``like``: the values of the first argument do not matter."""
        options = options or {}
        raw_args, raw_options = self.open(args), self.open(options)
        y = function(*raw_args, **raw_options)
        if threading.get_ident() != self._thread:
            return y  # another thread uses the model meanwhile
        self._require_under_way()
        given = list(arrays_in((args, options)))
        values = [(x.value if isinstance(x, Recorded) else x, x) for x in given]
        # a number is none of them: NumPy has but one False and one True, whichever function answers it
        known = {id(value): x for value, x in values if hasattr(value, "__setitem__")}
        answer = self._close(y, known)
        found = list(arrays_in(answer))
        if self.reason is not None:
            return answer
        if not found and not changes:
            self.note(f"{getattr(function, '__name__', function)}(), which answers no array")
            return y
        if any(self._is_stray(x) for x in given):
            self.note(
                "an array that is neither given to the step nor found in what it closes over; the same of a model "
                "that was not found"
            )
            return answer
        others = list(arrays_in((args[1:] if like else args, options)))
        if pure and all(isinstance(x, Recorded) and x.slot in self.guesses for x in others):
            self.guesses |= {x.slot: x.value for x in found}
        result = self._results(answer, known)
        self.instructions.append(
            Instruction(form, function, self._refs(args), self._refs(options), result, pure, fresh, changes, like)
        )
        return answer

    def _is_stray(self, x: Any) -> bool:
        """Whether another array may be used in the next step; what has no items to assign to is as good as a number."""
        return self._is_raw(x) and id(x) not in self._found and hasattr(x, "__setitem__")

    def _close(self, y: Any, known: dict[int, Array]) -> Any:
        if isinstance(y, list):  # a list of a kernel's own kind may know more of its arrays than that they are
            return [self._close(item, known) for item in y]
        if isinstance(y, tuple):
            return sequence(type(y), [self._close(item, known) for item in y])
        if y is None:
            return None
        if id(y) in known:
            return known[id(y)]
        if not self._is_raw(y):
            self.note(f"a function that answers a {type(y).__name__}")
            return y
        return self.new(y)

    def _results(self, answer: Any, known: dict[int, Array]) -> Any:
        if isinstance(answer, (list, tuple)):
            return tuple(self._results(item, known) for item in answer)
        if not isinstance(answer, Recorded) or known.get(id(answer.value)) is answer:
            return None
        return Ref(answer.slot)

    def change(self, form: str, function: Callable[..., Any], x: Any, *args: Any) -> Any:
        """A call that changes ``x``."""
        self._require_under_way()
        if hasattr(x.value, "__setitem__"):
            self._undo.append((x.value, self.raw.asarray(x.value, copy=True)))
        return self.call(form, function, (x, *args), changes=True)

    def item(self, x: Recorded, key: Any) -> Any:
        """``x[key]``."""
        arrays = list(arrays_in(key))
        if any(self.raw.isdtype(a.dtype, "bool") for a in arrays):
            self.note("a boolean mask, which makes an array whose shape depends on values")
        return self.call("item", operator.getitem, (x, key), pure=not arrays)

    def foreign(self, function: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
        """A function of the array library, called by its own name."""
        out = options.get("out")
        if out is not None or getattr(function, "__name__", "") == "at":
            for array in out if isinstance(out, tuple) else (out, *args[:1]):
                if self._is_raw(array):
                    self._undo.append((array, self.raw.asarray(array, copy=True)))
            self.note(f"{getattr(function, '__name__', function)}(), which writes to an array")
        return self.call("call", function, tuple(args), options)

    # --- what cannot be recorded --------------------------------------------------------------

    def read(self, x: Recorded, what: str) -> Array:
        """The array beneath ``x``, for Python."""
        self._require_under_way()
        self.note(what)
        return x.value

    def note(self, what: str) -> None:
        """The step does something that cannot be replayed; it goes on, and is not replayed."""
        if self.reason is None and threading.get_ident() == self._thread and not self._ended:
            self.reason = f"{what} ({caller()})"
            self.instructions.clear()

    def require(self, arrays: Iterable[Array], what: str) -> None:
        """Raise unless ``arrays`` are among those that are recorded."""
        if self.reason is None and not all(isinstance(untracked(a), Recorded) for a in arrays):
            raise Unrecordable(f"{what} ({caller()})")

    def require_later(self, what: str) -> None:
        """Raise: what comes cannot be recorded, and does not happen in the next step again."""
        raise Unrecordable(what, later=True)

    def take_back(self) -> None:
        """Give the arrays that were changed by operators their values again."""
        for array, copy in reversed(self._undo):
            array[...] = copy


class RawNamed:
    """What stands for a namespace, which is ``beneath``."""

    beneath: Namespace
