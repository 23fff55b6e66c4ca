"""Arrays of a step that is being recorded."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import array_api_compat

from nnx._errors import StateError
from nnx._typing import Array, DType, Namespace
from nnx.capture.operators import Operators
from nnx.tape.tracked import VERSIONS

if TYPE_CHECKING:
    from nnx.capture.recorder import Recorder


class Recorded(Operators):
    """An array that computes at once, and whose recorder writes down what was computed.

    It is an Array API array itself, of a library of its own, so that layers, losses and the tape take it as any
    other. There is a subclass for each library beneath. What would make the step depend on its values in Python
    (``float(x)``, ``if x > 0``) is answered, and noted: the step goes on as a plain one and is not replayed.

    Attributes:
        value: the array beneath.
        slot: its number in the recording.
    """

    __slots__ = ("__weakref__", "slot", "value")
    _xp: Namespace

    def __init__(self, recorder: Recorder, value: Array, slot: int) -> None:
        self.recorder = recorder
        self.value = value
        self.slot = slot

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
        return self.value.size  # type: ignore[no-any-return]

    @property
    def device(self) -> Any:
        return array_api_compat.device(self.value)

    @property
    def T(self) -> Any:
        return self.recorder.call("attribute", getattr, (self, "T"))

    @property
    def mT(self) -> Any:
        return self._xp.matrix_transpose(self)

    def __array_namespace__(self, *, api_version: str | None = None) -> Namespace:
        if api_version is not None and api_version not in VERSIONS:
            raise ValueError(f"nnx knows no version {api_version!r} of the standard; it has {', '.join(VERSIONS)}")
        return self._xp

    def to_device(self, device: Any, /, *, stream: Any = None) -> Any:
        return self._xp.to_device(self, device, stream=stream)

    def __getitem__(self, key: Any, /) -> Any:
        return self.recorder.item(self, key)

    def __setitem__(self, key: Any, value: Any, /) -> None:
        self.recorder.change("assignment", operator.setitem, self, key, value)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return iter([self[i] for i in range(len(self))])

    # values that Python reads

    def __float__(self) -> float:
        return float(self.recorder.read(self, "float() of an array"))

    def __int__(self) -> int:
        return int(self.recorder.read(self, "int() of an array"))

    def __bool__(self) -> bool:
        return bool(self.recorder.read(self, "bool() of an array, as in `if x > 0`"))

    def __complex__(self) -> complex:
        return complex(self.recorder.read(self, "complex() of an array"))

    def __index__(self) -> int:
        return operator.index(self.recorder.read(self, "an array as an index of Python's"))

    def __array__(self, *args: Any, **options: Any) -> Any:
        return self.recorder.read(self, "an array for a function that records nothing").__array__(*args, **options)

    def __dlpack__(self, **options: Any) -> Any:
        return self.recorder.read(self, "an array for another library").__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.value.__dlpack_device__()

    def __deepcopy__(self, memo: dict[int, Any], /) -> Any:
        return self.recorder.read(self, "a deep copy of an array").__deepcopy__(memo)

    def __reduce__(self) -> Any:
        if self.recorder.elsewhere():  # another thread pickles the model meanwhile
            return self.value.__reduce__()
        raise StateError("an array of a step that is being captured cannot be pickled: answer it, and pickle that")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"an array of the standard has no {name!r}")
        found = getattr(self.value, name)  # raises where there is none
        self.recorder.note(f".{name} of an array, which the Array API standard does not have")
        return found

    def __format__(self, spec: str) -> str:
        self.recorder.note("an array in a string")
        return format(self.value, spec)

    def __repr__(self) -> str:
        return f"Recorded({self.value!r})"

    # functions of the library itself, where it asks its arguments

    def __array_ufunc__(self, function: Any, method: str, *args: Any, **options: Any) -> Any:
        return self.recorder.foreign(function if method == "__call__" else getattr(function, method), args, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return self.recorder.foreign(function, args, options)
