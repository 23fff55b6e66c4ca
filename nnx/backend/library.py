"""Arrays: which library, namespace and device each belongs to."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import array_api_compat

from nnx._errors import BackendUnavailableError, DeviceError, MixedLibrariesError
from nnx._typing import Array, Backend, DType, Kernel, Namespace, NativeDevice
from nnx.backend.kernels import kernels_in_use
from nnx.backend.registry import Device, entry_points, load_backend, load_namespace


class Library:
    """What is known of the library of one array type; ``over``: the library whose arrays it stands for."""

    __slots__ = ("backend", "defers", "name", "namespace", "one_device", "over")

    def __init__(self, namespace: Namespace, backend: Backend | None, *, over: Library | None = None) -> None:
        self.over = over
        self.namespace = namespace
        self.backend = backend
        self.name: str = namespace.__name__ if backend is None else backend.name
        self.one_device = backend is None or backend.one_device
        self.defers = backend is None or backend.defers


_libraries: dict[type, Library] = {}

activators: dict[type, Callable[[Array], AbstractContextManager[Any] | None]] = {}
"""Makes the device of an array current, for the array types of libraries that compute on a current device."""


def library_of(array: Array) -> Library:
    """The library that a raw array belongs to; a library without a plug-in has no backend."""
    found = _libraries.get(type(array))
    return _discover(array) if found is None else found


def _discover(array: Array) -> Library:
    if type(array) in wrappers:  # not remembered: it is that of what it wraps
        return library_of(_unwrapped(array))
    if not array_api_compat.is_array_api_obj(array):
        raise MixedLibrariesError(
            f"expected an array of a library that implements the Array API standard, got "
            f"{type(array).__name__}: make one with nnx.asarray(...)"
        )
    backend = _owner(array)
    namespace = array_api_compat.array_namespace(array) if backend is None else load_namespace(backend)
    if backend is not None:
        _backends[namespace] = backend
        if backend.activate is not None:
            activators[type(array)] = backend.activate
    return _libraries.setdefault(type(array), Library(namespace, backend))


def _owner(array: Array) -> Backend | None:
    """Ask the plug-ins whose it is, first those whose name its type's module resembles."""
    module = type(array).__module__.partition(".")[0]
    for flag in sorted(entry_points(), key=lambda flag: flag not in module):
        try:
            backend = load_backend(flag)
        except BackendUnavailableError:  # says why when it is asked for by its flag
            continue
        if backend.owns(array):
            return backend
    return None


wrappers: dict[type, Callable[[Array], tuple[Namespace, Array]]] = {}
readers: dict[type, Callable[[Array, str], Array]] = {}


class _Kernels(dict[Namespace, Mapping[str, Kernel]]):
    """By namespace: asked of the backend when the first is wanted. A namespace without a backend has none."""

    def __missing__(self, xp: Namespace) -> Mapping[str, Kernel]:
        if xp not in _backends:
            return _NO_KERNELS
        with _lock:  # a table remembers what it has compiled: there must not be two
            found = self.get(xp)
            if found is None:
                found = self[xp] = kernels_in_use(_backends[xp])
        return found


_lock = threading.RLock()
_NO_KERNELS: Mapping[str, Kernel] = MappingProxyType({})
_backends: dict[Namespace, Backend] = {}
_kernels = _Kernels()


def register_wrapper(
    kind: type, open_: Callable[[Array], tuple[Namespace, Array]], read: Callable[[Array, str], Array]
) -> None:
    """Declare an array type that wraps another.

    ``open_`` answers its namespace and the raw array; ``read`` answers the raw array for the
    function that it is told of, or raises ``DifferentiationError`` where a gradient would be lost.
    """
    wrappers[kind] = open_
    readers[kind] = read


def register_stand_in(kind: type, library: Library, kernels: Mapping[str, Kernel]) -> None:
    """Declare an array type that stands for the arrays of ``library.over``, and may be mixed with them."""
    _libraries[kind] = library
    _kernels[library.namespace] = kernels


def _unwrapped(array: Array) -> Array:
    """The raw array that ``array`` wraps, or is."""
    open_ = wrappers.get(type(array))
    return array if open_ is None else open_(array)[1]


kernels_of: Callable[[Namespace], Mapping[str, Kernel]] = _kernels.__getitem__
"""The kernels that replace functions of ``nnx.ops`` on raw arrays of a namespace."""


def readable(array: Array) -> bool:
    """Whether the value of a raw array can be read at once: no device to wait for, no compiler tracing."""
    backend = library_of(array).backend
    return backend is not None and backend.readable(array)


def is_array(x: object) -> bool:
    """Whether ``x`` is an array of any library, or a tracked one."""
    kind = type(x)
    if kind in _libraries or kind in wrappers:
        return True
    return not isinstance(x, type) and array_api_compat.is_array_api_obj(x)  # some dtypes are types of scalar arrays


def namespace_of(*arrays: Array) -> Namespace:
    """The namespace of the standard's functions for ``arrays``.

    The array-api-compat namespace for raw arrays, the differentiable one as soon as one of them is
    tracked. ``None`` and Python scalars are passed over.

    Raises:
        MixedLibrariesError: the arrays belong to two libraries, or none of them is an array.
        DeviceError: the arrays lie on two devices.
    """
    first: Array = None
    library: Library | None = None
    wrapped: Namespace = None
    for array in arrays:
        kind = type(array)
        found = _libraries.get(kind)
        if found is None:
            if array is None or kind in _SCALARS:
                continue
            if kind in wrappers:
                wrapped, array = wrappers[kind](array)
            found = library_of(array)
        if library is None:
            library, first = found, array
        elif found is not library and found.namespace is not library.namespace:
            if found.over is not None and found.over.namespace is library.namespace:
                library, first = found, array
            elif library.over is None or library.over.namespace is not found.namespace:
                raise _mixed(library, first, found, array)
        elif not found.one_device:
            a, b = found.backend.device_of(first), found.backend.device_of(array)  # type: ignore[union-attr]
            if a is not None and b is not None and a != b:
                raise _two_devices(found.backend, a, b)  # type: ignore[arg-type]
    if library is None:
        raise MixedLibrariesError("expected at least one array, got " + ", ".join(type(a).__name__ for a in arrays))
    return library.namespace if wrapped is None else wrapped


_SCALARS = frozenset({int, float, bool, complex})


LOW = frozenset({"float16", "bfloat16"})
"""The names of dtypes of floats that the standard does not have; some libraries have them from elsewhere."""


_low: dict[int, tuple[DType, bool]] = {}
"""By the identity of a dtype, which is kept so that no other has it: NumPy's take long to hash."""


def is_low(dtype: DType) -> bool:
    """Whether a dtype is one of floats of 16 bits."""
    found = _low.get(id(dtype))
    if found is None:
        found = dtype, str(dtype).rpartition(".")[2] in LOW
        if len(_low) < 256:  # some are made anew for each array
            _low[id(dtype)] = found
    return found[1]


@functools.cache
def dtype_kind(xp: Namespace, dtype: DType) -> str:
    """The kind of a dtype of a namespace, differentiable or not, by its name in the standard's ``isdtype``."""
    if is_low(dtype):  # of which isdtype need not know
        return "real floating"
    kinds = ("bool", "signed integer", "unsigned integer", "real floating", "complex floating")
    return next((kind for kind in kinds if xp.isdtype(dtype, kind)), "other")


@functools.cache
def is_float(xp: Namespace, dtype: DType) -> bool:
    """Whether arrays of a dtype have derivatives: real and complex floating-point numbers do."""
    return dtype_kind(xp, dtype) in ("real floating", "complex floating")


@functools.cache
def itemsize(xp: Namespace, dtype: DType) -> int:
    """Bytes of an element."""
    if is_low(dtype):
        return 2
    kind = dtype_kind(xp, dtype)
    if "integer" in kind:
        return int(xp.iinfo(dtype).bits) // 8
    if "floating" in kind:
        return int(xp.finfo(dtype).bits) // 8 * (2 if kind == "complex floating" else 1)
    return 1


def _mixed(a: Library, x: Array, b: Library, y: Array) -> MixedLibrariesError:
    places = [str(device_of(array)) for library, array in ((a, x), (b, y)) if library.backend is not None]
    return MixedLibrariesError(f"one operation got arrays of two libraries, {a.name} and {b.name}: {_remedy(places)}")


def _two_devices(backend: Backend, a: NativeDevice, b: NativeDevice) -> DeviceError:
    one, other = str(Device(backend, a)), str(Device(backend, b))
    return DeviceError(f"one operation got arrays on two devices, {one} and {other}: {_remedy([one, other])}")


def _remedy(places: Sequence[str]) -> str:
    """What to do; which of the two is the data and which the model's cannot be told here."""
    if not places:
        return "convert one of them"
    where = " or ".join(map(repr, places))
    return f"bring both to {where}, data with nnx.asarray(x, device=...), a model with model.to(...)"


def native_device(array: Array) -> NativeDevice | None:
    """Where an array lies, tracked or not, for the creation functions of its namespace."""
    array = _unwrapped(array)
    backend = library_of(array).backend
    return array_api_compat.device(array) if backend is None else backend.device_of(array)


def device_of(array: Array) -> Device:
    """The device on which an array lies, tracked or not."""
    array = _unwrapped(array)
    library = library_of(array)
    if library.backend is None:
        raise BackendUnavailableError(
            f"no backend plug-in is installed for arrays of {library.name}; backends/README.md shows how to write one"
        )
    native = library.backend.device_of(array)
    return Device(library.backend, library.backend.device(None) if native is None else native)
