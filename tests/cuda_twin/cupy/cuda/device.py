"""``cupy.cuda.Device``, and the current device of each thread."""

from __future__ import annotations

import threading
from typing import Any

from cupy import _memory, _state, _stream
from cupy._errors import CUDARuntimeError


class _Entered(threading.local):
    def __init__(self) -> None:
        self.stack: list[int] = []


_entered = _Entered()


class Device:
    """``cupy.cuda.Device``; unhashable, as the real one."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, device: Any = None) -> None:
        self.id = _state.local.device if device is None else int(device)
        # CuPy itself finds out when the device is used
        self._exists = 0 <= self.id < _state.DEVICES

    def _check(self) -> None:
        if not self._exists:
            raise CUDARuntimeError(101)

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __lt__(self, other: Device) -> bool:
        return self.id < other.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __reduce__(self) -> Any:
        return Device, (self.id,)

    def __enter__(self) -> Device:
        self._check()
        _entered.stack.append(_state.local.device)
        _state.local.device = self.id
        return self

    def __exit__(self, *exception: Any) -> None:
        _state.local.device = _entered.stack.pop()

    def use(self) -> Device:
        self._check()
        _state.local.device = self.id
        return self

    def synchronize(self) -> None:
        self._check()
        for capture in _state.capturing:
            if capture.origin.device_id == self.id:
                capture.invalid = capture.invalid or "Device.synchronize()"
                raise CUDARuntimeError(900, "Device.synchronize()")
        _state.waited("Device.synchronize()")
        for stream in {_state.stream(), *_stream.made}:
            if stream.device_id in (-1, self.id):
                stream._finish()

    compute_capability = "90"
    pci_bus_id = "0000:01:00.0"

    @property
    def attributes(self) -> dict[str, int]:
        self._check()
        return {
            "MultiProcessorCount": 132,
            "MaxThreadsPerBlock": 1024,
            "MaxThreadsPerMultiProcessor": 2048,
            "MaxSharedMemoryPerBlock": 49152,
            "MaxGridDimX": 2**31 - 1,
            "MaxGridDimY": 65535,
            "WarpSize": 32,
            "MemoryPoolsSupported": 1,
            "ComputeCapabilityMajor": 9,
            "ComputeCapabilityMinor": 0,
        }

    @property
    def mem_info(self) -> tuple[int, int]:
        self._check()
        return _state.MEMORY - _memory.used[self.id], _state.MEMORY


def get_device_id() -> int:
    """``cupy.cuda.get_device_id``."""
    return _state.local.device


def get_compute_capability() -> str:
    """``cupy.cuda.device.get_compute_capability``."""
    return Device.compute_capability
