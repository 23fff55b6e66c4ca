"""The current device of CUDA, which is each thread's own: CuPy computes on it, wherever its arrays lie."""

from __future__ import annotations

import functools
import threading
from typing import Any

from nnx_cupy import devices
from nnx_cupy.memory import explained, is_lack


class _Thread(threading.local):
    """How many activations the current thread is in that were made for arrays."""

    depth = 0


_thread = _Thread()


class Activation:
    """A context in which a GPU is current, and in which a lack of memory is an ``OutOfMemoryError`` of nnx.

    One that was made for ``arrays`` spares those within it their work, until a lack of memory reaches it.
    """

    __slots__ = ("_arrays", "_before", "_number")

    def __init__(self, number: int, *, arrays: bool = False) -> None:
        self._number = number
        self._arrays = arrays

    def __enter__(self) -> Activation:
        import cupy

        runtime = cupy.cuda.runtime
        self._before = runtime.getDevice()
        if self._before != self._number:
            runtime.setDevice(self._number)
        _thread.depth += self._arrays
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        import cupy

        _thread.depth -= self._arrays
        cupy.cuda.runtime.setDevice(self._before)
        if error is not None and is_lack(error):
            raise explained(error, self._number) from error


@functools.cache
def _alone() -> bool:
    """Whether there is one GPU, so that it is always current."""
    return devices.count() == 1


def activate(at: Any) -> Activation | None:
    """What makes a device, or that of an array, current; ``None`` for an array where one for arrays has done so."""
    if _thread.depth and _alone():  # asked for each op
        return None
    import cupy

    if not isinstance(at, cupy.ndarray):
        return Activation(at.id)
    number = at.data.device_id
    if _thread.depth and cupy.cuda.runtime.getDevice() == number:
        return None
    return Activation(number, arrays=True)
