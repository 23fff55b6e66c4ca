"""Parity: one function or model on several backends, compared operation by operation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from nnx import tree
from nnx._errors import BackendUnavailableError, DeviceError
from nnx._typing import Array
from nnx.backend import HOST, Device, device, entry_points, is_array, is_float, load_backend, namespace_of
from nnx.grad import vjp
from nnx.random import Generator
from nnx.tape.observe import observe
from nnx.testing._arguments import Arguments, draw
from nnx.testing._record import Record, Result, disagreement, result


def available_backends() -> list[str]:
    """The flags of the backends that can run here: the host first, and each library once.

    >>> import nnx.testing
    >>> nnx.testing.available_backends()[0]
    'cpu'
    """
    found = {id(load_backend(HOST)): HOST}
    for flag in sorted(entry_points()):
        try:
            backend = device(flag).backend
        except (BackendUnavailableError, DeviceError):
            continue
        found.setdefault(id(backend), backend.flag)
    return list(found.values())


def check_backends(
    f: Callable[..., Any],
    *args: Any,
    backends: Sequence[str] | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> None:
    """Check that ``f`` has the same values and gradients on other backends as on NumPy arrays.

    It is called on plain arrays, its models predicting, and differentiated, its models training. Every
    operation that is recorded, and every step of the walk back, is compared with what NumPy computed
    there, so that the first one that disagrees is named. Shapes, dtypes and devices must be right,
    integers equal, and floats ``a`` within rtol · max|b| + atol of the reference ``b``.

    Args:
        f: a function that answers arrays, alone or in lists, tuples and dicts; or a model.
        args: arrays of any library, models, and lists, tuples and dicts of these. They are copied to
            each backend; what is no array is passed as it is.
        backends: device flags; ``None`` for every backend that can run here.
        rtol: ``None`` for 1e-5 in single precision and 1e-10 in double.
        atol: ``None`` for ten times the epsilon of the dtype.
        seed: of the cotangents with which the walk back starts.

    Raises:
        AssertionError: two backends disagree. The message names the operation.

    >>> import nnx.testing
    >>> model = nnx.Sequential(nnx.Linear(3, 2), nnx.tanh)
    >>> nnx.testing.check_backends(model, nnx.init.ones((4, 3)))
    """
    reference = _Run(f, args, device(HOST), seed)
    reference.go()
    for flag in available_backends()[1:] if backends is None else backends:
        run = _Run(f, args, device(flag), seed)
        judge = functools.partial(disagreement, device=run.place, rtol=rtol, atol=atol)
        try:
            run.go()
        except Exception as error:
            _compare_steps(run.steps, reference.steps[: len(run.steps)], judge, flag)
            error.add_note(f"This happened on the backend {flag!r}; {HOST!r} has answered.")
            raise
        _compare_steps(run.steps, reference.steps, judge, flag)
        _compare_results(run.results, reference.results, judge, flag)


Judge = Callable[[Result, Result], str | None]


class _Run:
    """What ``f`` computes on one device.

    Attributes:
        steps: each recorded operation, and each step of the walk back.
        results: the values and the gradients.
    """

    def __init__(self, f: Callable[..., Any], args: Sequence[Any], place: Device, seed: int) -> None:
        self.place = place
        self.results: list[Result] = []
        self._arguments = Arguments(f, args, place)
        self._record = Record()
        self._rng = Generator(seed)

    @property
    def steps(self) -> list[Result]:
        return self._record.steps

    def go(self) -> None:
        """Differentiate, and call on plain arrays."""
        arguments = self._arguments

        def train(leaves: Sequence[Array]) -> tuple[list[Array], list[Array]]:
            return _by_kind(arguments.call(leaves, training=True))

        with self.place:
            with observe(self._record):
                values, pull, others = vjp(train, arguments.leaves, has_aux=True)
                (gradients,) = pull([draw(self._rng, y, self.place) for y in values])
            plain = [array for kind in _by_kind(arguments.call(arguments.leaves, training=False)) for array in kind]
        self.results = [
            *_numbered("the value of a plain call", plain),
            *_numbered("the value of a differentiated call", [*values, *others]),
            *(result(f"the gradient by {name}", g) for name, g in zip(arguments.names, gradients, strict=True)),
        ]


def _by_kind(value: Any) -> tuple[list[Array], list[Array]]:
    """The arrays in a value: those of floats, which have gradients, and the others."""
    arrays = [y for y in tree.leaves(value) if is_array(y)]
    floating = [is_float(namespace_of(y), y.dtype) for y in arrays]
    return (
        [y for y, kind in zip(arrays, floating, strict=True) if kind],
        [y for y, kind in zip(arrays, floating, strict=True) if not kind],
    )


def _numbered(label: str, arrays: Sequence[Array]) -> list[Result]:
    return [result(f"{label}, {i}" if len(arrays) > 1 else label, array) for i, array in enumerate(arrays)]


def _compare_steps(steps: Sequence[Result], reference: Sequence[Result], judge: Judge, flag: str) -> None:
    """Raise ``AssertionError`` at the first operation that disagrees."""
    for count, (step, expected) in enumerate(zip_longest(steps, reference)):
        if step is None or expected is None or step.label != expected.label:
            ours, theirs = (each.label if each else "nothing more" for each in (step, expected))
            raise AssertionError(
                f"{flag} takes another path than {HOST}: it records {ours}, where {HOST} records {theirs}; a function "
                "that is checked must call the same operations on every backend"
            )
        if wrong := judge(step, expected):
            before = f"; all that was recorded before it ({count}) agrees" if count else ""
            raise AssertionError(f"{flag} disagrees with {HOST} at {step.label}: {wrong}{before}")


def _compare_results(results: Sequence[Result], reference: Sequence[Result], judge: Judge, flag: str) -> None:
    """Raise ``AssertionError`` at the first result that disagrees, though all operations agree."""
    if len(results) != len(reference):
        raise AssertionError(f"{flag} answers {len(results)} arrays, and {HOST} answers {len(reference)}")
    for found, expected in zip(results, reference, strict=True):
        if wrong := judge(found, expected):
            raise AssertionError(
                f"{flag} disagrees with {HOST} in {found.label}: {wrong}; all recorded operations agree, so the cause "
                "lies in what is not recorded: plain calls, integers, and arrays that no argument enters"
            )
