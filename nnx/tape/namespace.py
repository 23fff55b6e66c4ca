"""The differentiable namespace of any namespace of the standard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import array_api_compat

from nnx._errors import ArgumentError, DifferentiationError
from nnx._typing import Array, DType, Namespace, NativeDevice
from nnx.tape.node import CONSTANT
from nnx.tape.primitive import Cast, Primitive, Several, constants, held, untracked
from nnx.tape.rule import Rule
from nnx.tape.shortcut import shortcut
from nnx.tape.tracked import Tracked

Composition = Callable[..., Any]
"""``(xp, ...)``: a function of the standard in terms of others, those of the differentiable namespace ``xp``."""


class Table:
    """What is known of every name of the standard; a name is in one of the groups.

    Attributes:
        rules: the functions that have a derivative, and how it goes.
        compositions: the functions that are differentiated as a composition of others, ``(xp, ...)``.
        constant: the functions whose results carry no gradient: their derivative is zero or does
            not exist.
        creation: the functions that make arrays from none, and how those that may be given a tracked
            number are composed; ``None`` for those that may not.
        plain: dtypes, numbers, and the functions of dtypes: nothing to record.
        operators: the rules that are no functions of a namespace, but operators or methods, and how they compute.
        extensions: the tables of the sub-namespaces, e.g. ``linalg``.
    """

    __slots__ = ("compositions", "constant", "creation", "extensions", "operators", "plain", "rules")

    def __init__(
        self,
        *,
        rules: Mapping[str, Rule],
        compositions: Mapping[str, Composition] | None = None,
        constant: frozenset[str] = frozenset(),
        creation: Mapping[str, Composition | None] | None = None,
        plain: frozenset[str] = frozenset(),
        operators: Mapping[str, Callable[..., Any]] | None = None,
        extensions: Mapping[str, Table] | None = None,
    ) -> None:
        self.rules = rules
        self.compositions = compositions or {}
        self.constant = constant
        self.creation = creation or {}
        self.plain = plain
        self.operators = operators or {}
        self.extensions = extensions or {}

    def names(self) -> dict[str, frozenset[str]]:
        """What is known of the derivatives, with the names; those of the extensions have a prefix.

        The groups are ``differentiable``; ``constant``, for results that no derivative is by; ``creation``, for arrays
        that are made of none; and ``plain``.
        """
        composed = frozenset(name for name, composition in self.creation.items() if composition)
        found = {
            "differentiable": frozenset(self.rules).union(self.compositions, composed),
            "constant": self.constant,
            "creation": frozenset(self.creation) - composed,
            "plain": self.plain,
        }
        for extension, table in self.extensions.items():
            for group, names in table.names().items():
                found[group] |= {f"{extension}.{name}" for name in names}
        return found


class DifferentiableNamespace:
    """The functions of ``raw``, on tracked arrays. Each is made when it is first asked for.

    ``main`` is the namespace that this one extends, which is the namespace of its results.
    """

    def __init__(self, raw: Namespace, table: Table, main: DifferentiableNamespace | None = None) -> None:
        self.raw = raw
        self.__name__ = f"nnx.differentiable({raw.__name__})"
        self._table = table
        self._main = main or self

    def __repr__(self) -> str:
        return f"<namespace {self.__name__}>"

    def __getattr__(self, name: str) -> Any:
        value = self._make(name)
        function = getattr(self.raw, name, None)
        if callable(function) and value is not function:
            _stand_for(value, name, function)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        table = self._table
        groups = table.rules, table.compositions, table.constant, table.creation, table.plain, table.extensions
        return sorted(name for name in set().union(*groups) if hasattr(self.raw, name))

    def _make(self, name: str) -> Any:
        table = self._table
        if name in table.extensions:
            return DifferentiableNamespace(getattr(self.raw, name), table.extensions[name], self)
        if name in table.rules:
            function = table.operators.get(name) or getattr(self.raw, name)
            return primitive(name, function, table.rules[name], self._main.raw)
        if name in table.compositions:
            return self._composed(name, getattr(self.raw, name), table.compositions[name])
        if name in table.constant:
            return Primitive(name, getattr(self.raw, name), None)
        if name in table.creation:
            return self._creation(name)
        if name in table.plain:
            value = getattr(self.raw, name)
            return _plain(value) if callable(value) and not isinstance(value, type) else value
        raise AttributeError(
            f"{self.__name__} has no {name!r}: it is not a function of the Array API standard, so it "
            "would not run on every library"
        )

    def _composed(self, name: str, function: Any, composition: Composition) -> Any:
        def compose(*args: Any, **options: Any) -> Any:
            if carries((args, options)):
                return composition(self._main, *args, **options)
            constant = carries((args, options), constant=True)
            y = self._of_constants(function, args, options) if constant else function(*args, **options)
            return tuple(y) if isinstance(y, list) else y  # which some libraries answer, as the standard once had it

        compose.__name__ = compose.__qualname__ = name
        return compose

    def _creation(self, name: str) -> Any:
        function = getattr(self.raw, name)
        composition = self._table.creation.get(name)
        like = name.endswith("_like")  # the result does not depend on the values of the first argument

        def create(*args: Any, **options: Any) -> Any:
            numbers = args[1:] if like else args, options
            if composition is not None and carries(numbers, constant=True):
                return composition(self._main, *args, **options)
            if carries(numbers):
                raise DifferentiationError(
                    f"{name}() of a tracked array would drop its gradient: "
                    "multiply ones() by it, stack() several, or pass nnx.stop_gradient(...) of it"
                )
            return self._of_constants(function, args, options)

        create.__name__ = create.__qualname__ = name
        return create

    def _of_constants(self, function: Any, args: Any, options: Mapping[str, Any]) -> Any:
        """The result of a function on the raw values of its arguments, as constants."""
        options = {key: untracked(value) for key, value in options.items()}
        return constants(self._main, function(*map(untracked, args), **options))

    def asarray(self, x: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
        """The standard's ``asarray``; a tracked array, or one in nested sequences, keeps its gradient."""
        if type(x) is not Tracked:
            if not carries(x, constant=True):
                return self._creation("asarray")(x, dtype=dtype, device=device, copy=copy)
            if copy is False:
                raise ArgumentError("asarray(copy=False) cannot make one array of several without copying them")
            items = list(_leaves(x))
            common = self.result_type(*items) if dtype is None else dtype
            first = next(item for item in items if type(item) is Tracked)
            x = self._stacked(x, common, self.device_of(first))
        y = x if device is None or device == self.device_of(x) else self.to_device(x, device)
        y = y if dtype is None or dtype == y.dtype else self.astype(y, dtype)
        if copy is False and y is not x:
            raise ArgumentError(
                f"asarray(copy=False) cannot make an array of dtype {y.dtype} on {self.device_of(y)} of one of dtype "
                f"{x.dtype} on {self.device_of(x)} without copying it"
            )
        return held(y) if copy else y

    def _stacked(self, x: Any, dtype: DType, device: NativeDevice) -> Array:
        """Nested sequences of numbers and arrays as one array."""
        if isinstance(x, (list, tuple)):
            return self.stack([self._stacked(item, dtype, device) for item in x])
        return self.asarray(x, dtype=dtype, device=device)

    def device_of(self, x: Array) -> NativeDevice:
        """The native device of an array, tracked or not."""
        return array_api_compat.device(untracked(x))


def primitive(name: str, function: Callable[..., Any], rule: Rule, raw: Namespace) -> Any:
    """What records a function that has a rule, in the form that the rule asks for; ``raw`` is the namespace beneath."""
    if rule.sequence:  # over a primitive of that many arrays
        record = Primitive(name, lambda *arrays, **options: function(list(arrays), **options), rule)

        def call(arrays: Any, /, **options: Any) -> Any:
            return record(*arrays, **options)

        call.__name__ = call.__qualname__ = name
        return call
    kind = Several if rule.several else Cast if rule.casts else Primitive
    return shortcut(kind(name, function, rule), raw)


def _stand_for(value: Any, name: str, function: Any) -> None:
    """Give what stands for a library's function its name, its docstring and, for ``inspect``, its signature."""
    value.__name__ = value.__qualname__ = name
    value.__doc__ = function.__doc__
    value.__wrapped__ = function


def _plain(function: Any) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        return function(*map(untracked, args), **options)

    call.__name__ = call.__qualname__ = function.__name__
    return call


def carries(x: Any, *, constant: bool = False) -> bool:
    """Whether a tracked array that carries a gradient (or a ``constant`` one) is anywhere in ``x``."""
    return any(type(item) is Tracked and (constant or item.node is not CONSTANT) for item in _leaves(x))


def _leaves(x: Any) -> Iterator[Any]:
    pending = [x]
    while pending:
        x = pending.pop()
        if isinstance(x, (tuple, list)):
            pending.extend(x)
        elif isinstance(x, dict):
            pending.extend(x.values())
        else:
            yield x
