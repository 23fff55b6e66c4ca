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
from nnx.backend import Library, is_array, library_of
from nnx.capture.compilation import Compilation
from nnx.capture.discover import Found
from nnx.capture.program import HOLDS, MISS, STALE, Outcome, Program
from nnx.capture.recorded import Recorded
from nnx.capture.recorder import Unrecordable
from nnx.capture.recording import Recording
from nnx.capture.replay import Replay
from nnx.capture.state import Snapshot, State
from nnx.tape.tracked import Tracked

PROGRAMS = 16
"""How many signatures of a step are captured. Others run plainly."""

RESTLESS = 8
"""After so many recordings that were of no use, as something had changed again, a step is run plainly."""

REMEMBERED = 1024
"""How many signatures are known by name."""

_recording_lock = threading.RLock()
"""One step is recorded at a time: the arrays of its models are replaced meanwhile."""


def capture(step: Callable[..., Any], *, warn: bool = True) -> Captured:
    """Make a function that does what ``step`` does, and spares the Python in between.

    A step is a function from arrays to arrays: of a batch, say, to the loss, and of the state of models and
    optimisers to their next one. The first call for each signature runs ``step`` as it is. The second records which
    functions it calls on which arrays. All later ones call those functions again, and nothing else: no layer, no
    tape, no check of shapes. Results, and what becomes of models and optimisers, are the same to the last bit.

    A signature is the structure of the arguments, the shapes and dtypes of arrays, the values of numbers and
    strings, and which other objects there are. Models and optimisers may be arguments, or be closed over, globals,
    attributes of the object that a method is of, or in lists, tuples and dicts of these. Replace their arrays
    (``model.load``), freeze parameters, or change a setting of a layer, and the step is run plainly and recorded anew.

    What a captured step does not do again is everything else that Python does: it prints, counts, and appends to lists
    while it runs plainly and is recorded, and not when it is replayed. Numbers and arrays that it takes from
    elsewhere than its arguments are constants; those that it closes over may be replaced by others, not those in
    objects that it reaches by way of others. A value that changes from call to call, such as a rate, is best given as
    an array of shape ``()``: as a number it makes a new signature each time.

    A step that reads values (``float(loss)``, ``if x > 0``), makes arrays whose shape depends on values, draws from
    an :class:`nnx.Generator`, or uses models that were not found, is run plainly, with one warning that says what
    it was; so are the further ones of more than 16 signatures. Where values are out of range, kernels raise in
    replayed steps what they raise in plain ones. Functions that raise only where a value can be read at once, as
    some losses do for labels out of range, answer NaN for that loss instead, as on a GPU.

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
    (True, 98)
    """
    if not callable(step):
        raise ArgumentError(f"a step is a function of arrays, models and optimisers, got {step!r}")
    return Captured(step, warn)


class Captured:
    """What :func:`capture` answers.

    Attributes:
        replays: how many calls were replayed.
    """

    def __init__(self, step: Callable[..., Any], warn: bool) -> None:
        functools.update_wrapper(self, step, updated=())
        self._step = step
        self._warn = warn
        self._lock = threading.RLock()
        self._programs: list[Program] = []  # the one that ran last comes first
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
        signature = _signature((args, options))
        if signature in self._beside:
            return MISS
        library = self._library(args, options)
        if library is None:
            return MISS  # inside a differentiation
        if library.backend is None or library.backend.capture is None:
            _remember(self._beside, signature)
            return MISS
        if signature not in self._warm:
            _remember(self._warm, signature)
            return self._step(*args, **options)
        if len(self._programs) < PROGRAMS:
            return self._record(library, args, options)
        _remember(self._beside, signature)
        if not self._full:
            self._full = True
            self._say(f"it was called with more than {PROGRAMS} signatures; the others run plainly")
        return MISS

    def _renew(self, program: Program, args: Any, options: Any) -> Any:
        """A plain step where models or optimisers have changed, after which the program may do again."""
        result = self._step(*args, **options)
        if program in self._programs and program.check(args, options) is not HOLDS:
            self._programs.remove(program)
            self._restless = self._restless + 1 if self.replays - self._fresh < 2 else 0
            if self._restless > RESTLESS:
                self._give_up("something that it uses changes from call to call")
        return result

    def _library(self, args: Any, options: Any) -> Library | None:
        """The one library of all arrays; ``None`` if there are several, or they are tracked."""
        found = Found(self._step, (args, options))
        held = [a for model in found.models for a in model.arrays().values()]
        arrays = [a for a in (*tree.leaves([list(args), options]), *held) if is_array(a)]
        if any(isinstance(a, (Tracked, Recorded)) for a in arrays):
            return None
        libraries = {id(library.namespace): library for library in map(library_of, arrays)}
        return next(iter(libraries.values())) if len(libraries) == 1 else None

    def _record(self, library: Library, args: Any, options: Any) -> Any:
        with _recording_lock:
            found = Found(self._step, (args, options))
            state = State(found)
            snapshot = Snapshot(state, library)
            kind = Replay if library.backend.capture == "replay" else Compilation  # type: ignore[union-attr]
            recording: Recording = kind(library, found, state, (args, options))
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
                self._programs.insert(0, recording.program())
                self._fresh = self.replays
            except Exception as error:  # the step is done, and what it answers must not be lost
                self._give_up(f"its calls make no program, {type(error).__name__}: {error}")
            return result

    def _give_up(self, reason: str) -> None:
        self._plain = True
        self._programs.clear()
        self._say(reason)

    def _say(self, reason: str) -> None:
        if self._warn:
            name = getattr(self._step, "__qualname__", repr(self._step))
            said = f"nnx.capture runs {name} plainly: {reason}. See nnx.capture for what can be captured"
            warnings.warn(said, UserWarning, stacklevel=_depth())


def _depth() -> int:
    """How many calls up the caller of a captured step is, as ``warnings.warn`` counts."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"] == __name__:
        frame, depth = frame.f_back, depth + 1
    return depth


def _remember(signatures: set[Any], signature: Any) -> None:
    if len(signatures) >= REMEMBERED:
        signatures.clear()
    signatures.add(signature)


def _signature(x: Any) -> Any:
    if isinstance(x, dict):
        return type(x), tuple((key, _signature(item)) for key, item in x.items())
    if isinstance(x, (list, tuple)):
        return type(x), tuple(_signature(item) for item in x)
    if is_array(x):
        return type(x), tuple(x.shape), str(x.dtype)
    if isinstance(x, (bool, int, float, complex, str, bytes, type(None))):
        return type(x), x
    return type(x), id(x)
