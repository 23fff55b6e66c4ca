"""Modules: objects whose arrays are trained, saved and moved by name."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from fnmatch import fnmatchcase
from functools import partial
from numbers import Number
from types import FunctionType
from typing import Any, Self

from nnx._declare import Buffer, Parameter, declared
from nnx._errors import ArgumentError, DTypeError, ShapeError, StateError, UndeclaredStateError
from nnx._plan import Plan, first_of, modules_in, pick, put, structure_changed
from nnx._typing import Array
from nnx.backend import Device, asarray, device, device_of, dtype_kind, is_array, namespace_of, native_device
from nnx.tape.primitive import held, same, untracked

__all__ = ["Buffer", "Module", "Parameter"]


class Module:
    """The base of layers and models.

    A subclass declares its arrays by annotation and computes in ``__call__``. Other modules may be
    attributes, or stand in lists, tuples and dicts that are. The name of an array is the path to it,
    e.g. ``encoder.layers.0.weight``. An array or a module that stands in several places has the name
    of the first, and stays one.

    A module predicts when it is called. While it is differentiated, the function gets a copy whose
    ``training`` is true; nothing else sets it.

    >>> import nnx
    >>> class Scale(nnx.Module):
    ...     factor: nnx.Parameter  # (features,)
    ...
    ...     def __init__(self, features, *, device=None, rng=None):
    ...         self.factor = nnx.init.ones((features,), device=device, rng=rng)
    ...
    ...     def __call__(self, x):
    ...         return x * self.factor
    >>> Scale(3).parameters()
    {'factor': array([1., 1., 1.], dtype=float32)}
    """

    training: bool = False
    _frozen: frozenset[str] = frozenset()
    __slots__ = ("__dict__", "__weakref__", "_origin", "_plan")  # slots, so that copies and pickles leave them out
    _plan: Plan
    _origin: tuple[Plan, Mapping[str, Array]]  # of a copy: the plan of its original, and what it was given

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Compute; a subclass says how."""
        raise TypeError(f"{type(self).__name__} does not say what it computes: define __call__(self, x) in the class")

    def __setattr__(self, name: str, value: Any) -> None:
        kinds, before = declared(type(self)), self.__dict__.get(name)
        changes = False
        if name in kinds.buffers or name in kinds.parameters:
            if value is not None and not is_array(value):
                raise StateError(
                    f"{type(self).__name__}.{name} is declared to hold an array, got {type(value).__name__}: "
                    "make one with nnx.asarray(...) or an initialiser of nnx.init"
                )
            changes = name in kinds.parameters or (value is None) != (before is None)
        elif _holds_array(value):
            raise UndeclaredStateError(
                f"{type(self).__name__}.{name} holds an array that the class does not declare. Write "
                f"`{name}: nnx.Parameter` in the class body if it is trained, `{name}: nnx.Buffer` if it is "
                "not" + ("" if is_array(value) else "; arrays in lists, tuples and dicts need modules of their own")
            )
        elif (hiding := _hiding(value)) is not None:
            raise UndeclaredStateError(
                f"{type(self).__name__}.{name} holds modules in a {type(hiding).__name__}, where their arrays are not "
                "found: keep them in a list, a tuple or a dict"
                + (", and make the function of one where it is called" if isinstance(hiding, FunctionType) else "")
            )
        elif name == "training":
            raise ArgumentError(
                "a model is in training while it is differentiated, and only then: pass training=True or False to "
                "nnx.value_and_grad, nnx.grad or nnx.vjp"
            )
        else:
            changes = isinstance(value, _STRUCTURE) or isinstance(before, _STRUCTURE)
        object.__setattr__(self, name, value)
        if changes:
            structure_changed()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        structure_changed()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    # --- the tree of modules ------------------------------------------------------------------

    def _children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one, by name."""
        for name, value in self.__dict__.items():
            yield from modules_in(name, value, Module)

    def modules(self) -> dict[str, Module]:
        """This module (named ``""``) and all below it, by dotted path, each once."""
        return dict(self._planned().modules)

    def _planned(self) -> Plan:
        plan: Plan | None = getattr(self, "_plan", None)
        if plan is None or not plan.holds():
            plan = Plan(self, Module)
            object.__setattr__(self, "_plan", plan)
        return plan

    # --- arrays by name -----------------------------------------------------------------------

    def parameters(self) -> dict[str, Array]:
        """The arrays that are trained, by dotted path: those declared and not frozen."""
        origin = getattr(self, "_origin", None)
        if origin is not None and origin[0].holds():
            return {name: origin[1][name] for name in origin[0].trained}
        return pick(self._planned().trained)

    def buffers(self) -> dict[str, Array]:
        """The arrays that are state but are not trained, by dotted path."""
        return pick(self._planned().buffers)

    def arrays(self) -> dict[str, Array]:
        """All arrays: parameters, frozen or not, and buffers. What a file of weights holds."""
        return pick(self._planned().arrays)

    def load(self, arrays: Mapping[str, Array], *, partial: bool = False) -> Self:
        """Replace arrays by name, e.g. by those of :func:`nnx.load_weights`.

        Args:
            arrays: of any library; they are copied to where the present ones lie. Their names are
                those of :meth:`arrays`.
            partial: names may be missing.

        Raises:
            StateError, ShapeError, DTypeError: an array is missing, unknown or does not fit; the
                module is then unchanged.
        """
        places = self._planned().arrays
        unknown, missing = sorted(arrays.keys() - places.keys()), sorted(places.keys() - arrays.keys())
        if unknown or (missing and not partial):
            pairs = (("unknown", unknown), ("missing", missing))
            raise StateError(
                "the arrays do not fit the model: "
                + "; ".join(f"{what} {', '.join(names)}" for what, names in pairs if names)
                + (". With partial=True some may be missing" if missing and not unknown else "")
            )
        fitting = {name: _fitting(name, first_of(places[name]), array) for name, array in arrays.items()}
        put(places, fitting)
        return self

    def _rebind(self, arrays: Mapping[str, Array]) -> None:
        """Replace arrays that are known to fit, without checks or copies."""
        put(self._planned().arrays, arrays)

    def to(self, device: str | Device | None = None, *, dtype: str | None = None) -> Self:
        """Move all arrays to a device, and cast those of floats to ``dtype``. Answers this module.

        Raises:
            DTypeError: ``dtype`` is no floating-point dtype of the standard.
        """
        if dtype not in (None, "float32", "float64"):
            low = dtype in ("float16", "bfloat16")
            remedy = "; for gradients in 16 bits of float32 models there is precision= of value_and_grad" if low else ""
            raise DTypeError(f"the dtype of a model is 'float32' or 'float64', got {dtype!r}{remedy}")
        places = self._planned().arrays
        moved = {}
        for name, standing in places.items():
            array = first_of(standing)
            floating = dtype_kind(namespace_of(array), array.dtype) == "real floating"
            target = device_of(array) if device is None else device
            moved[name] = asarray(array, device=target, dtype=dtype if floating else None)
        put(places, moved)
        return self

    @property
    def device(self) -> Device:
        """Where its first array lies; the default device if it has none."""
        first = next(iter(self.arrays().values()), None)
        return device() if first is None else device_of(first)

    def freeze(self, pattern: str = "*") -> Self:
        """Leave the parameters whose names match ``pattern`` (``*`` and ``?``) out of training."""
        return self._set_frozen(pattern, freeze=True)

    def unfreeze(self, pattern: str = "*") -> Self:
        """Train the parameters whose names match ``pattern`` again."""
        return self._set_frozen(pattern, freeze=False)

    def _set_frozen(self, pattern: str, *, freeze: bool) -> Self:
        places = self._planned().parameters
        names = [name for name in places if fnmatchcase(name, pattern)]
        if not names:
            raise ArgumentError(f"no parameter matches {pattern!r}; there are {', '.join(places) or 'none'}")
        for name in names:
            for state, attribute in places[name]:
                before = state.get("_frozen", frozenset())
                state["_frozen"] = before | {attribute} if freeze else before - {attribute}
        structure_changed()
        return self

    # --- differentiation ----------------------------------------------------------------------

    def _twin(
        self, training: bool, tracked: Mapping[str, Array], given: Mapping[str, Array] | None = None
    ) -> tuple[Self, Callable[..., None]]:
        """A shallow copy for differentiation.

        Args:
            training: its mode.
            tracked: what stands for parameters, by name.
            given: what ``parameters()`` of the copy is to answer, where ``tracked`` was made of it in another dtype.

        Returns:
            The copy, and a function that writes the buffers which the copy rebound back here; it takes one
            that makes a plain array of a tracked one, and ``keep(before, after)``, which may choose or be ``None``.
        """
        plan = self._planned()
        twins = plan.copy(training)
        nested = "training" in self.__dict__  # a copy itself: what a differentiation further out tracks stays so
        if nested:
            tracked = {name: held(array) for name, array in self.arrays().items()} | dict(tracked)
        for name, array in tracked.items():
            for i, attribute in plan.indices[name]:
                twins[i].__dict__[attribute] = array
        if given is not None:
            object.__setattr__(twins[0], "_origin", (plan, given))
        elif plan.fixed and tracked.keys() >= plan.trained.keys():  # it need not be walked to know its parameters
            object.__setattr__(twins[0], "_origin", (plan, tracked))

        def write_back(untrack: Callable[[Array], Array], keep: Callable[[Array, Array], Array] | None = None) -> None:
            for i, attribute in plan.rebindable:
                original, value = plan.modules[i][1].__dict__, twins[i].__dict__.get(attribute)
                before = original.get(attribute)
                if not same(value, before):
                    after = untrack(value) if nested else untracked(value)
                    original[attribute] = after if keep is None else keep(before, after)
                    if (value is None) != (before is None):
                        structure_changed()

        return twins[0], write_back

    # --- text ---------------------------------------------------------------------------------

    def _arguments(self) -> str:
        """What the text form shows between the brackets, before the modules below."""
        return ""

    def operations(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        """Floating-point operations of one call, without those of the modules below.

        Args:
            x: the shape of the input.
            y: the shape of the output.
        """
        return 0

    def __repr__(self) -> str:
        lines = [f"{name}: {text}" for name, text in self._parts()]
        head = type(self).__name__
        if not lines:
            return f"{head}({self._arguments()})"
        body = "".join("\n  " + line.replace("\n", "\n  ") + "," for line in lines)
        return f"{head}({self._arguments()}{body}\n)"

    def _parts(self) -> Iterator[tuple[str, str]]:
        """The name and text of each part below."""
        for name, child in self._children():
            yield name, repr(child)


def _holds_array(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_array, value))
    if isinstance(value, dict):
        return any(map(_holds_array, value.values()))
    return not isinstance(value, (Module, Number, str)) and is_array(value)


def _hiding(value: Any) -> Any:
    """What in ``value`` holds modules and is not walked for them; ``None`` if nothing does."""
    if isinstance(value, (list, tuple, dict)):
        items = value.values() if isinstance(value, dict) else value
        return next((hiding for item in items if (hiding := _hiding(item)) is not None), None)
    held: Iterable[Any] = value if isinstance(value, (Set, deque)) else ()
    if isinstance(value, partial):
        held = (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, FunctionType):
        held = (wrapped := getattr(value, "__wrapped__", None), getattr(wrapped, "__self__", None))  # of nnx.remat
    return value if any(isinstance(item, Module) for item in held) else None


_STRUCTURE = (Module, list, tuple, dict)


def _fitting(name: str, present: Array, array: Array) -> Array:
    """``array`` where ``present`` lies, if it has its shape and dtype."""
    moved = asarray(array, device=device_of(present))
    if moved.shape != present.shape:
        raise ShapeError(f"{name} has shape {tuple(present.shape)}, got an array of shape {tuple(moved.shape)}")
    if moved.dtype != present.dtype:
        raise DTypeError(
            f"{name} has dtype {present.dtype}, got an array of dtype {moved.dtype}: cast it, or the model "
            "with model.to(dtype=...)"
        )
    xp = namespace_of(moved)
    return xp.asarray(moved, copy=True, device=native_device(moved))  # or a change of the one would change the other
