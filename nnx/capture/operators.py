"""The operators of arrays that are recorded: those of Python, as the library beneath may compute them otherwise."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nnx.tape.tracked import Tracked

if TYPE_CHECKING:
    from nnx.capture.recorder import Recorder


class Operators:
    """The operators of an array; those that change it in place do so, as they do to the one beneath."""

    __slots__ = ("recorder",)
    recorder: Recorder

    def _binary(self, function: Callable[..., Any], a: Any, b: Any) -> Any:
        if type(a) is Tracked or type(b) is Tracked:
            return NotImplemented  # its own operators see to it
        return self.recorder.call("operator", function, (a, b), pure=True, fresh=True)

    def _unary(self, function: Callable[..., Any]) -> Any:
        return self.recorder.call("operator", function, (self,), pure=True, fresh=True)

    def _in_place(self, function: Callable[..., Any], other: Any) -> Any:
        if type(other) is Tracked:
            return NotImplemented
        return self.recorder.change("operator", function, self, other)

    def __add__(self, other: Any, /) -> Any:
        return self._binary(operator.add, self, other)

    def __radd__(self, other: Any, /) -> Any:
        return self._binary(operator.add, other, self)

    def __sub__(self, other: Any, /) -> Any:
        return self._binary(operator.sub, self, other)

    def __rsub__(self, other: Any, /) -> Any:
        return self._binary(operator.sub, other, self)

    def __mul__(self, other: Any, /) -> Any:
        return self._binary(operator.mul, self, other)

    def __rmul__(self, other: Any, /) -> Any:
        return self._binary(operator.mul, other, self)

    def __truediv__(self, other: Any, /) -> Any:
        return self._binary(operator.truediv, self, other)

    def __rtruediv__(self, other: Any, /) -> Any:
        return self._binary(operator.truediv, other, self)

    def __floordiv__(self, other: Any, /) -> Any:
        return self._binary(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any, /) -> Any:
        return self._binary(operator.floordiv, other, self)

    def __mod__(self, other: Any, /) -> Any:
        return self._binary(operator.mod, self, other)

    def __rmod__(self, other: Any, /) -> Any:
        return self._binary(operator.mod, other, self)

    def __pow__(self, other: Any, /) -> Any:
        return self._binary(operator.pow, self, other)

    def __rpow__(self, other: Any, /) -> Any:
        return self._binary(operator.pow, other, self)

    def __matmul__(self, other: Any, /) -> Any:
        return self._binary(operator.matmul, self, other)

    def __rmatmul__(self, other: Any, /) -> Any:
        return self._binary(operator.matmul, other, self)

    def __and__(self, other: Any, /) -> Any:
        return self._binary(operator.and_, self, other)

    def __rand__(self, other: Any, /) -> Any:
        return self._binary(operator.and_, other, self)

    def __or__(self, other: Any, /) -> Any:
        return self._binary(operator.or_, self, other)

    def __ror__(self, other: Any, /) -> Any:
        return self._binary(operator.or_, other, self)

    def __xor__(self, other: Any, /) -> Any:
        return self._binary(operator.xor, self, other)

    def __rxor__(self, other: Any, /) -> Any:
        return self._binary(operator.xor, other, self)

    def __lshift__(self, other: Any, /) -> Any:
        return self._binary(operator.lshift, self, other)

    def __rlshift__(self, other: Any, /) -> Any:
        return self._binary(operator.lshift, other, self)

    def __rshift__(self, other: Any, /) -> Any:
        return self._binary(operator.rshift, self, other)

    def __rrshift__(self, other: Any, /) -> Any:
        return self._binary(operator.rshift, other, self)

    def __lt__(self, other: Any, /) -> Any:
        return self._binary(operator.lt, self, other)

    def __le__(self, other: Any, /) -> Any:
        return self._binary(operator.le, self, other)

    def __gt__(self, other: Any, /) -> Any:
        return self._binary(operator.gt, self, other)

    def __ge__(self, other: Any, /) -> Any:
        return self._binary(operator.ge, self, other)

    def __eq__(self, other: object, /) -> Any:
        return self._binary(operator.eq, self, other)

    def __ne__(self, other: object, /) -> Any:
        return self._binary(operator.ne, self, other)

    __hash__ = None  # type: ignore[assignment]

    def __neg__(self) -> Any:
        return self._unary(operator.neg)

    def __pos__(self) -> Any:
        return self._unary(operator.pos)

    def __abs__(self) -> Any:
        return self._unary(operator.abs)

    def __invert__(self) -> Any:
        return self._unary(operator.invert)

    def __iadd__(self, other: Any, /) -> Any:
        return self._in_place(operator.iadd, other)

    def __isub__(self, other: Any, /) -> Any:
        return self._in_place(operator.isub, other)

    def __imul__(self, other: Any, /) -> Any:
        return self._in_place(operator.imul, other)

    def __itruediv__(self, other: Any, /) -> Any:
        return self._in_place(operator.itruediv, other)

    def __ifloordiv__(self, other: Any, /) -> Any:
        return self._in_place(operator.ifloordiv, other)

    def __imod__(self, other: Any, /) -> Any:
        return self._in_place(operator.imod, other)

    def __ipow__(self, other: Any, /) -> Any:
        return self._in_place(operator.ipow, other)

    def __imatmul__(self, other: Any, /) -> Any:
        return self._in_place(operator.imatmul, other)

    def __iand__(self, other: Any, /) -> Any:
        return self._in_place(operator.iand, other)

    def __ior__(self, other: Any, /) -> Any:
        return self._in_place(operator.ior, other)

    def __ixor__(self, other: Any, /) -> Any:
        return self._in_place(operator.ixor, other)

    def __ilshift__(self, other: Any, /) -> Any:
        return self._in_place(operator.ilshift, other)

    def __irshift__(self, other: Any, /) -> Any:
        return self._in_place(operator.irshift, other)
