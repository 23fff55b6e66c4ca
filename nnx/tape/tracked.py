"""Tracked arrays: an array, its differentiable namespace, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from nnx._errors import DifferentiationError
from nnx._typing import DType, Namespace, NativeDevice
from nnx.tape.node import CONSTANT, Node


class Tracked:
    """An array whose history is recorded. It is an Array API array itself.

    ``value`` may be tracked by an outer differentiation: derivatives of higher order come from
    nesting. For ``grad(lambda x: x * grad(lambda y: x + y)(1.0))``, the inner function gets ``y`` at
    a level above that of ``x``; ``x + y`` is recorded at the level of ``y`` (its greatest), with
    ``x`` a constant there, over a value ``x + 1.0`` that is recorded at the level of ``x``.
    """

    __slots__ = ("__weakref__", "node", "value", "xp")
    __array_ufunc__ = None  # NumPy's operators then defer to the reflected ones below
    __array_priority__ = 1000

    def __init__(self, value: Any, xp: Namespace, node: Node) -> None:
        self.value = value
        self.xp = xp
        self.node = node

    # attributes of the standard

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> DType:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return len(self.value.shape)

    @property
    def size(self) -> int:
        size = 1
        for n in self.value.shape:
            size *= n
        return size

    @property
    def device(self) -> NativeDevice:
        return self.xp.device_of(self)

    @property
    def T(self) -> Tracked:
        return self.xp.matrix_transpose(self)  # type: ignore[no-any-return]

    @property
    def mT(self) -> Tracked:
        return self.xp.matrix_transpose(self)  # type: ignore[no-any-return]

    def __array_namespace__(self, *, api_version: str | None = None) -> Namespace:
        return self.xp

    def to_device(self, device: NativeDevice, /, *, stream: Any = None) -> Tracked:
        return self.xp.to_device(self, device, stream=stream)  # type: ignore[no-any-return]

    # operators

    def __add__(self, other: Any, /) -> Tracked:
        return self.xp.add(self, other)  # type: ignore[no-any-return]

    def __radd__(self, other: Any, /) -> Tracked:
        return self.xp.add(other, self)  # type: ignore[no-any-return]

    def __sub__(self, other: Any, /) -> Tracked:
        return self.xp.subtract(self, other)  # type: ignore[no-any-return]

    def __rsub__(self, other: Any, /) -> Tracked:
        return self.xp.subtract(other, self)  # type: ignore[no-any-return]

    def __mul__(self, other: Any, /) -> Tracked:
        return self.xp.multiply(self, other)  # type: ignore[no-any-return]

    def __rmul__(self, other: Any, /) -> Tracked:
        return self.xp.multiply(other, self)  # type: ignore[no-any-return]

    def __truediv__(self, other: Any, /) -> Tracked:
        return self.xp.divide(self, other)  # type: ignore[no-any-return]

    def __rtruediv__(self, other: Any, /) -> Tracked:
        return self.xp.divide(other, self)  # type: ignore[no-any-return]

    def __floordiv__(self, other: Any, /) -> Tracked:
        return self.xp.floor_divide(self, other)  # type: ignore[no-any-return]

    def __rfloordiv__(self, other: Any, /) -> Tracked:
        return self.xp.floor_divide(other, self)  # type: ignore[no-any-return]

    def __mod__(self, other: Any, /) -> Tracked:
        return self.xp.remainder(self, other)  # type: ignore[no-any-return]

    def __rmod__(self, other: Any, /) -> Tracked:
        return self.xp.remainder(other, self)  # type: ignore[no-any-return]

    def __pow__(self, other: Any, /) -> Tracked:
        return self.xp.pow(self, other)  # type: ignore[no-any-return]

    def __rpow__(self, other: Any, /) -> Tracked:
        return self.xp.pow(other, self)  # type: ignore[no-any-return]

    def __matmul__(self, other: Any, /) -> Tracked:
        return self.xp.matmul(self, other)  # type: ignore[no-any-return]

    def __rmatmul__(self, other: Any, /) -> Tracked:
        return self.xp.matmul(other, self)  # type: ignore[no-any-return]

    def __and__(self, other: Any, /) -> Tracked:
        return self._logical("and", self, other)

    def __rand__(self, other: Any, /) -> Tracked:
        return self._logical("and", other, self)

    def __or__(self, other: Any, /) -> Tracked:
        return self._logical("or", self, other)

    def __ror__(self, other: Any, /) -> Tracked:
        return self._logical("or", other, self)

    def __xor__(self, other: Any, /) -> Tracked:
        return self._logical("xor", self, other)

    def __rxor__(self, other: Any, /) -> Tracked:
        return self._logical("xor", other, self)

    def __lshift__(self, other: Any, /) -> Tracked:
        return self.xp.bitwise_left_shift(self, other)  # type: ignore[no-any-return]

    def __rlshift__(self, other: Any, /) -> Tracked:
        return self.xp.bitwise_left_shift(other, self)  # type: ignore[no-any-return]

    def __rshift__(self, other: Any, /) -> Tracked:
        return self.xp.bitwise_right_shift(self, other)  # type: ignore[no-any-return]

    def __rrshift__(self, other: Any, /) -> Tracked:
        return self.xp.bitwise_right_shift(other, self)  # type: ignore[no-any-return]

    def __invert__(self) -> Tracked:
        boolean = self.xp.isdtype(self.dtype, "bool")
        return (self.xp.logical_not if boolean else self.xp.bitwise_invert)(self)  # type: ignore[no-any-return]

    def __neg__(self) -> Tracked:
        return self.xp.negative(self)  # type: ignore[no-any-return]

    def __pos__(self) -> Tracked:
        return self.xp.positive(self)  # type: ignore[no-any-return]

    def __abs__(self) -> Tracked:
        return self.xp.abs(self)  # type: ignore[no-any-return]

    def __lt__(self, other: Any, /) -> Tracked:
        return self.xp.less(self, other)  # type: ignore[no-any-return]

    def __le__(self, other: Any, /) -> Tracked:
        return self.xp.less_equal(self, other)  # type: ignore[no-any-return]

    def __gt__(self, other: Any, /) -> Tracked:
        return self.xp.greater(self, other)  # type: ignore[no-any-return]

    def __ge__(self, other: Any, /) -> Tracked:
        return self.xp.greater_equal(self, other)  # type: ignore[no-any-return]

    def __eq__(self, other: object, /) -> Tracked:  # type: ignore[override]
        return self.xp.equal(self, other)  # type: ignore[no-any-return]

    def __ne__(self, other: object, /) -> Tracked:  # type: ignore[override]
        return self.xp.not_equal(self, other)  # type: ignore[no-any-return]

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, key: Any, /) -> Tracked:
        return self.xp.getitem(self, key)  # type: ignore[no-any-return]

    def _logical(self, name: str, a: Any, b: Any) -> Tracked:
        kind = "logical_" if self.xp.isdtype(self.dtype, "bool") else "bitwise_"
        return getattr(self.xp, kind + name)(a, b)  # type: ignore[no-any-return]

    def __setitem__(self, key: Any, value: Any, /) -> NoReturn:
        raise DifferentiationError(
            "a tracked array cannot be changed in place: make a new one with where(), concat() or stack()"
        )

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tracked]:
        return (self[i] for i in range(len(self)))

    # it never changes, so a copy may be itself; a real one would have lost its history

    def __copy__(self) -> Tracked:
        return self

    def __deepcopy__(self, memo: dict[int, Any], /) -> Tracked:
        return self

    def __reduce__(self) -> NoReturn:
        raise DifferentiationError("a tracked array cannot be pickled: answer it beside the loss with has_aux=True")

    # a single value: only where no gradient is lost by it

    def __float__(self) -> float:
        return float(self._constant("float()"))

    def __int__(self) -> int:
        return int(self._constant("int()"))

    def __bool__(self) -> bool:
        return bool(self._constant("bool()"))

    def __complex__(self) -> complex:
        return complex(self._constant("complex()"))

    def __index__(self) -> int:
        return self._constant("index()").__index__()  # type: ignore[no-any-return]

    def _constant(self, what: str) -> Any:
        if self.node is not CONSTANT:
            raise DifferentiationError(
                f"{what} of a tracked array of shape {self.shape} would drop its gradient: use "
                "nnx.stop_gradient(x) if that is meant, where() for a choice between values, or "
                "has_aux=True to answer a value beside the loss"
            )
        value = self.value
        return value._constant(what) if type(value) is Tracked else value

    # foreign functions, which would see no history: constants alone are handed to them

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self._handed().__array__(*args, **kwargs)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._handed().__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[Any, Any]:
        return self._handed().__dlpack_device__()  # type: ignore[no-any-return]

    def _handed(self) -> Any:
        if self.node is not CONSTANT:
            raise DifferentiationError(
                "a function of another namespace got a tracked array, and would drop its gradient: call the "
                "function of xp = nnx.namespace_of(x) instead, or pass nnx.stop_gradient(x)"
            )
        return self._constant("a function of another namespace")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return function(*map(_hand, args), **{name: _hand(a) for name, a in kwargs.items()})

    def __getattr__(self, name: str) -> NoReturn:
        known = not name.startswith("_") and name in dir(self.xp)  # hasattr() is asked of special names often
        raise AttributeError(
            f"an array of the standard has no {name!r}"
            + (f": call xp.{name}(x, ...), where xp = nnx.namespace_of(x)" if known else "")
        )

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self)
        value = self.value  # to look at a number drops no gradient
        while type(value) is Tracked:
            value = value.value
        return format(value, spec)

    def __repr__(self) -> str:
        kind = "constant" if self.node is CONSTANT else f"level {self.node.level}"
        return f"Tracked({self.value!r}, {kind})"


def _hand(x: Any) -> Any:
    """``x`` for a function that keeps no history, if no gradient is lost by it."""
    if type(x) is Tracked:
        return x._handed()
    return type(x)(map(_hand, x)) if type(x) in (list, tuple) else x
