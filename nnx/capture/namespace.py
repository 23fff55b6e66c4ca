"""The namespace, the kernels and the library of arrays that are recorded."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from nnx._recording import recorders
from nnx._typing import Backend, Kernel, Namespace
from nnx.backend import Library, kernels_of, register_stand_in
from nnx.capture.instruction import arrays_in
from nnx.capture.recorded import Recorded
from nnx.capture.recorder import RawNamed, Recorder

_PLAIN = frozenset("__array_namespace_info__ broadcast_shapes can_cast finfo iinfo isdtype result_type".split())
_OF_VALUES = frozenset("nonzero unique_all unique_counts unique_inverse unique_values".split())
"""Functions whose results have a shape that depends on values."""

_MAY_RAISE = frozenset("take take_along_axis repeat".split())
"""Functions that raise at some values, so that they are called even where nobody uses what they answer."""

_LIKE = frozenset("empty_like full_like ones_like zeros_like".split())


class RecordedNamespace(RawNamed):
    """The functions of the namespace ``beneath``, which are recorded."""

    def __init__(self, raw: Namespace, *, pure: bool = True) -> None:
        self.beneath = raw
        self.__name__ = raw.__name__
        self._pure = pure

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.beneath, name)
        if isinstance(value, ModuleType):
            value = RecordedNamespace(value, pure=False)
        elif callable(value) and not isinstance(value, type):
            value = _recorded(name, value, pure=self._pure and name not in _MAY_RAISE)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return dir(self.beneath)


def _recorded(name: str, function: Callable[..., Any], *, pure: bool) -> Callable[..., Any]:
    plain, like = name in _PLAIN, name in _LIKE

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        recorder = _recorder_of((args, options))
        if recorder is None:
            return function(*args, **options)
        if plain:
            return function(*recorder.open(args), **recorder.open(options))
        if name in _OF_VALUES or (name == "repeat" and len(list(arrays_in((args, options)))) > 1):
            recorder.note(f"{name}(), which makes arrays whose shape depends on values")
        if options.get("out") is not None:
            recorder.note(f"{name}(out=...)")
        return recorder.call("call", function, args, options, pure=pure, fresh=like, like=like)

    return call


def _recorder_of(x: Any) -> Recorder | None:
    found: Any = recorders.get(threading.get_ident())
    if found is None:
        return next((a.recorder for a in arrays_in(x) if isinstance(a, Recorded)), None)
    return found  # type: ignore[no-any-return]


class _Kernels(Mapping[str, Kernel]):
    """The kernels of ``raw``, each recorded as one call."""

    def __init__(self, raw: Namespace) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> Kernel:
        kernel = kernels_of(self._raw)[name]
        changes = name.endswith("_update")

        @functools.wraps(kernel)
        def call(xp: Namespace, *args: Any, **options: Any) -> Any:
            recorder = _recorder_of((args, options))
            if recorder is None:
                return kernel(self._raw, *args, **options)
            fresh = not changes and name != "gather_gradients"
            return recorder.call("call", kernel, (self._raw, *args), options, fresh=fresh, changes=changes)

        return call

    def __iter__(self) -> Iterator[str]:
        return iter(kernels_of(self._raw))

    def __len__(self) -> int:
        return len(kernels_of(self._raw))


class _Backend:
    """The backend beneath, but for what a recording must not know."""

    def __init__(self, raw: Backend) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def owns(self, array: Any) -> bool:
        return False

    def device_of(self, array: Any) -> None:
        return None  # so that nobody keeps it for later

    def readable(self, array: Any) -> bool:
        return False

    def to_host(self, array: Recorded) -> Any:
        return self._raw.to_host(array.recorder.read(array, "an array for the host"))


_kinds: dict[Namespace, type[Recorded]] = {}


def kind_of(library: Library) -> type[Recorded]:
    """The class of the recorded arrays of a library."""
    found = _kinds.get(library.namespace)
    if found is None:
        namespace = RecordedNamespace(library.namespace)
        found = type("Recorded", (Recorded,), {"__slots__": (), "_xp": namespace, "__module__": __name__})
        backend: Any = _Backend(library.backend)  # type: ignore[arg-type]
        register_stand_in(found, Library(namespace, backend, over=library), _Kernels(library.namespace))
        _kinds[library.namespace] = found
    return found
