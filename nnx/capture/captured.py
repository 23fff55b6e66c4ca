"""A step that is recorded once and replayed."""

from __future__ import annotations

import functools
import sys
import threading
import warnings
from collections.abc import Callable
from types import MethodType
from typing import Any

from nnx import tree
from nnx._errors import ArgumentError
from nnx._recording import recorder, recorders
from nnx._typing import Array
from nnx.backend import Library, activation, is_array, library_of
from nnx.capture.compilation import Compilation
from nnx.capture.discover import Found
from nnx.capture.instruction import Unrecordable
from nnx.capture.program import HOLDS, MISS, STALE, Outcome, Program
from nnx.capture.proof import COMPILED, GRAPHED, REPLAYED, prove
from nnx.capture.recorded import Recorded
from nnx.capture.recording import Recording, Subject
from nnx.capture.replay import Replay
from nnx.capture.signature import remember, signature_of
from nnx.capture.state import Snapshot, State
from nnx.tape.tracked import Tracked

PROGRAMS = 16
"""How many signatures of a step are captured. Others run plainly."""

RESTLESS = 8
"""After so many recordings that were of no use, as something had changed again, a step is run plainly."""

_recording_lock = threading.RLock()
"""One step is recorded at a time: the arrays of its models are replaced meanwhile."""


def capture(step: Callable[..., Any], *, warn: bool = True) -> Captured:
    """Make a function that does what ``step`` does, and spares the Python in between.

    A step is a function from arrays to arrays: of a batch, say, to the loss, and of the state of models and
    optimisers to their next one. The first call for each signature runs ``step`` as it is. The second records which
    functions it calls on which arrays. The third replays those calls, takes back what they did, runs ``step`` as it
    is, and compares: if they differ, the step is run plainly from then on. All later ones make the recorded calls, and
    nothing else: no layer, no tape, no check of shapes. On NumPy, results, and what becomes of models and optimisers,
    are the same to the last bit; where a backend compiles steps, in all but the last places. On a CUDA GPU the
    recorded calls become one graph of the device's work, which is launched in one call.

    A signature is the structure of the arguments, the shapes and dtypes of arrays, the values of numbers, strings and
    slices, and which other objects there are. Models and optimisers may be arguments, or be closed over, globals,
    attributes of objects that the step reaches by name, or in lists, tuples and dicts of these. Freeze parameters, or
    change a setting of a layer, and the step is run plainly and recorded anew; so it is if a number, an array or a
    function is replaced that stands where models are looked for (docs/capture.md says where that is).

    What a captured step does not do again is everything else that Python does: it prints, counts, and appends to lists
    while it runs plainly and is recorded, and not when it is replayed. What it reads from files, clocks, iterators,
    and objects that it reaches in other ways, is a constant. A value that changes from call to call, such as a rate,
    is best given as an array of shape ``()``: as a number it makes a new signature each time.

    A step that reads values (``float(loss)``, ``if x > 0``), makes arrays whose shape depends on values, draws from
    an :class:`nnx.Generator`, keeps arrays in lists and variables, or uses models or arrays that were not found, is
    run plainly, with one warning that says what it was; so are the further ones of more than 16 signatures. A step
    whose recording fails is run a second time in that call: models and optimisers are then what they were, and
    anything else that it has changed is changed twice. Where values are out of range, kernels raise in replayed steps
    what they raise in plain ones. Functions that raise only where a value can be read at once, as some losses do for
    labels out of range, answer NaN for that loss instead, as on a GPU.

    Calls from several threads take turns. On backends that do not capture (see ``nnx._typing.Backend``) the
    function is ``step``.

    Args:
        step: a function of arrays, models, optimisers, numbers, and lists, tuples and dicts of these. A method will
            do.
        warn: whether to warn where it is run plainly.

    Returns:
        A function with the arguments of ``step``; its attribute ``replays`` counts the calls that were replayed.

    Raises:
        ArgumentError: ``step`` cannot be called.
        StateError: when an array is used that a step has kept elsewhere than in models and optimisers while it was
            recorded.

    >>> import nnx
    >>> value_and_grad = nnx.value_and_grad(lambda model, x, y: nnx.losses.mse(model(x), y))
    >>> @nnx.capture
    ... def step(model, optimizer, x, y):
    ...     loss, grads = value_and_grad(model, x, y)
    ...     optimizer.update(model, grads)
    ...     return loss
    >>> model, optimizer = nnx.Linear(1, 1), nnx.optim.SGD(0.1)
    >>> x = nnx.asarray([[0.0], [1.0], [2.0], [3.0]])
    >>> for _ in range(100):
    ...     loss = step(model, optimizer, x, 2 * x + 1)
    >>> bool(loss < 1e-3), step.replays
    (True, 97)
    """
    if not callable(step):
        raise ArgumentError(f"a step is a function of arrays, models and optimisers, got {step!r}")
    return Captured(step, warn)


class Captured:
    """What :func:`capture` answers.

    Attributes:
        replays: how many calls were replayed, without those that were compared with plain steps.
    """

    def __init__(self, step: Callable[..., Any], warn: bool) -> None:
        functools.update_wrapper(self, step, updated=())
        self._step = step
        self._warn = warn
        self._lock = threading.RLock()
        self._programs: list[Program] = []  # the one that ran last comes first
        self._unproved: list[Program] = []  # those that have not run yet
        self._captured: dict[Any, Program] = {}  # both, by signature
        self._warm: set[Any] = set()  # signatures that have run once
        self._beside: set[Any] = set()  # and those that are not captured
        self._plain = self._full = False
        self.replays = 0
        self._fresh = -1  # replays at the last recording
        self._restless = 0

    def __repr__(self) -> str:
        return f"<captured {getattr(self._step, '__qualname__', self._step)!s}>"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> Any:
        """By its name, as functions are, where that leads to it."""
        name = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is self:
            return name
        return Captured, (self._step, self._warn)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The next step."""
        if self._plain or (recorders and recorder() is not None):  # that is part of what is recorded
            return self._step(*args, **options)
        with self._lock:
            if recorders:  # another thread has replaced the arrays of its models
                return self._step(*args, **options)
            if self._programs:
                result = self._programs[0].run(args, options)
                if type(result) is not Outcome:
                    self.replays += 1
                    return result
            result = self._search(args, options)
        return self._step(*args, **options) if result is MISS else result

    def _search(self, args: Any, options: Any) -> Any:
        """The result of a step; ``MISS`` where it is not captured."""
        for i, program in enumerate(self._programs):
            result = program.run(args, options)
            if result is STALE:
                return self._renew(program, args, options)
            if result is not MISS:
                self._programs.insert(0, self._programs.pop(i))
                self.replays += 1
                return result
        for program in self._unproved:
            outcome = program.check(args, options)
            if outcome is STALE:
                return self._renew(program, args, options)
            if outcome is HOLDS:
                return self._prove(program, args, options)
        signature = signature_of((args, options))
        if signature in self._beside or signature in self._captured:
            return MISS
        library = self._library(args, options)
        if library is None:
            return MISS  # inside a differentiation
        if library.backend is None or library.backend.capture is None:
            remember(self._beside, signature)
            return MISS
        if signature not in self._warm:
            remember(self._warm, signature)
            return self._step(*args, **options)
        if len(self._captured) < PROGRAMS:
            return self._record(library, args, options, signature)
        remember(self._beside, signature)
        if not self._full:
            self._full = True
            self._say(f"it was called with more than {PROGRAMS} signatures; the others run plainly")
        return MISS

    def _renew(self, program: Program, args: Any, options: Any) -> Any:
        """A plain step where models or optimisers have changed, after which the program may do again."""
        result = self._step(*args, **options)
        if program in self._captured.values() and program.check(args, options) is not HOLDS:
            for programs in (self._programs, self._unproved):
                if program in programs:
                    programs.remove(program)
            self._captured = {key: value for key, value in self._captured.items() if value is not program}
            self._restless = self._restless + 1 if self.replays - self._fresh < 2 else 0
            if self._restless > RESTLESS:
                self._give_up("something that it uses changes from call to call")
        return result

    def _prove(self, program: Program, args: Any, options: Any) -> Any:
        """A plain step, before which the program has shown whether it does the same."""
        library = self._library(args, options)
        if library is None:
            return MISS
        tolerance = REPLAYED if library.backend.capture == "replay" else COMPILED  # type: ignore[union-attr]
        if library.backend.graph is not None:  # type: ignore[union-attr]
            tolerance = GRAPHED
        with _recording_lock, activation(self._arrays(args, options)):
            result, same = prove(program, self._step, (args, options), library, tolerance)
        if same and program in self._unproved:
            self._unproved.remove(program)
            self._programs.insert(0, program)
        elif same is False:
            self._give_up(
                "replayed, it does not compute what the step does: it depends on something that changes from call to "
                "call"
            )
        return result

    def _library(self, args: Any, options: Any) -> Library | None:
        """The one library of all arrays; ``None`` if there are several, or they are tracked."""
        arrays = self._arrays(args, options)
        if any(isinstance(a, (Tracked, Recorded)) for a in arrays):
            return None
        libraries = {id(library.namespace): library for library in map(library_of, arrays)}
        return next(iter(libraries.values())) if len(libraries) == 1 else None

    def _arrays(self, args: Any, options: Any) -> list[Array]:
        """Those of the arguments, and of the models that are found."""
        found = Found(self._step, (args, options))
        held = [a for model in found.models for a in model.arrays().values()]
        return [a for a in (*tree.leaves([list(args), options]), *held) if is_array(a)]

    def _record(self, library: Library, args: Any, options: Any, signature: Any) -> Any:
        with _recording_lock, activation(self._arrays(args, options)):
            found = Found(self._step, (args, options))
            state = State(found)
            snapshot = Snapshot(state, library)
            kind = Replay if library.backend.capture == "replay" else Compilation  # type: ignore[union-attr]
            recording: Recording = kind(Subject(library, found, state, (args, options), self._say_slower))
            try:
                result = recording.run(self._step)
            except BaseException as error:
                snapshot.restore()
                recording.take_back()
                if not isinstance(error, Exception):
                    raise
                plain = self._step(*args, **options)  # raises what a plain step raises
                if not (isinstance(error, Unrecordable) and error.later):
                    said = str(error).strip().partition("\n")[0]
                    said = said if isinstance(error, Unrecordable) else f"{type(error).__name__}: {said}"
                    self._give_up(recording.reason or said)
                return plain
            if recording.reason is not None:
                self._give_up(recording.reason)
                return result
            try:
                program = recording.program()
                self._unproved.append(program)
                self._captured[signature] = program
                self._fresh = self.replays
            except Exception as error:  # the step is done, and what it answers must not be lost
                self._give_up(f"its calls make no program, {type(error).__name__}: {error}")
            return result

    def _give_up(self, reason: str) -> None:
        self._plain = True
        self._programs.clear()
        self._unproved.clear()
        self._captured.clear()
        self._say(reason)

    def _say(self, reason: str, how: str = "runs {} plainly") -> None:
        if self._warn:
            how = how.format(getattr(self._step, "__qualname__", repr(self._step)))
            said = f"nnx.capture {how}: {reason}. See nnx.capture for what can be captured"
            warnings.warn(said, UserWarning, stacklevel=_depth())

    def _say_slower(self, reason: str) -> None:
        self._say(reason, "replays the calls of {} one by one, and not as one graph of the device's work")


def _depth() -> int:
    """How many calls up the caller of a captured step is, as ``warnings.warn`` counts."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"] == __name__:
        frame, depth = frame.f_back, depth + 1
    return depth
