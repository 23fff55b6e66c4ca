"""The standard's functions, each computed on the device of its arrays.

CuPy computes on the current device, and the functions of ``array_api_compat.cupy`` leave ``device=`` aside. Where there
is one GPU that is as well. Where there are several, each function is guarded: it makes the device current that
``device=`` names, or that of its first array, if another one is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from nnx._errors import BackendUnavailableError
from nnx_cupy import devices
from nnx_cupy.products import rooms

UNGUARDED = frozenset({"isdtype", "finfo", "iinfo", "can_cast", "issubdtype"})
"""What asks for no device, and is asked for often."""


_made: list[ModuleType] = []


def of(compat: ModuleType) -> ModuleType:
    """The namespace of CuPy arrays: that of array-api-compat, improved, and guarded where there are several GPUs."""
    if not _made or _made[0] is not compat:
        try:
            several = devices.count() > 1
        except BackendUnavailableError:  # said when a device is asked for, and there are no arrays before
            return compat
        better = improved(compat)
        _made[:] = compat, Guarded(better) if several else better
    return _made[1]


def improved(compat: ModuleType) -> ModuleType:
    """The namespace of array-api-compat, with the functions of ``products`` in the places of CuPy's."""
    given = rooms(compat)
    extensions = {name: Over(getattr(compat, name), own) for name, own in given.items() if name}
    return Over(compat, given[""] | extensions)


class Over(ModuleType):
    """The namespace ``of``, with other functions of some names; each name is looked up there once."""

    def __init__(self, of: ModuleType, own: Mapping[str, Any] = MappingProxyType({})) -> None:
        super().__init__(of.__name__, of.__doc__)
        self.__of = of
        vars(self).update(own)

    def _changed(self, name: str, found: Any) -> Any:
        """What stands here for what stands there."""
        return found

    def __getattr__(self, name: str) -> Any:
        found = self._changed(name, getattr(self.__of, name))
        setattr(self, name, found)
        return found

    def __dir__(self) -> list[str]:
        return dir(self.__of)


class Guarded(Over):
    """The namespace ``of``, with guarded functions. They are made when they are first asked for."""

    def _changed(self, name: str, found: Any) -> Any:
        if name.startswith("__"):
            return found
        if isinstance(found, ModuleType):
            return Guarded(found) if name in ("linalg", "fft") else found
        plain = not callable(found) or isinstance(found, type) or name in UNGUARDED
        return found if plain else guarded(found)


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, computed on the device that ``device=`` names, or on that of its first array."""
    import cupy

    array_type, current, on = cupy.ndarray, cupy.cuda.runtime.getDevice, cupy.cuda.Device
    makes = function.__name__ != "astype"  # which casts where the array lies, and moves the result

    def number_of(values: Any) -> int:
        """The device of the first array among ``values``, also in lists of them; -1 if there is none."""
        for value in values:
            if isinstance(value, array_type):
                return value.data.device_id  # type: ignore[no-any-return]
            if type(value) is list or type(value) is tuple:
                number = number_of(value)
                if number >= 0:
                    return number
        return -1

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        device = options.get("device") if makes else None
        number = number_of(args) if device is None else device.id
        if number < 0 and options:
            number = number_of(options.values())
        if number < 0 or number == current():
            return function(*args, **options)
        with on(number):
            return function(*args, **options)

    return call
