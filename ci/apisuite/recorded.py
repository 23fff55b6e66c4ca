"""The suite over tracked arrays that carry a gradient.

What the suite makes is a leaf of a differentiation that never ends, so all that it computes is recorded.
It reads the arrays, by ``float()`` and the like: nnx refuses that, since the gradient would be lost, and
is made to allow it here. Each operation is also walked back at once, so that the draws of the suite try
the derivatives: a gradient has the shape, the dtype and the device of its array.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from nnx import MissingRuleError
from nnx.tape import namespace
from nnx.tape.backward import backward
from nnx.tape.node import CONSTANT, Node, new_level
from nnx.tape.primitive import Primitive, untracked
from nnx.tape.shortcut import shortcut
from nnx.tape.tracked import Tracked
from nnx.vjps import STANDARD

LEVEL = new_level()
MAKES = frozenset(["asarray", *STANDARD.creation, *STANDARD.extensions["fft"].creation])
"""The functions whose results are made leaves."""

_call = Primitive.__call__


def recorded(xp: Any) -> Any:
    """A differentiable namespace that makes leaves in place of constants. It changes nnx, in this process."""
    Tracked._constant = Tracked._handed = lambda self, what="": untracked(self)
    Primitive.__call__ = lambda self, *args, **options: _walked_back(self.name, partial(_call, self), args, options)
    namespace.shortcut = _walked_back_shortcut
    return Recorded(xp, xp)


class Recorded:
    """``part``, which is the namespace ``xp`` or an extension of it."""

    def __init__(self, part: Any, xp: Any) -> None:
        self._part = part
        self._xp = xp
        self.__name__ = f"{part.__name__}, recorded"

    def __dir__(self) -> list[str]:
        return dir(self._part)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if name in {"fft", "linalg"} and self._part is self._xp:
            value = Recorded(value, self._xp)
        elif name in MAKES:
            value = _makes_leaves(value, self._xp, reads=name == "from_dlpack")
        setattr(self, name, value)
        return value


def _makes_leaves(function: Callable[..., Any], xp: Any, reads: bool) -> Callable[..., Any]:
    @functools.wraps(function)
    def make(*args: Any, **options: Any) -> Any:
        made = function(*(map(untracked, args) if reads else args), **options)
        if made.node is CONSTANT and xp.isdtype(made.dtype, ("real floating", "complex floating")):
            return Tracked(made.value, xp, Node(LEVEL, xp))
        return made

    return make


def _walked_back_shortcut(primitive: Primitive, raw: Any) -> Any:
    short = shortcut(primitive, raw)
    if short is primitive:
        return primitive

    @functools.wraps(short)
    def call(*args: Any, **options: Any) -> Any:
        return _walked_back(primitive.name, short, args, options)

    return call


def _walked_back(name: str, function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """The result of an operation, after a copy of it was walked back."""
    if any(_is_recorded(a) for a in args):
        copies = [Tracked(a.value, a.xp, Node(LEVEL, a.xp)) if _is_recorded(a) else a for a in args]
        result = function(*copies, **options)
        results = [y for y in (result if isinstance(result, tuple) else (result,)) if _is_recorded(y)]
        if results:
            _check(name, results, [a for a in copies if _is_recorded(a)], options)
    return function(*args, **options)


def _check(name: str, results: Sequence[Tracked], leaves: Sequence[Tracked], options: Mapping[str, Any]) -> None:
    """Walk back from ones.

    Raises:
        AssertionError: that failed, or a gradient is not like its array.
    """
    where = f"the derivative of {name}(), shapes {[a.shape for a in leaves]}, {options}"
    raw = leaves[0].xp.raw
    try:
        gradients = backward(
            [(y.node, raw.ones_like(untracked(y))) for y in results], [a.node for a in leaves], release=True
        )
    except MissingRuleError:
        return  # nnx says that there is none
    except Exception as error:
        if type(error).__name__ == "LinAlgError":
            return  # a library says so: the derivative takes the inverse of a matrix that has none
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    for a, g in zip(leaves, gradients, strict=True):
        assert g is not None, f"{where}: there is none"
        g = Tracked(untracked(g), a.xp, CONSTANT)
        assert (g.shape, g.dtype, g.device) == (a.shape, a.dtype, a.device), (
            f"{where}: expected shape {a.shape}, {a.dtype}, {a.device}, got {g.shape}, {g.dtype}, {g.device}"
        )


def _is_recorded(x: Any) -> bool:
    return type(x) is Tracked and x.node.level == LEVEL
