"""``cupy.cuda.runtime``."""

from __future__ import annotations

import ctypes
from typing import Any

from cupy import _state
from cupy._errors import CUDARuntimeError
from cupy.cuda.device import Device

__all__ = ["CUDARuntimeError"]

memcpyHostToHost, memcpyHostToDevice, memcpyDeviceToHost, memcpyDeviceToDevice, memcpyDefault = range(5)
streamCaptureModeGlobal, streamCaptureModeThreadLocal, streamCaptureModeRelaxed = range(3)
streamDefault, streamNonBlocking, streamLegacy, streamPerThread = 0, 1, 1, 2
hostAllocDefault, hostAllocPortable, hostAllocMapped, hostAllocWriteCombined = 0, 1, 2, 4
is_hip = False


def getDeviceCount() -> int:
    if not _state.DEVICES:
        raise CUDARuntimeError(101)
    return _state.DEVICES


def getDevice() -> int:
    return _state.local.device


def setDevice(device: int) -> None:
    Device(device).use()


def memGetInfo() -> tuple[int, int]:
    return Device().mem_info


def driverGetVersion() -> int:
    return 13000


def runtimeGetVersion() -> int:
    return 13000


def deviceSynchronize() -> None:
    Device().synchronize()


def deviceCanAccessPeer(device: int, peer: int) -> int:
    return 0


def deviceGetAttribute(attribute: int, device: int) -> int:
    return {16: 132, 75: 9, 76: 0, 10: 32, 1: 1024}[attribute]


def getDeviceProperties(device: int) -> dict[str, Any]:
    Device(device)._check()
    return {
        "name": b"CPU twin of a GPU",
        "totalGlobalMem": _state.MEMORY,
        "multiProcessorCount": 132,
        "major": 9,
        "minor": 0,
        "warpSize": 32,
        "maxThreadsPerBlock": 1024,
        "sharedMemPerBlock": 49152,
        "l2CacheSize": 50 * 2**20,
    }


def memcpyAsync(dst: int, src: int, size: int, kind: int, stream: int = 0) -> None:
    if kind in (memcpyHostToDevice, memcpyDeviceToHost):
        from cupy.cuda import pinned_memory

        host = src if kind == memcpyHostToDevice else dst
        if not any(low <= host and host + size <= high for low, high in pinned_memory._ranges.items()):
            _state.forbid("a copy between the device and pageable memory of the host")
    _state.launch(lambda: ctypes.memmove(dst, src, size), [])


def memcpy(dst: int, src: int, size: int, kind: int) -> None:
    _state.synchronise("cudaMemcpy")
    ctypes.memmove(dst, src, size)
