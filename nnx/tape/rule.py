"""Derivative rules: formulae whose parameters name what they need.

A derivative is a function ``(g, ...)`` or ``(xp, g, ...)`` from the gradient of the result to the
gradient of one argument. Its other parameters are picked by name:

``y``
    the result
``x1``
    the argument of that name: an array, or an option such as ``axis`` (the default, where the
    caller left it out, is the derivative's own)
``x1_shape``, ``x1_dtype``, ``x1_device``
    the shape, dtype or device of the argument of that name, which spares keeping the array alive
``shapes``, ``position``
    for functions of a sequence of arrays: all their shapes, and which one this is
``saved``
    what the forward of an op left for its adjoints

So ``lambda g, y: g * y`` is the whole rule of ``exp``, and the tape keeps ``y`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from nnx._typing import Array, Namespace
from nnx.tape.needs import Picker, picker


def parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The names of a function's positional parameters, and the defaults of the last of them."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    return names, dict(zip(reversed(names), reversed(defaults), strict=False))


class Derivative:
    """A formula, and the names of what it needs besides ``xp`` and ``g``.

    Attributes:
        whole: what serves in its place where all arguments have the shape of the result.
    """

    __slots__ = ("defaults", "formula", "names", "wants_xp", "whole")

    def __init__(self, formula: Callable[..., Array]) -> None:
        self.formula = formula
        names, self.defaults = parameters(formula)
        self.wants_xp = names[0] == "xp"
        self.names = names[2:] if self.wants_xp else names[1:]
        self.whole = self

    def picker(self, parameters: Sequence[str], position: int) -> tuple[Picker, bool]:
        """What picks the needs of this derivative by the argument at ``position``, and whether it wants the options."""
        return picker(self.names, self.defaults, parameters, position)

    def pull(self, xp: Namespace, g: Array, needs: tuple[Any, ...]) -> Array:
        """The gradient of the argument; ``needs`` are the values of :attr:`names`, in order."""
        return self.formula(xp, g, *needs) if self.wants_xp else self.formula(g, *needs)


class Rule:
    """How a function is differentiated.

    Args:
        parameters: the names of its positional parameters, in the order of the standard.
        derivatives: a derivative for each array argument that has one, by parameter name.
        promotes: its array arguments are cast to one dtype before it computes.
        sequence: it takes one sequence of arrays, and the derivative ``arrays`` serves each.
        casts: it is told the dtype of its result, which need not be one of floats.
        several: it answers a tuple of arrays; ``y`` and ``g`` are then tuples.

    Attributes:
        pickers: what :meth:`derivative` has answered, by position.
        most: how many positional arguments it takes. A library may take more, which no derivative would know of.
    """

    __slots__ = ("casts", "derivatives", "most", "parameters", "pickers", "promotes", "sequence", "several")

    def __init__(
        self,
        parameters: tuple[str, ...],
        derivatives: Mapping[str, Derivative],
        *,
        promotes: bool = False,
        sequence: bool = False,
        casts: bool = False,
        several: bool = False,
    ) -> None:
        self.parameters = parameters
        self.derivatives = derivatives
        self.promotes = promotes
        self.sequence = sequence
        self.casts = casts
        self.several = several
        self.most: float = inf if sequence else len(parameters)
        self.pickers: dict[int, tuple[Derivative, Picker, bool]] = {}

    def derivative(self, position: int) -> tuple[Derivative, Picker, bool] | None:
        """The derivative by the argument at ``position``, and what its :meth:`~Derivative.picker` answers."""
        found = self.pickers.get(position)
        if found is None:
            name = "arrays" if self.sequence else self.parameters[position]
            derivative = self.derivatives.get(name)
            if derivative is None:
                return None
            found = self.pickers[position] = derivative, *derivative.picker(self.parameters, position)
        return found
