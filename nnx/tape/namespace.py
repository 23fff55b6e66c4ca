"""The differentiable namespace of any namespace of the standard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import array_api_compat

from nnx._errors import DifferentiationError, MissingRuleError
from nnx._typing import Array, Namespace, NativeDevice
from nnx.tape.node import CONSTANT
from nnx.tape.primitive import Cast, Primitive, constants, untracked
from nnx.tape.rule import Rule
from nnx.tape.tracked import Tracked


class Table:
    """What is known of every name of the standard; a name is in one of the groups.

    Attributes:
        rules: the functions that have a derivative, and how it goes.
        constant: the functions whose results carry no gradient: their derivative is zero or does
            not exist.
        creation: the functions that make arrays from no array.
        plain: dtypes, numbers, and the functions of dtypes: nothing to record.
        gaps: the functions whose derivative has not been written; on tracked arrays they raise.
        extensions: the tables of the sub-namespaces, e.g. ``linalg``.
    """

    __slots__ = ("constant", "creation", "extensions", "gaps", "plain", "rules")

    def __init__(
        self,
        *,
        rules: Mapping[str, Rule],
        constant: frozenset[str] = frozenset(),
        creation: frozenset[str] = frozenset(),
        plain: frozenset[str] = frozenset(),
        gaps: frozenset[str] = frozenset(),
        extensions: Mapping[str, Table] | None = None,
    ) -> None:
        self.rules = rules
        self.constant = constant
        self.creation = creation
        self.plain = plain
        self.gaps = gaps
        self.extensions = extensions or {}


class DifferentiableNamespace:
    """The functions of ``raw``, on tracked arrays. Each is made when it is first asked for."""

    def __init__(self, raw: Namespace, table: Table) -> None:
        self.raw = raw
        self.__name__ = f"nnx.differentiable({raw.__name__})"
        self._table = table

    def __repr__(self) -> str:
        return f"<namespace {self.__name__}>"

    def __getattr__(self, name: str) -> Any:
        value = self._make(name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        table = self._table
        names = {*table.rules, *table.constant, *table.creation, *table.plain, *table.gaps, *table.extensions}
        return sorted(name for name in names if hasattr(self.raw, name))

    def _make(self, name: str) -> Any:
        table = self._table
        if name == "getitem":  # an operator of the standard, not a function
            return Primitive(name, lambda x, key: x[untracked(key)], table.rules[name])
        if name in table.extensions:
            return DifferentiableNamespace(getattr(self.raw, name), table.extensions[name])
        if name in table.rules:
            rule, function = table.rules[name], getattr(self.raw, name)
            if rule.sequence:
                return sequence(name, function, rule)
            return (Cast if rule.casts else Primitive)(name, function, rule)
        if name in table.constant:
            return Primitive(name, getattr(self.raw, name), None)
        if name in table.creation:
            return self._creation(name)
        if name in table.plain:
            value = getattr(self.raw, name)
            return _plain(value) if callable(value) and not isinstance(value, type) else value
        if name in table.gaps:
            # `to_device` is a method in the standard, and a function in array-api-compat alone
            return self._gap(name, array_api_compat.to_device if name == "to_device" else getattr(self.raw, name))
        raise AttributeError(
            f"{self.__name__} has no {name!r}: it is not a function of the Array API standard, so it "
            "would not run on every library"
        )

    def _creation(self, name: str) -> Any:
        function = getattr(self.raw, name)
        like = name.endswith("_like")  # the result does not depend on the values of the first argument

        def create(*args: Any, **options: Any) -> Any:
            if carries((args[1:] if like else args, options)):
                raise DifferentiationError(
                    f"{name}() of a tracked array would drop its gradient: "
                    "multiply ones() by it, stack() several, or pass nnx.stop_gradient(...) of it"
                )
            return self._of_constants(function, args, options)

        create.__name__ = create.__qualname__ = name
        return create

    def _gap(self, name: str, function: Any) -> Any:
        def constant_or_raise(*args: Any, **options: Any) -> Any:
            if not carries((args, options), constant=True):
                return function(*args, **options)
            if carries((args, options)):
                raise MissingRuleError(
                    f"nnx has no derivative of {name}() yet: pass nnx.stop_gradient(...) if none is "
                    "meant, or compose it of functions that have one"
                )
            return self._of_constants(function, args, options)

        constant_or_raise.__name__ = constant_or_raise.__qualname__ = name
        return constant_or_raise

    def _of_constants(self, function: Any, args: Any, options: Mapping[str, Any]) -> Any:
        """The result of a function on the raw values of its arguments, as constants."""
        options = {key: untracked(value) for key, value in options.items()}
        return constants(self, function(*map(untracked, args), **options))

    def asarray(self, x: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
        """The standard's ``asarray``; a tracked array keeps its gradient."""
        if type(x) is not Tracked:
            return self._creation("asarray")(x, dtype=dtype, device=device, copy=copy)
        if device is not None and device != self.device_of(x):
            return self.to_device(x, device)
        return x if dtype is None or dtype == x.dtype else self.astype(x, dtype)

    def device_of(self, x: Array) -> NativeDevice:
        """The native device of an array, tracked or not."""
        return array_api_compat.device(untracked(x))


def sequence(name: str, function: Any, rule: Rule) -> Any:
    """A function of a sequence of arrays, over a primitive of that many arrays."""
    primitive = Primitive(name, lambda *arrays, **options: function(list(arrays), **options), rule)

    def call(arrays: Any, /, **options: Any) -> Any:
        return primitive(*arrays, **options)

    call.__name__ = call.__qualname__ = name
    return call


def _plain(function: Any) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        return function(*map(untracked, args), **options)

    call.__name__ = call.__qualname__ = function.__name__
    return call


def carries(x: Any, *, constant: bool = False) -> bool:
    """Whether a tracked array that carries a gradient (or a ``constant`` one) is anywhere in ``x``."""
    pending = [x]
    while pending:
        x = pending.pop()
        if type(x) is Tracked:
            if constant or x.node is not CONSTANT:
                return True
        elif isinstance(x, (tuple, list)):
            pending.extend(x)
        elif isinstance(x, dict):
            pending.extend(x.values())
    return False
