"""array-api-strict arrays: the flag ``strict``, a stand-in for a GPU in tests.

Its default here is ``device1``, never ``CPU_DEVICE``: arrays of ``device1`` refuse to be mixed with
those of another device and to be read as NumPy arrays, as arrays of a GPU do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnx._errors import DeviceError, DTypeError
from nnx._typing import Kernel, Memory

DEVICES = ("device1", "device2", "CPU_DEVICE", "no_float64")
"""The devices that every version of array-api-strict since 2.5 has; the first is the default."""


class StrictBackend:
    """The library ``array_api_strict``."""

    name = "strict"
    flag = "strict"
    extra = "strict"
    views = False
    one_device = False
    defers = False
    activate = None
    prefetch = None
    capture = None
    graph = None

    def kernels(self, which: str) -> Mapping[str, Kernel]:
        return {}

    def kernels_from(self, which: str) -> str:
        return ""

    def load(self) -> Any:
        import array_api_strict

        return array_api_strict

    def version(self) -> str:
        import array_api_strict

        return array_api_strict.__version__

    def owns(self, array: Any) -> bool:
        return type(array).__module__.partition(".")[0] == "array_api_strict"

    def devices(self) -> Sequence[str]:
        return DEVICES

    def device(self, name: str | None) -> Any:
        import array_api_strict

        try:
            return array_api_strict.Device(DEVICES[0] if name is None else name)
        except ValueError as error:
            known = ", ".join(f"strict:{device}" for device in DEVICES)
            raise DeviceError(f"array-api-strict has no device {name!r}; there are {known}") from error

    def device_of(self, array: Any) -> Any:
        return array.device

    def device_name(self, device: Any) -> str:
        return next(name for name in (*DEVICES, "no_x64") if device == self.device(name))

    def from_host(self, array: Any, device: Any) -> Any:
        import array_api_strict

        try:
            return array_api_strict.asarray(
                np.asarray(array, dtype=array.dtype.newbyteorder("=")), device=device, copy=True
            )
        except (TypeError, ValueError) as error:
            name = self.device_name(device)
            raise DTypeError(f"array-api-strict has no dtype {array.dtype} on {name!r}: convert first") from error

    def to_host(self, array: Any) -> Any:
        return np.array(np.from_dlpack(array.to_device(self.device("CPU_DEVICE"))))

    def readable(self, array: Any) -> bool:
        return True

    def precision(self, name: str) -> None:
        return None

    def synchronize(self, device: Any) -> None:
        return None

    def memory(self, device: Any) -> Memory | None:
        return None


backend = StrictBackend()
