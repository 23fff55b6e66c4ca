"""What the graphics card has free, asked of the driver alone, so that all libraries are measured alike."""

from __future__ import annotations

import ctypes
import re
import resource
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

PRIMARY = re.compile(r"(?:cuda|cupy|torch:cuda|jax:gpu|jax:cuda)(?::(\d+))?")


class CardError(RuntimeError):
    """The driver does not answer."""


def ordinal(flag: str) -> int | None:
    """The number of the GPU that a device flag of nnx means; ``None`` where it means none."""
    found = PRIMARY.fullmatch(flag)
    return int(found[1] or 0) if found else None


@cache
def _context(number: int) -> tuple[Any, Any]:
    """The driver, and the context that every library in this process computes in: it is made if there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CardError(f"no NVIDIA driver is found ({error})") from error
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _check(driver.cuInit(0), "cuInit")
    _check(driver.cuDeviceGet(ctypes.byref(device), number), "cuDeviceGet")
    _check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "cuDevicePrimaryCtxRetain")
    return driver, context


def _check(status: int, name: str) -> None:
    if status:
        raise CardError(f"{name} of the CUDA driver answered {status}")


def free(number: int) -> int:
    """Bytes of GPU ``number`` that nobody has."""
    driver, context = _context(number)
    available, total = ctypes.c_size_t(), ctypes.c_size_t()
    _check(driver.cuCtxPushCurrent_v2(context), "cuCtxPushCurrent")
    try:
        _check(driver.cuMemGetInfo_v2(ctypes.byref(available), ctypes.byref(total)), "cuMemGetInfo")
    finally:
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    return available.value


class Meter:
    """Bytes that a process has taken, at most, while it did what it was asked to.

    On a GPU: by how much that did lessen what the card has free. Libraries keep what they have freed, so that this is
    the most that they needed at once; the context of the process, some hundred megabytes, is not counted. It holds
    where one process works at a time. Elsewhere: by how much the peak resident size has grown, compilers included.
    """

    def __init__(self, flag: str) -> None:
        self._number = ordinal(flag)
        self._start = resident()
        self._taken = self._most = 0
        if self._number is not None:
            try:
                free(self._number)  # makes the context
            except CardError:
                self._number = None

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function; what it takes is counted."""
        number = self._number
        if number is None:
            return function

        def watching(*arguments: Any) -> Any:
            before = free(number)
            try:
                return function(*arguments)
            finally:
                self._taken += before - free(number)
                self._most = max(self._most, self._taken)

        return watching

    def bytes(self) -> int:
        """The most so far."""
        return resident() - self._start if self._number is None else self._most


def resident() -> int:
    """The peak resident size of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
