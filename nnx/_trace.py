"""One differentiation: what it tracks, and how its results are untracked again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nnx import tree
from nnx._errors import DifferentiationError, DTypeError
from nnx._precision import lowered, precision_of, wide
from nnx._recording import recorder, recorders
from nnx._typing import Array, DType, Namespace, Precision, Tree
from nnx.backend import activation, activators, asarray, is_array, is_float, is_low, library_of, namespace_of
from nnx.backend.activation import NOTHING, Context
from nnx.tape.backward import backward
from nnx.tape.node import CONSTANT, Node, new_level
from nnx.tape.primitive import constants, held, untracked
from nnx.tape.tracked import Tracked
from nnx.vjps import differentiable

Collect = Callable[[list[Array]], Tree]
"""The gradient of an argument, from the gradients of all leaves."""


class Trace:
    """One differentiation: what it tracks, and how its results are untracked again."""

    def __init__(self, training: bool, precision: str | None = None) -> None:
        self.level = new_level()
        self._training = training
        self._name = precision
        self._precision: Precision | None = None  # known when there is an array to ask for its library
        self._nodes: list[Node] = []
        self._values: list[Array] = []  # not the tracked arrays, to parts of which the function may assign
        self._untracked: list[Any] = []  # models without a parameter that is trained, whose arrays lie somewhere, too
        self._arguments: list[Collect] = []
        self._write_backs: list[Callable[..., None]] = []

    def activation(self) -> Context:
        """A context in which the device of what is tracked is current, and products are of the precision asked for."""
        device = activation(*self._values[:1], *self._untracked) if activators else NOTHING
        if self._precision is None:
            return device
        if recorders and (recording := recorder()):
            recording.precision(self._name, self._precision)  # type: ignore[arg-type]
        if self._precision.context is None:
            return device
        return _both(device, self._precision.context())

    def track_arguments(self, args: Sequence[Any], argnums: int | Sequence[int]) -> tuple[list[Any], bool]:
        several = isinstance(argnums, Iterable)
        tracked = list(args)
        seen = set()
        for i in argnums if isinstance(argnums, Iterable) else (argnums,):
            if not -len(args) <= i < len(args):
                raise DifferentiationError(f"argnums has {i}, but the function was called with {len(args)} arguments")
            if i % len(args) in seen:
                raise DifferentiationError(f"argnums names the argument {i} twice")
            seen.add(i % len(args))
            tracked[i], collect = self._track(args[i])
            self._arguments.append(collect)
        if self._nodes and self._nodes[0].xp in _reluctant:
            xp = self._nodes[0].xp
            tracked = [
                x if i in seen else tree.map_leaves(lambda a: companion(a, xp), x) for i, x in enumerate(tracked)
            ]
        return tracked, several

    def _track(self, x: Any) -> tuple[Any, Collect]:
        """``x`` with its arrays tracked, and what collects its gradient from those of all leaves."""
        if hasattr(x, "_twin"):
            return self._track_model(x)
        if isinstance(x, dict):
            pairs = {key: self._track(item) for key, item in x.items()}
            collects = {key: collect for key, (_, collect) in pairs.items()}
            return {key: t for key, (t, _) in pairs.items()}, (
                lambda found: {key: collect(found) for key, collect in collects.items()}
            )
        if isinstance(x, (list, tuple)):
            items = [self._track(item) for item in x]
            kind = type(x)
            return tree.sequence(kind, [t for t, _ in items]), (
                lambda found: tree.sequence(kind, [collect(found) for _, collect in items])
            )
        if x is None:
            return None, lambda found: None
        place = len(self._nodes)
        return self._leaf(x, "the argument"), lambda found: found[place]

    def _track_model(self, model: Any) -> tuple[Any, Collect]:
        start, level = len(self._nodes), self.level
        tracked = {}
        for name, array in model.parameters().items():  # as _leaf does, without its calls
            xp = _spaces.get((type(array), array.dtype))
            if xp is None:
                array, xp = held(array), _space(array, name)
            node = Node(level, xp)
            self._nodes.append(node)
            self._values.append(array)
            tracked[name] = Tracked(array, xp, node)
        if not tracked:
            self._untracked.append(model)
        if recorders and (recording := recorder()):
            recording.require(self._values[start:], "a model that is differentiated was not found beforehand")
        stand_ins = tracked
        if tracked and self._nodes[start].xp in _reluctant:
            xp = self._nodes[start].xp
            stand_ins = {name: held(companion(x, xp)) for name, x in model.arrays().items()} | tracked
        if self._name is None:
            twin, write_back = model._twin(self._training, stand_ins)
        else:
            twin, write_back = model._twin(self._training, self._lowered(model, stand_ins), stand_ins)
        self._write_backs.append(write_back)
        return twin, lambda found: dict(zip(tracked, found[start:], strict=False))

    def _leaf(self, x: Any, name: str) -> Tracked:
        if type(x) is float or type(x) is int:  # not NumPy's scalars, which have a dtype
            x = asarray(float(x))
        elif type(x) is complex:
            x = asarray(x)
        if recorders and (recording := recorder()):
            x = recording.stand_in(x)
        xp = None if type(x) is Tracked else _spaces.get((type(x), getattr(x, "dtype", None)))
        if xp is None:
            x, xp = held(x), _space(x, name)
        node = Node(self.level, xp)
        self._nodes.append(node)
        self._values.append(x)
        leaf = Tracked(x, xp, node)
        return leaf if self._name is None else self._low(leaf, name)

    def _low(self, x: Array, name: str) -> Array:
        """A tracked array in the precision asked for, so that its gradient comes back in its own dtype."""
        if self._precision is None:
            self._precision = precision_of(self._name, untracked(x))  # type: ignore[arg-type]
        dtype = self._precision.dtype
        if dtype is None:
            return x
        with activation(untracked(x)):
            return lowered(namespace_of(x), x, dtype, name)

    def _lowered(self, model: Any, tracked: Mapping[str, Array]) -> dict[str, Array]:
        """What stands for the parameters of a model in the precision asked for, also for those that are frozen."""
        found = {name: self._low(x, name) for name, x in tracked.items()}
        buffers = model.buffers()
        for name, x in model.arrays().items():
            if name not in found and name not in buffers:
                found[name] = self._low(x, name)
        return found

    def gradients(self, roots: Sequence[tuple[Node, Array]], *, release: bool) -> list[Tree]:
        """The gradient of each argument; zeros where the result does not depend on it."""
        found = backward(roots, self._nodes, release=release)
        for i, g in enumerate(found):
            if g is None:
                found[i] = namespace_of(self._values[i]).zeros_like(self._values[i])
            elif type(g) is Tracked:  # it may stand for several arguments, or be the cotangent itself
                found[i] = held(g)
        return [collect(found) for collect in self._arguments]

    def untrack(self, x: Any) -> Any:
        """``x`` as it is outside this differentiation."""
        if type(x) is not Tracked:
            return x
        if x.node.level > self.level:
            raise DifferentiationError(
                "the function answered or kept a tracked array of a differentiation that has ended, and whose gradient "
                "is lost: have the inner function answer it, with has_aux=True beside its value"
            )
        if x.node.level == self.level:
            x = held(x.value)
        return x.value if type(x) is Tracked and x.node is CONSTANT else x

    def write_back(self, keep: Callable[[Array, Array], Array] | None = None) -> None:
        """Give the models the buffers that their copies rebound; of ``keep(before, after)`` its choice."""
        if self._precision is not None and self._precision.dtype is not None:
            keep = _widened(keep)
        for write in self._write_backs:
            write(self.untrack, keep)


def _widened(keep: Callable[[Array, Array], Array] | None) -> Callable[[Array, Array], Array]:
    """``keep`` of a step in a low type, which leaves float32 in the buffers of a float32 model."""

    def kept(before: Array, after: Array) -> Array:
        if is_array(after) and is_low(after.dtype) and not (is_array(before) and is_low(before.dtype)):
            after = wide(namespace_of(after), after)
        return after if keep is None else keep(before, after)

    return kept


@contextmanager
def _both(outer: Context, inner: Context) -> Iterator[None]:
    with outer, inner:
        yield


_spaces: dict[tuple[type, DType], Namespace] = {}
"""The differentiable namespace of raw arrays of floats, by type and dtype."""


_reluctant: set[Namespace] = set()
"""Those whose raw arrays raise at an operator with a tracked one on its right; constants stand for them."""


def companion(x: Any, xp: Namespace | None) -> Any:
    """``x`` as it may stand on the left of an array of ``xp``: a constant, where raw arrays raise at tracked ones."""
    if xp not in _reluctant or type(x) is Tracked or not is_array(x):
        return x
    return constants(xp, x)


def _space(x: Any, name: str) -> Namespace:
    if not is_array(x):
        raise DifferentiationError(
            f"cannot differentiate by {name}, a {type(x).__name__}: expected an array, a model, or "
            "lists, tuples and dicts of these; name the arguments that are with argnums="
        )
    raw = x.xp.raw if type(x) is Tracked else library_of(x).namespace
    if not is_float(raw, x.dtype):
        raise DTypeError(
            f"cannot differentiate by {name}, which has dtype {x.dtype}: expected a "
            "floating-point dtype; convert it with xp.astype(x, xp.float32)"
        )
    if type(x) is Tracked:
        return x.xp
    xp = differentiable(raw)
    if not library_of(x).defers:
        _reluctant.add(xp)
    return _spaces.setdefault((type(x), x.dtype), xp)
