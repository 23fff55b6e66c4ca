"""Tracked arrays: an array, its differentiable namespace, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from nnx._errors import DifferentiationError
from nnx._typing import DType, Namespace, NativeDevice
from nnx.tape.node import CONSTANT, Node
from nnx.tape.operators import Operators

VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")
"""The versions of the standard: each has all names of those before it."""


class Tracked(Operators):
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
        if api_version is not None and api_version not in VERSIONS:
            raise ValueError(f"nnx knows no version {api_version!r} of the standard; it has {', '.join(VERSIONS)}")
        return self.xp

    def to_device(self, device: NativeDevice, /, *, stream: Any = None) -> Tracked:
        return self.xp.to_device(self, device, stream=stream)  # type: ignore[no-any-return]

    def __getitem__(self, key: Any, /) -> Any:
        return self.xp.getitem(self, _constant_key(key))

    def __setitem__(self, key: Any, value: Any, /) -> None:
        """Give this array the value, and the history, of one that differs in a part.

        All names of this array see the change; arrays that were made of it before, views too, do not.
        No array of the library beneath is changed, so neither are those of the caller.
        """
        y = self.xp.setitem(self, _constant_key(key), self._fitting(value, "x[key] = value"))
        self.value, self.node = y.value, y.node

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tracked]:
        return iter(self.xp.unstack(self) if len(self) else ())

    # the copy of a raw array would have lost its history

    def __copy__(self) -> Tracked:
        return Tracked(self.value, self.xp, self.node)

    def __deepcopy__(self, memo: dict[int, Any], /) -> Tracked:
        return self.__copy__()

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
        value = self._constant("index()")
        if hasattr(value, "__index__"):
            return value.__index__()  # type: ignore[no-any-return]
        if value.shape == () and self.xp.isdtype(value.dtype, "integral"):  # the arrays of some libraries have none
            return int(value)
        raise TypeError("only integer arrays of shape () can be an index")

    def _constant(self, what: str) -> Any:
        if self.node is not CONSTANT:
            raise DifferentiationError(
                f"{what} of a tracked array of shape {self.shape} would drop its gradient: use "
                "nnx.stop_gradient(x) if that is meant, where() for a choice between values, or "
                "has_aux=True to answer a value beside the loss; to assign it to a part of an array, make that "
                "with the functions of xp = nnx.namespace_of(x), as in xp.zeros(...)"
            )
        value = self.value
        return value._constant(what) if type(value) is Tracked else value

    # foreign functions, which would see no history: constants alone are handed to them

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self._handed().__array__(*args, **kwargs)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        options = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        # not every library has all of them
        return self._handed().__dlpack__(**{name: value for name, value in options.items() if value is not None})

    def __dlpack_device__(self) -> tuple[Any, Any]:
        return self._handed().__dlpack_device__()  # type: ignore[no-any-return]

    def _handed(self) -> Any:
        if self.node is not CONSTANT:
            raise DifferentiationError(
                "a tracked array was given to a function of another namespace, or assigned to a part of an array that "
                "is not tracked, which would drop its gradient: call the functions of xp = nnx.namespace_of(x) "
                "instead, and make the array with them, as in xp.zeros(...); or pass nnx.stop_gradient(x)"
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


def _constant_key(key: Any) -> Any:
    """A key as it is now, in raw arrays: its owner may assign to parts of a tracked one."""
    while type(key) is Tracked:
        key = key.value
    if type(key) is tuple or type(key) is list:
        return type(key)([_constant_key(part) for part in key])
    if type(key) is slice and Tracked in (type(key.start), type(key.stop), type(key.step)):
        return slice(_constant_key(key.start), _constant_key(key.stop), _constant_key(key.step))
    return key


def _hand(x: Any) -> Any:
    """``x`` for a function that keeps no history, if no gradient is lost by it."""
    if type(x) is Tracked:
        return x._handed()
    return type(x)(map(_hand, x)) if type(x) in (list, tuple) else x
