"""Primitives: functions that know their derivatives, and record themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnx._errors import DifferentiationError, DTypeError
from nnx._typing import Array, Namespace
from nnx.backend import is_array, is_float, namespace_of
from nnx.tape.call import fan_out
from nnx.tape.node import CONSTANT, Node
from nnx.tape.observe import observers, tell_recorded
from nnx.tape.rule import Rule
from nnx.tape.tracked import Tracked
from nnx.tree import sequence


class Primitive:
    """A function of arrays which, given tracked ones, records the result and how to go back.

    Args:
        name: what the error messages call it.
        forward: the function on raw arrays.
        rule: its derivatives; ``None`` if it has none, so that its results are constants.
    """

    __slots__ = ("__dict__", "forward", "name", "rule")  # the dict has what says of which function it is

    def __init__(self, name: str, forward: Callable[..., Any], rule: Rule | None) -> None:
        self.name = name
        self.forward = forward
        self.rule = rule

    def __repr__(self) -> str:
        return f"<differentiable {self.name}>"

    def __call__(self, *args: Any, **options: Any) -> Any:
        level = -1
        xp = None
        for a in args:
            if type(a) is Tracked and a.node.level > level:
                level, xp = a.node.level, a.xp
        if options:
            for name, a in options.items():
                if type(a) is Tracked:
                    if self.rule is not None and a.node is not CONSTANT:
                        return self(*self._positional(args, options, name))
                    options = options | {name: untracked(a)}
                    result = self(*args, **options)
                    return result if type(result) is Tracked else constants(a.xp, result)
        return self.forward(*args, **options) if level < 0 else self._record(level, xp, args, options)

    def _positional(self, args: tuple[Any, ...], options: dict[str, Any], name: str) -> tuple[Any, ...]:
        """The arguments with the tracked option ``name``, and those before it, in their places."""
        parameters = self.rule.parameters  # type: ignore[union-attr]
        if name not in parameters or not set(options) <= set(parameters):
            raise DifferentiationError(
                f"{self.name}() got a tracked array as the option {name!r}, through which no gradient flows: "
                "pass nnx.stop_gradient(...) of it"
            )
        return args + tuple(options.get(parameter) for parameter in parameters[len(args) :])

    def _record(self, level: int, xp: Namespace, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        rule = self.rule
        if rule is None:
            return constants(xp, self.forward(*map(untracked, args), **options))
        if len(args) > rule.most:
            raise TypeError(
                f"{self.name}() takes at most {rule.most} arguments by position, as in the standard, and got "
                f"{len(args)}: give the others by name"
            )
        if rule.promotes:
            args = _promote(args)
        values = list(args)
        inputs: list[tuple[int, Node]] = []  # the arguments that carry a gradient at this level
        plain = True  # whether no outer differentiation sees the values
        for position, a in enumerate(args):
            if type(a) is Tracked:
                node = a.node
                if node.level == level:
                    inputs.append((position, node))
                    a = values[position] = a.value
                elif node.level == 0:
                    a = values[position] = a.value
                if type(a) is Tracked:
                    plain = False
        if not plain:  # an array may refuse an operator with a tracked one on its right; a tracked one does not
            values = [constants(xp, a) if type(a) is not Tracked and is_array(a) else held(a) for a in values]
        y, saved = self._evaluate(values, options, plain)
        if level == 0:
            return constants(xp, y)
        environment = (y, saved, *values)
        edges = []
        pickers = rule.pickers
        for position, node in inputs:
            found = pickers.get(position) or rule.derivative(position)
            if found is None:
                raise DifferentiationError(
                    f"{self.name}() has no derivative by its argument {rule.parameters[position]!r}: "
                    "pass nnx.stop_gradient(...) of it"
                )
            derivative, pick, of_options = found
            edges.append((node, derivative, pick(environment, options) if of_options else pick(environment)))
        node = Node(level, xp.raw if plain and type(y) is not Tracked else xp, tuple(edges))
        if observers:
            for part in y if isinstance(y, tuple) else (y,):
                tell_recorded(self, Tracked(part, xp, node))
        return self._result(y, xp, node)

    def _result(self, y: Any, xp: Namespace, node: Node) -> Any:
        return Tracked(y, xp, node)

    def _evaluate(self, values: Sequence[Any], options: dict[str, Any], plain: bool) -> tuple[Any, Any]:
        """The result, and what the adjoints of an op want saved."""
        try:
            return (self.forward if plain else self)(*values, **options), None
        except Exception:
            namespace_of(*filter(is_array, values))  # arrays of two devices are the better explanation
            raise


class Cast(Primitive):
    """A function that is told the dtype of its result: one of integers or booleans is a constant."""

    __slots__ = ()

    def _record(self, level: int, xp: Namespace, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        result = super()._record(level, xp, args, options)
        return result if is_float(xp.raw, result.dtype) else constants(xp, untracked(result))


class Several(Primitive):
    """A function that answers a tuple of arrays. The gradients of all meet before they go back."""

    __slots__ = ()

    def _result(self, y: Any, xp: Namespace, node: Node) -> Any:
        return sequence(type(y), fan_out(node, y, xp))


def constants(xp: Any, y: Any) -> Any:
    """Raw results as tracked constants; results that are no arrays, as they are."""
    if isinstance(y, (tuple, list)):
        return sequence(type(y), [constants(xp, item) for item in y])
    return Tracked(y, xp, CONSTANT) if hasattr(y, "shape") else y


def held(x: Any) -> Any:
    """``x`` for keeping: its owner may assign to parts of a tracked array, which gives that another history."""
    return Tracked(x.value, x.xp, x.node) if type(x) is Tracked else x


def same(a: Any, b: Any) -> bool:
    """Whether two names are of one array, or of two that are one for keeping."""
    return a is b or (type(a) is type(b) is Tracked and a.value is b.value and a.node is b.node)


def untracked(x: Any) -> Any:
    """The raw value beneath every differentiation; of nested tuples and lists too."""
    while type(x) is Tracked:
        x = x.value
    if type(x) is tuple or type(x) is list:
        return type(x)(map(untracked, x))
    return x


comparable: dict[tuple[type, type], bool] = {}
"""Pairs of types of raw values that have stood in one operation: whether both are arrays, whose dtypes then matter."""


def _promote(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cast array arguments of several dtypes, or beside a complex number, to their common one, on record.

    Raises:
        MixedLibrariesError: they are of two libraries, some of which have dtypes in common.
    """
    for a in args:
        if isinstance(a, (list, tuple)):
            raise DTypeError(f"expected an array, got a {type(a).__name__}: make one with nnx.asarray(...)")
    arrays = [a for a in args if hasattr(a, "dtype")]
    kinds = {type(untracked(a)) for a in arrays}
    if len(kinds) > 1:
        namespace_of(*args)
    if all(a.dtype == arrays[0].dtype for a in arrays) and complex not in map(type, args):
        if len(args) == 2:
            comparable[type(untracked(args[0])), type(untracked(args[1]))] = len(arrays) == 2
        return args
    namespace_of(*args)
    xp: Array = next(a.xp for a in args if type(a) is Tracked)
    dtype = xp.result_type(*args)
    return tuple(xp.astype(a, dtype) if hasattr(a, "dtype") and a.dtype != dtype else a for a in args)
