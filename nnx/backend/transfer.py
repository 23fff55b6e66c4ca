"""The two doors between host and device."""

from __future__ import annotations

from typing import Any

from nnx._errors import DTypeError
from nnx._recording import recorder, recorders
from nnx._typing import Array, Backend, DType, Namespace
from nnx.backend import library
from nnx.backend.activation import activation
from nnx.backend.library import LOW, is_array, library_of, namespace_of
from nnx.backend.registry import HOST, Device, load_backend, load_namespace
from nnx.backend.registry import device as find_device


def asarray(x: Any, *, device: str | Device | None = None, dtype: str | None = None) -> Array:
    """Make an array on a device from host data or from an array of any library.

    A NumPy array may share its memory with the result where that is host memory too; an array that
    is on the device already comes back as it is.

    Args:
        x: an array of any library, or anything that NumPy makes an array of.
        device: a device flag; ``None`` for the default device.
        dtype: a name of the standard, e.g. ``"float32"``, or ``"float16"`` or ``"bfloat16"`` where the library has
            it; ``None`` keeps what comes, except that Python floats become the default float type, float32.

    Raises:
        DTypeError: the dtype is none of these, or not one of the device.
        DifferentiationError: a tracked array would have to leave its device.
    """
    target = find_device(device)
    if isinstance(dtype, str) and dtype in LOW:
        wide = asarray(x, device=target, dtype=None if is_array(x) else "float32")
        return namespace_of(wide).astype(wide, low_dtype(target.backend, dtype), copy=False)
    if dtype is not None:
        _check_name(dtype)
    kind = type(x)
    xp, raw = library.wrappers[kind](x) if kind in library.wrappers else (target.namespace, x)
    host_backend = load_backend(HOST)
    if is_array(x):
        backend = library_of(raw).backend
        here = backend is target.backend and target.backend.device_of(raw) in (None, target.native)
        if here and (kind in library.wrappers or backend is not host_backend):
            if dtype is None:
                return x
            with activation(raw):
                return xp.astype(x, getattr(xp, dtype), copy=False)
        if backend is not host_backend or kind in library.wrappers:
            x = to_numpy(x)
    host_xp = load_namespace(host_backend)
    host = host_xp.asarray(x)
    if host.dtype.kind not in "biufcV" or host.dtype.names:  # V: the extension dtypes, e.g. bfloat16
        raise DTypeError(f"expected numbers or booleans, got dtype {host.dtype}")
    if dtype is None and not is_array(x):
        dtype = {"float64": "float32", "complex128": "complex64"}.get(str(host.dtype))
    if dtype is not None:
        host = host_xp.astype(host, getattr(host_xp, dtype), copy=False)
    made = target.from_host(host)
    library_of(made)  # known from now on, and so is how its device is made current
    if recorders and not is_array(x) and (recording := recorder()):
        recording.constant(made)
    return made


_DTYPES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128".split()
)


def low_dtype(backend: Backend, name: str) -> DType:
    """A library's ``"float16"`` or ``"bfloat16"``.

    Raises:
        DTypeError: it has none.
    """
    found = backend.precision(name)
    if found is None:
        raise DTypeError(
            f"{backend.name} has no dtype {name} to compute in: take float32, or a device of a backend that has it, "
            "which docs/precision.md lists"
        )
    return found.dtype


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
