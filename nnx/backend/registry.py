"""Flags: what stands for a device, and how plug-ins are found.

Flags are ``backend`` or ``backend:device``. The names before the colon are entry points of the
group ``nnx.backends``; ``cpu`` and ``cuda`` are two of them. Names are listed without loading
anything, and a plug-in is loaded when it is asked for by a flag or by an array of its library.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from nnx._errors import BackendUnavailableError, DeviceError
from nnx._typing import Array, Backend, Namespace, NativeDevice

ENTRY_POINT_GROUP = "nnx.backends"
HOST = "cpu"
"""The flag of the backend whose arrays are host memory: the reference for all others."""


class Device:
    """A backend and one of its devices: what a device flag stands for.

    What ``nnx`` computes, it computes where the arrays lie. The operators of some libraries do not: ``a + b`` on CuPy
    arrays is computed on the current CUDA device. In a ``with`` block of a device it is current for code of one's own,
    in the current thread; leaving the block makes the one current again that was before. For libraries that
    have no current device, the block does nothing. It is no default for new arrays: see :class:`nnx.default_device`.

    >>> import nnx
    >>> a = nnx.asarray([1.0, 2.0])
    >>> with nnx.backend.device_of(a):
    ...     print(a + a)
    [2. 4.]
    """

    __slots__ = ("backend", "native")

    def __init__(self, backend: Backend, native: NativeDevice) -> None:
        self.backend = backend
        self.native = native

    @property
    def namespace(self) -> Namespace:
        """The array-api-compat namespace of the backend."""
        return load_namespace(self.backend)

    def from_host(self, array: Any) -> Array:
        """Copy a NumPy array to this device."""
        return self.backend.from_host(array, self.native)

    def __enter__(self) -> Device:
        activate = self.backend.activate
        context = None if activate is None else activate(self.native)
        if context is not None:
            context.__enter__()
        _entered.contexts = (*getattr(_entered, "contexts", ()), context)
        return self

    def __exit__(self, *exception: Any) -> None:
        *outer, context = _entered.contexts
        _entered.contexts = tuple(outer)
        if context is not None:
            context.__exit__(*exception)

    def __str__(self) -> str:
        flag, name = self.backend.flag, self.backend.device_name(self.native)
        return flag if name == flag else f"{flag}:{name}"

    def __repr__(self) -> str:
        return f"nnx.Device({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


_entered = threading.local()
"""The blocks of devices that the current thread is in: a device may be entered again, and by several threads."""


@functools.cache
def entry_points() -> Mapping[str, Any]:
    """Every flag that is installed, with its entry point. Nothing is loaded."""
    from importlib.metadata import entry_points as installed  # 20 ms that `import nnx` need not pay

    found: dict[str, Any] = {}
    for point in installed(group=ENTRY_POINT_GROUP):
        found.setdefault(point.name, point)  # as with imports, what comes first on sys.path is meant
    return MappingProxyType(found)


@functools.cache
def load_backend(flag: str) -> Backend:
    """The backend that is installed under ``flag``. Its array library may still be missing."""
    points = entry_points()
    if flag not in points:
        known = ", ".join(sorted(points)) or "none: install the package with `pip install nnx-array`"
        raise DeviceError(
            f"unknown device flag {flag!r}: expected 'auto', <backend> or <backend>:<device>, "
            f"where <backend> is one of {known}"
        )
    try:
        backend: Backend = points[flag].load()
    except Exception as error:
        raise BackendUnavailableError(
            f"the backend plug-in {flag!r} ({points[flag].value}) fails to load: {error!r}; "
            "reinstall the package that provides it, or remove it"
        ) from error
    missing = [name for name in _PROTOCOL if not hasattr(type(backend), name) and name not in vars(backend)]
    if missing:
        raise BackendUnavailableError(
            f"the backend plug-in {flag!r} ({points[flag].value}) lacks {', '.join(missing)}: "
            "update the package that provides it; nnx._typing.Backend says what a backend has"
        )
    return backend


_PROTOCOL = (*Backend.__annotations__, *(name for name in vars(Backend) if not name.startswith("_")))


def load_namespace(backend: Backend) -> Namespace:
    """The namespace of ``backend``, or an error that says how to install its library."""
    try:
        return backend.load()
    except BackendUnavailableError:
        raise
    except Exception as error:
        verb = "install" if isinstance(error, ModuleNotFoundError) else "reinstall"
        what = f"it with `pip install 'nnx-array[{backend.extra}]'`" if backend.extra else "the package it comes from"
        raise BackendUnavailableError(
            f"the backend {backend.name!r} cannot load: {str(error) or repr(error)}; {verb} {what}"
        ) from error


def device(flag: str | Device | None = None) -> Device:
    """Answer the device that a flag stands for.

    Args:
        flag: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"auto"`` (CUDA where a GPU answers, else CPU),
            ``<backend>``, ``<backend>:<device>``, a device, or ``None`` for the default device.

    Raises:
        DeviceError: no backend or device has that name.
        BackendUnavailableError: the library is missing or cannot run here; the message says why.
    """
    if flag is None:
        return _default()
    if isinstance(flag, Device):
        return flag
    if not isinstance(flag, str):
        raise DeviceError(f"a device flag is a string such as 'cpu' or 'cuda:1', not {flag!r}")
    if flag == "auto":
        return _auto()
    name, colon, which = flag.partition(":")
    backend = load_backend(name)
    load_namespace(backend)
    return Device(backend, backend.device(which if colon else None))


def _auto() -> Device:
    try:
        return device("cuda")
    except (BackendUnavailableError, DeviceError):
        return device(HOST)


def _default() -> Device:
    if blocks := _blocks.get():
        return blocks[-1]
    if _process:
        return _process[-1].device
    flag = os.environ.get("NNX_DEVICE")
    if not flag:
        return device(HOST)
    try:
        return device(flag)
    except (BackendUnavailableError, DeviceError) as error:
        raise type(error)(f"{error} (the flag comes from the environment variable NNX_DEVICE)") from error


_blocks: ContextVar[tuple[Device, ...]] = ContextVar("nnx_default_device", default=())
"""The default devices of the ``with`` blocks that the current thread or task is in."""

_process: list[default_device] = []
"""The default devices that were set by calls, for the whole process; the last one holds."""


class default_device:
    """Set where new parameters and arrays are made.

    A call sets it for the whole process; as a context manager it holds for the block and for the
    current thread or task alone. Without either, ``NNX_DEVICE`` decides, and then ``"cpu"``.

    >>> import nnx
    >>> with nnx.default_device("cpu"):
    ...     nnx.Linear(2, 3).device
    nnx.Device('cpu')

    Raises:
        DeviceError: no backend or device has that name.
        BackendUnavailableError: the library is missing or cannot run here; the message says why.
    """

    def __init__(self, flag: str | Device) -> None:
        self.device = device(flag)
        _process.append(self)  # a call looks the same as the head of a `with`, until __enter__

    def __enter__(self) -> Device:
        with contextlib.suppress(ValueError):  # taken back already, where a block is entered again
            _process.remove(self)  # itself alone: another thread may have set one since
        _blocks.set((*_blocks.get(), self.device))
        return self.device

    def __exit__(self, *exception: object) -> None:
        _blocks.set(_blocks.get()[:-1])
