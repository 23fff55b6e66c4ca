"""A recording as one Python function, which is written and compiled.

Arrays are local variables, forgotten after their last use, so that their memory is used again while it is hot. What
the step takes for granted is looked up first: the function answers ``MISS`` for other arguments than those that it
was recorded with, and ``STALE`` if models or optimisers are not what they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from nnx import _plan
from nnx._typing import Array, Precision, Tree
from nnx.capture.discover import Link
from nnx.capture.instruction import Instruction, Ref
from nnx.capture.prune import kept
from nnx.capture.state import Place, Setting
from nnx.capture.writer import Writer, refs


class Outcome:
    """What a program answers where it did not run."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


class Program(NamedTuple):
    """What a recording has become.

    Attributes:
        run: ``(args, options)``: does what the step does, or answers ``MISS`` or ``STALE``.
        check: the same without doing it; answers ``HOLDS`` if it would.
        source: the source of both, for people.
        low: whether it computes in floats of 16 bits, which agree in fewer digits.
    """

    run: Callable[[Any, Any], Any]
    check: Callable[[Any, Any], Outcome]
    source: str
    low: bool = False


MISS, STALE, HOLDS = Outcome("MISS"), Outcome("STALE"), Outcome("HOLDS")


def write_program(
    *,
    arguments: tuple[Any, Any],
    recorded_arguments: tuple[Any, Any],
    places: Sequence[tuple[Place, Any]],
    written: Sequence[tuple[Place, Any]],
    settings: Sequence[Setting],
    links: Sequence[Link],
    recheck: Callable[[], bool],
    containers: Callable[[], bool] | None,
    instructions: Sequence[Instruction],
    constants: Mapping[int, Array],
    guesses: Mapping[int, Array],
    result: Tree,
) -> Program:
    """Write what replays a recording.

    Args:
        arguments, recorded_arguments: those of the step, and with refs in place of arrays.
        places: each place of the state, with its refs.
        written: the places where other arrays stand after the step, with their refs.
        settings, links: what has to be what it was.
        recheck: whether models still have their structure, where some module's has changed.
        containers: whether their lists and dicts hold what they held; ``None`` if there are none.
        instructions, constants, guesses: of the recorder.
        result: what the step answers, as refs.
    """
    used = {*refs(result), *refs([after for _, after in written])}
    instructions, constants = kept(instructions, constants, guesses, used)
    writer = Writer(constants)
    _arguments(writer, arguments, recorded_arguments)
    _guards(writer, settings, links, recheck, containers)
    _reads(writer, places, used.union(*(refs((call.args, call.options)) for call in instructions)))
    head = list(writer.lines)
    _body(writer, instructions, set(refs([before for _, before in places])), written, result)
    source = "def program(args, options):\n" + "\n".join(writer.lines) + "\n"
    check = "def check(args, options):\n" + "\n".join([*head, f"    return {writer.name(HOLDS)}"]) + "\n"
    scope = writer.names
    exec(compile(source + check, "<captured step>", "exec"), scope)
    return Program(scope["program"], scope["check"], source + check)


def in_precision(program: Program, precisions: Iterable[Precision]) -> Program:
    """A program in the contexts of the precisions that its step computes in, all of it: a call does not say which."""
    precisions = list(precisions)
    program = program._replace(low=any(how.dtype is not None for how in precisions))
    makers = [how.context for how in precisions if how.context is not None]
    if not makers:
        return program

    def run(args: Any, options: Any) -> Any:
        with ExitStack() as contexts:
            for make in makers:
                contexts.enter_context(make())
            return program.run(args, options)

    return program._replace(run=run)


def body_of(
    instructions: Sequence[Instruction], constants: Mapping[int, Array], inputs: Sequence[int], outputs: Sequence[int]
) -> Callable[[Sequence[Array]], list[Array]]:
    """A function that makes calls: of the arrays of the slots ``inputs``, it answers those of the slots ``outputs``."""
    writer = Writer(constants)
    if inputs:
        writer.line(", ".join(f"v{slot}" for slot in inputs) + ", = arrays")
    _body(writer, instructions, set(), [], [Ref(slot) for slot in outputs])
    scope = writer.names
    exec(compile("def body(arrays):\n" + "\n".join(writer.lines) + "\n", "<captured step>", "exec"), scope)
    body: Callable[[Sequence[Array]], list[Array]] = scope["body"]
    return body


def _arguments(writer: Writer, arguments: tuple[Any, Any], recorded: tuple[Any, Any]) -> None:
    """Compare the arguments with those of the recording, and name their arrays."""
    conditions: list[str] = []
    _match(writer, conditions, "args", arguments[0], recorded[0])
    if arguments[1]:
        _match(writer, conditions, "options", arguments[1], recorded[1])
    else:
        conditions.append("options")
    writer.leave_if(conditions, MISS)


def _match(writer: Writer, conditions: list[str], e: str, x: Any, r: Any) -> None:
    """Compare what ``e`` is with ``x``; ``r`` is that with refs in place of arrays."""
    kind = writer.name(type(x))
    if isinstance(r, Ref):
        writer.line(f"v{r.slot} = {e}")
        v, dtype = f"v{r.slot}", writer.name(x.dtype)
        conditions += [f"type({v}) is not {kind}", f"{v}.shape != {writer.name(x.shape)}"]
        conditions.append(f"({v}.dtype is not {dtype} and {v}.dtype != {dtype})")
    elif isinstance(x, (list, tuple, dict)):
        if isinstance(x, dict):
            conditions += [f"type({e}) is not {kind}", f"list({e}) != {writer.name(list(x))}"]
        else:
            conditions += [f"type({e}) is not {kind}", f"len({e}) != {len(x)}"]
        writer.leave_if(conditions, MISS)
        conditions.clear()
        keys = list(x) if isinstance(x, dict) else range(len(x))
        names = [writer.new_name() for _ in keys]
        if names:
            values = f"{e}.values()" if isinstance(x, dict) else e  # in the same order, as that has been compared
            writer.line(f"{', '.join(names)}, = {values}")
        for name, key in zip(names, keys, strict=True):
            _match(writer, conditions, name, x[key], r[key])
    elif isinstance(x, slice):
        conditions.append(f"type({e}) is not {kind}")
        writer.leave_if(conditions, MISS)
        conditions.clear()
        for part in ("start", "stop", "step"):
            _match(writer, conditions, f"{e}.{part}", getattr(x, part), getattr(r, part))
    elif isinstance(x, (float, complex)):  # 0.0 is not -0.0, and NaN is NaN
        conditions.append(f"({e} is not {writer.name(x)} and (type({e}) is not {kind} or repr({e}) != {repr(x)!r}))")
    elif isinstance(x, (bool, int, str, bytes)):
        value = writer.name(x)
        conditions.append(f"({e} is not {value} and (type({e}) is not {kind} or {e} != {value}))")
    else:
        conditions.append(f"{e} is not {writer.name(x)}")


def _guards(
    writer: Writer,
    settings: Sequence[Setting],
    links: Sequence[Link],
    recheck: Callable[[], bool],
    containers: Callable[[], bool] | None,
) -> None:
    """Compare what else the step takes for granted."""
    seen = [_plan._version]

    def again() -> bool:
        if not recheck():
            return False
        seen[0] = _plan._version
        return True

    writer.line("try:")
    changed = f"{writer.name(_plan)}._version != {writer.name(seen)}[0]"
    writer.leave_if([f"({changed} and not {writer.name(again)}())"], STALE, 2)
    if containers is not None:
        writer.leave_if([f"not {writer.name(containers)}()"], STALE, 2)
    conditions = [_replaced(writer, link) for link in links]
    conditions += [f"{writer.name(s.owner)}[{s.key!r}] is not {writer.name(s.value)}" for s in settings]
    for i in range(0, len(conditions), 8):
        writer.leave_if(conditions[i : i + 8], STALE, 2)


def _replaced(writer: Writer, link: Link) -> str:
    """Whether something else stands where a link leads."""
    holder = writer.name(link.holder)
    if link.how == "length":
        return f"len({holder}) != {link.value}"
    if link.how == "cell":
        now = f"{holder}.cell_contents"
    else:
        now = f"{holder}.{link.name}" if link.how == "attribute" else f"{holder}[{writer.expression(link.name)}]"
    return f"{now} is not {writer.name(link.value)}"


def _reads(writer: Writer, places: Sequence[tuple[Place, Any]], uses: set[int]) -> None:
    """Read the state, and compare arrays that stand in several places."""
    count = Counter(slot for _, before in places for slot in refs(before))
    read: set[int] = set()
    for place, before in places:
        if not any(slot in uses or count[slot] > 1 for slot in refs(before)):
            continue
        conditions: list[str] = []
        target = _names(writer, before, read, conditions)
        writer.line(f"{target} = {writer.place(place)}", 2)
        if place.of_model and isinstance(before, Ref) and count[before.slot] == 1:
            value, v = place.get(), f"v{before.slot}"
            conditions += [f"{v}.shape != {writer.name(value.shape)}", f"{v}.dtype != {writer.name(value.dtype)}"]
        writer.leave_if(conditions, STALE, 2)
    errors = writer.name((LookupError, AttributeError, TypeError, ValueError))
    writer.line(f"except {errors}: return {writer.name(STALE)}")


def _names(writer: Writer, before: Any, read: set[int], conditions: list[str]) -> str:
    """The variables that an array, or a sequence of them, is read into; one that was read before is compared."""
    if not isinstance(before, Ref):
        return "(" + "".join(_names(writer, item, read, conditions) + ", " for item in before) + ")"
    if before.slot not in read:
        read.add(before.slot)
        return f"v{before.slot}"
    name = writer.new_name()
    conditions.append(f"{name} is not v{before.slot}")
    return name


def _body(
    writer: Writer,
    instructions: Sequence[Instruction],
    state: set[int],
    written: Sequence[tuple[Place, Any]],
    result: Tree,
) -> None:
    """The calls, and where state is written back."""
    last: dict[int, int] = {}
    made: dict[int, int] = {}
    changes: list[int] = []
    for i, instruction in enumerate(instructions):
        arguments, results = set(refs((instruction.args, instruction.options))), set(refs(instruction.result))
        last |= dict.fromkeys(arguments | results, i)
        made |= dict.fromkeys(results, i)
        if instruction.changes and arguments & state:
            changes.append(i)
    end = len(instructions) - 1
    writes: dict[int, list[tuple[Place, Any]]] = {}
    for place, after in written:  # when parameters have next changed: what raises earlier leaves all as it was
        slots = set(refs(after))
        i = max(made.get(slot, -1) for slot in slots) if slots else -1
        i = next((change for change in changes if change >= i), i if changes else end)
        writes.setdefault(i, []).append((place, after))
        last |= {slot: max(last.get(slot, -1), i) for slot in slots}
    gone: dict[int, list[int]] = {}
    for slot in last.keys() - {*refs(result), *writer.constants}:
        gone.setdefault(last[slot], []).append(slot)
    for i in range(-1, len(instructions)):
        if i >= 0:
            writer.line(writer.statement(instructions[i]))
        for place, after in writes.get(i, ()):
            writer.line(f"{writer.place(place)} = {writer.expression(after)}")
        if i in gone:
            writer.line("del " + ", ".join([f"v{slot}" for slot in sorted(gone[i])]))
    writer.line(f"return {writer.expression(result)}")
