"""The two doors between host and device."""

from __future__ import annotations

from typing import Any

from nnx._errors import DTypeError
from nnx._recording import recorder, recorders
from nnx._typing import Array, DType, Namespace
from nnx.backend import library
from nnx.backend.library import is_array, library_of
from nnx.backend.registry import HOST, Device, load_backend, load_namespace
from nnx.backend.registry import device as find_device


def asarray(x: Any, *, device: str | Device | None = None, dtype: str | None = None) -> Array:
    """Make an array on a device from host data or from an array of any library.

    A NumPy array may share its memory with the result where that is host memory too; an array that
    is on the device already comes back as it is.

    Args:
        x: an array of any library, or anything that NumPy makes an array of.
        device: a device flag; ``None`` for the default device.
        dtype: a name of the standard, e.g. ``"float32"``; ``None`` keeps what comes, except that
            Python floats become the default float type, float32.

    Raises:
        DTypeError: the dtype is not one of the standard, or not one of the device.
        DifferentiationError: a tracked array would have to leave its device.
    """
    target = find_device(device)
    if dtype is not None:
        _check_name(dtype)
    kind = type(x)
    xp, raw = library.wrappers[kind](x) if kind in library.wrappers else (target.namespace, x)
    host_backend = load_backend(HOST)
    if is_array(x):
        backend = library_of(raw).backend
        here = backend is target.backend and target.backend.device_of(raw) in (None, target.native)
        if here and (kind in library.wrappers or backend is not host_backend):
            return x if dtype is None else xp.astype(x, getattr(xp, dtype), copy=False)
        if backend is not host_backend or kind in library.wrappers:
            x = to_numpy(x)
    host_xp = load_namespace(host_backend)
    host = host_xp.asarray(x)
    if host.dtype.kind not in "biufcV":  # V: the extension dtypes, e.g. bfloat16
        raise DTypeError(f"expected numbers or booleans, got dtype {host.dtype}")
    if dtype is None and not is_array(x):
        dtype = {"float64": "float32", "complex128": "complex64"}.get(str(host.dtype))
    if dtype is not None:
        host = host_xp.astype(host, getattr(host_xp, dtype), copy=False)
    made = target.from_host(host)
    if recorders and not is_array(x) and (recording := recorder()):
        recording.constant(made)
    return made


_DTYPES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128".split()
)


def named_dtype(xp: Namespace, name: str) -> DType:
    """The dtype of a namespace that has this name in the standard; ``DTypeError`` if there is none."""
    _check_name(name)
    return getattr(xp, name)


def _check_name(dtype: str) -> None:
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise DTypeError(f"a dtype is a name of the Array API standard, such as 'float32', not {dtype!r}")


def to_numpy(x: Array) -> Any:
    """Copy an array of any library and device to a new NumPy array of the same dtype.

    Raises:
        DifferentiationError: ``x`` is tracked, so that its gradient would be lost.
    """
    kind = type(x)
    if kind in library.readers:
        x = library.readers[kind](x, "to_numpy()")
    found = library_of(x)
    if found.backend is None:
        xp = load_namespace(load_backend(HOST))
        return xp.asarray(xp.from_dlpack(x), copy=True)
    return found.backend.to_host(x)
