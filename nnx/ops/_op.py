"""What an op is: a forward and its adjoints, each a function that a backend may replace."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from nnx._errors import DTypeError
from nnx._typing import Array, Namespace
from nnx.backend import activators, dtype_kind, due, kernels_of, namespace_of
from nnx.tape.node import Node
from nnx.tape.primitive import Primitive, constants, untracked
from nnx.tape.rule import Derivative, Rule, parameters
from nnx.tape.tracked import Tracked

Reference = Callable[..., Any]


class Adjoint(Derivative):
    """A derivative that computes by the kernel of its name where the arrays' backend has one."""

    __slots__ = ("name",)

    def __init__(self, reference: Reference) -> None:
        super().__init__(reference)
        self.name = reference.__name__

    def pull(self, xp: Namespace, g: Array, needs: tuple[Any, ...]) -> Array:
        return kernels_of(xp).get(self.name, self.formula)(xp, g, *needs)


class Op(Primitive):
    """A function of arrays with adjoints of its own.

    ``reference(xp, *arrays, **options)`` is written in the functions of the standard, and so are the
    adjoints. On raw arrays the backend's kernel of the function's name computes in its place; on tracked
    ones, as in second derivatives of an adjoint, the reference does, so that a kernel replaces
    numbers and never a derivative.
    """

    def __init__(
        self, reference: Reference, adjoints: dict[str, Reference], *, saves: bool, last: Reference | None
    ) -> None:
        self.reference = reference
        self._kernel = reference.__name__
        self.saves = saves
        self.last = None if last is None else Adjoint(last)
        self.__doc__ = reference.__doc__
        self.__name__ = reference.__name__.removesuffix("_forward")
        self.__module__ = reference.__module__
        derivatives = {name: Adjoint(f) for name, f in adjoints.items()}
        rule = Rule(parameters(reference)[0][1:], derivatives)
        forward = self._forward_saving if saves else self._forward
        super().__init__(self.__name__, forward, rule)

    def __reduce__(self) -> str:
        return self.__name__  # copies and pickles refer to the module's own, as those of a function do

    @property
    def __wrapped__(self) -> Reference:
        return self.reference

    @property
    def __signature__(self) -> Any:
        import inspect  # 10 ms that few need

        signature = inspect.signature(self.reference)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def _forward(self, *args: Any, **options: Any) -> Any:
        xp = self._namespace(args)
        function = kernels_of(xp).get(self._kernel, self.reference)
        if activators and (context := due(args)) is not None:
            with context:
                return function(xp, *args, **options)
        return function(xp, *args, **options)

    def _namespace(self, args: Sequence[Any]) -> Namespace:
        xp = namespace_of(*args)
        dtype = getattr(args[0], "dtype", None)
        if dtype is None or dtype_kind(xp, dtype) != "real floating":
            got = f"a {type(args[0]).__name__}" if dtype is None else f"dtype {dtype}: cast it"
            raise DTypeError(f"{self.__name__}() expected an array of real floats first, got {got}")
        return xp

    def _forward_saving(self, *args: Any, **options: Any) -> Any:
        return self._forward(*args, **options)[0]

    def _evaluate(self, values: Sequence[Any], options: dict[str, Any], plain: bool) -> tuple[Any, Any]:
        if plain:
            y = self._forward(*values, **options)
            return y if self.saves else (y, None)
        if not self.saves:
            return self(*values, **options), None
        # what is saved is then differentiated too, by its composition
        xp = next(v.xp for v in values if type(v) is Tracked)
        return self.reference(xp, *values, **options)  # type: ignore[no-any-return]

    def _result(self, y: Any, xp: Namespace, node: Node) -> Any:
        if self.last is not None:
            node = Node(node.level, node.xp, ((node, self.last, (y,)),))
        if type(y) is tuple:  # the value, and numbers beside it
            return Tracked(y[0], xp, node), *constants(xp, untracked(y[1:]))
        return Tracked(y, xp, node)


def op(reference: Reference, *, saves: bool = False, last: Reference | None = None, **adjoints: Reference) -> Op:
    """Make an op.

    Args:
        reference: the forward, ``(xp, *arrays, **options)``. Its options are keyword-only.
        saves: the forward answers ``(y, saved)``, and adjoints may ask for ``saved``.
            Its ``y`` may be a tuple: the result that has a gradient, and others that are constants.
        last: ``(xp, g, y)``, the adjoint of the last step of the forward. The other adjoints get what it
            answers, which is computed once for all of them.
        adjoints: for each array argument that has a derivative, ``(xp, g, ...)``, whose other
            parameters are picked by name as in ``nnx.tape.rule``.
    """
    return Op(reference, adjoints, saves=saves, last=last)


def replaceable(reference: Reference) -> Reference:
    """A function that computes by the kernel of its name where the arrays' backend has one."""
    name = reference.__name__

    @functools.wraps(reference)
    def call(xp: Namespace, *args: Any, **options: Any) -> Array:
        function = kernels_of(xp).get(name, reference)
        if activators and (context := due(args)) is not None:
            with context:
                return function(xp, *args, **options)
        return function(xp, *args, **options)

    return call
