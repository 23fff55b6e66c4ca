"""Copies between the device and pinned memory that the host does not wait for.

What is on its way to the host arrives when the host has waited for it, and is garbage before. What the device reads
must be as it was until the host knows that it has been read: memory that is changed or freed earlier is an error.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np

from cupy import _memory

under_way: weakref.WeakSet[Incoming] = weakref.WeakSet()


class Outgoing:
    """From the device to an array of the host."""

    def __init__(self, values: np.ndarray, out: np.ndarray) -> None:
        self._values, self._out = values.copy(), out
        self._done = False
        _memory.spoil(out)

    def finish(self) -> None:
        if not self._done:
            self._done = True
            self._out[...] = self._values


class Incoming:
    """From pinned memory to the device. ``keep``: what CuPy itself keeps alive, as ``asarray`` does."""

    def __init__(self, host: np.ndarray, keep: Any = None) -> None:
        self.start, self._size, self._keep = host.ctypes.data, host.nbytes, keep
        self._bytes = self._now()
        self.freed = self._done = False
        under_way.add(self)

    def _now(self) -> bytes:
        return ctypes.string_at(self.start, self._size)

    def finish(self) -> None:
        if self._done:
            return
        self._done = True
        under_way.discard(self)
        if self.freed:
            raise RuntimeError("pinned memory was freed while the device might still have been reading it")
        if self._now() != self._bytes:
            raise RuntimeError("pinned memory was changed while the device might still have been reading it")
        self._keep = None


def freed(start: int, end: int) -> None:
    """Pinned memory has gone back to its pool."""
    for transfer in list(under_way):
        if start <= transfer.start < end:
            transfer.freed = True
