"""The operators of the standard, in terms of the functions that they stand for."""

from __future__ import annotations

from typing import Any

from nnx._errors import DTypeError, ShapeError
from nnx._typing import DType, Namespace
from nnx.backend import dtype_kind, is_array, namespace_of

_KINDS = ("bool", "unsigned integer", "signed integer", "real floating", "complex floating")
_NUMBERS = {bool: 0, int: 1, float: 3, complex: 4}


class Operators:
    """The operators of an array; ``xp`` is its namespace.

    ``x += y`` is ``x = x + y`` in the shape and dtype of x: the name gets another array, and nobody who holds the
    old one sees a change.
    """

    __slots__ = ()
    xp: Namespace

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    @property
    def dtype(self) -> DType:
        raise NotImplementedError

    def __add__(self, other: Any, /) -> Any:
        return self.xp.add(self, other)

    def __radd__(self, other: Any, /) -> Any:
        return self.xp.add(other, self)

    def __sub__(self, other: Any, /) -> Any:
        return self.xp.subtract(self, other)

    def __rsub__(self, other: Any, /) -> Any:
        return self.xp.subtract(other, self)

    def __mul__(self, other: Any, /) -> Any:
        return self.xp.multiply(self, other)

    def __rmul__(self, other: Any, /) -> Any:
        return self.xp.multiply(other, self)

    def __truediv__(self, other: Any, /) -> Any:
        return self.xp.divide(self, other)

    def __rtruediv__(self, other: Any, /) -> Any:
        return self.xp.divide(other, self)

    def __floordiv__(self, other: Any, /) -> Any:
        return self.xp.floor_divide(self, other)

    def __rfloordiv__(self, other: Any, /) -> Any:
        return self.xp.floor_divide(other, self)

    def __mod__(self, other: Any, /) -> Any:
        return self.xp.remainder(self, other)

    def __rmod__(self, other: Any, /) -> Any:
        return self.xp.remainder(other, self)

    def __pow__(self, other: Any, /) -> Any:
        return self.xp.pow(self, other)

    def __rpow__(self, other: Any, /) -> Any:
        return self.xp.pow(other, self)

    def __matmul__(self, other: Any, /) -> Any:
        return self.xp.matmul(self, other)

    def __rmatmul__(self, other: Any, /) -> Any:
        return self.xp.matmul(other, self)

    def __and__(self, other: Any, /) -> Any:
        return self._logical("and", self, other)

    def __rand__(self, other: Any, /) -> Any:
        return self._logical("and", other, self)

    def __or__(self, other: Any, /) -> Any:
        return self._logical("or", self, other)

    def __ror__(self, other: Any, /) -> Any:
        return self._logical("or", other, self)

    def __xor__(self, other: Any, /) -> Any:
        return self._logical("xor", self, other)

    def __rxor__(self, other: Any, /) -> Any:
        return self._logical("xor", other, self)

    def __lshift__(self, other: Any, /) -> Any:
        return self.xp.bitwise_left_shift(self, other)

    def __rlshift__(self, other: Any, /) -> Any:
        return self.xp.bitwise_left_shift(other, self)

    def __rshift__(self, other: Any, /) -> Any:
        return self.xp.bitwise_right_shift(self, other)

    def __rrshift__(self, other: Any, /) -> Any:
        return self.xp.bitwise_right_shift(other, self)

    def __iadd__(self, other: Any, /) -> Any:
        return self._kept(self + other, "+=")

    def __isub__(self, other: Any, /) -> Any:
        return self._kept(self - other, "-=")

    def __imul__(self, other: Any, /) -> Any:
        return self._kept(self * other, "*=")

    def __itruediv__(self, other: Any, /) -> Any:
        return self._kept(self / other, "/=")

    def __ifloordiv__(self, other: Any, /) -> Any:
        return self._kept(self // other, "//=")

    def __imod__(self, other: Any, /) -> Any:
        return self._kept(self % other, "%=")

    def __ipow__(self, other: Any, /) -> Any:
        return self._kept(self**other, "**=")

    def __imatmul__(self, other: Any, /) -> Any:
        return self._kept(self @ other, "@=")

    def __iand__(self, other: Any, /) -> Any:
        return self._kept(self & other, "&=")

    def __ior__(self, other: Any, /) -> Any:
        return self._kept(self | other, "|=")

    def __ixor__(self, other: Any, /) -> Any:
        return self._kept(self ^ other, "^=")

    def __ilshift__(self, other: Any, /) -> Any:
        return self._kept(self << other, "<<=")

    def __irshift__(self, other: Any, /) -> Any:
        return self._kept(self >> other, ">>=")

    def __invert__(self) -> Any:
        boolean = self.xp.isdtype(self.dtype, "bool")
        return (self.xp.logical_not if boolean else self.xp.bitwise_invert)(self)

    def __neg__(self) -> Any:
        return self.xp.negative(self)

    def __pos__(self) -> Any:
        return self.xp.positive(self)

    def __abs__(self) -> Any:
        return self.xp.abs(self)

    def __lt__(self, other: Any, /) -> Any:
        return self.xp.less(self, other)

    def __le__(self, other: Any, /) -> Any:
        return self.xp.less_equal(self, other)

    def __gt__(self, other: Any, /) -> Any:
        return self.xp.greater(self, other)

    def __ge__(self, other: Any, /) -> Any:
        return self.xp.greater_equal(self, other)

    def __eq__(self, other: object, /) -> Any:
        return self.xp.equal(self, other)

    def __ne__(self, other: object, /) -> Any:
        return self.xp.not_equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    def _logical(self, name: str, a: Any, b: Any) -> Any:
        kind = "logical_" if self.xp.isdtype(self.dtype, "bool") else "bitwise_"
        return getattr(self.xp, kind + name)(a, b)

    def _kept(self, y: Any, operator: str) -> Any:
        """The result ``y`` of an operator, for the name of this array: in its shape and dtype."""
        if y.shape != self.shape:
            raise ShapeError(
                f"x {operator} ... keeps the shape {tuple(self.shape)} of x, and made shape {tuple(y.shape)}: write "
                f"x = x {operator[:-1]} ..."
            )
        return self._fitting(y, f"x {operator} ...")

    def _fitting(self, y: Any, what: str) -> Any:
        """``y``, an array or a number, in the dtype of this array, where that is of no lesser kind."""
        dtype = getattr(y, "dtype", None)  # None equals a dtype of NumPy
        if dtype is not None and dtype == self.dtype:
            return y
        if dtype is None or not is_array(y):
            kind = _NUMBERS.get(type(y))
            if kind is None:
                raise DTypeError(
                    f"{what} expected an array or a number, got a {type(y).__name__}: make one with nnx.asarray(...)"
                )
        else:
            namespace_of(self, y)  # another library is the better explanation
            found = dtype_kind(self.xp.raw, dtype)
            kind = _KINDS.index(found) if found in _KINDS else 0
        own = dtype_kind(self.xp.raw, self.dtype)
        if own in _KINDS and kind > _KINDS.index(own):
            raise DTypeError(
                f"{what} keeps the dtype {self.dtype} of x, which cannot hold "
                + (f"the {type(y).__name__} {y!r}" if dtype is None else f"values of dtype {dtype}")
                + ": cast x, or what it gets, with xp.astype()"
            )
        return y if dtype is None else self.xp.astype(y, self.dtype)
