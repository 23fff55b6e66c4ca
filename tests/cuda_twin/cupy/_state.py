"""What every operation of the twin goes through: the current device, the current stream, counters, and launches."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from cupy._errors import CUDARuntimeError

if TYPE_CHECKING:
    from cupy._array import ndarray
    from cupy._memory import Block
    from cupy._stream import Capture, Stream

DEVICES = int(os.environ.get("CUPY_TWIN_DEVICES") or 2)
MEMORY = int(os.environ.get("CUPY_TWIN_MEMORY") or 16 * 2**30)


class _Local(threading.local):
    """Per thread, as CUDA has it: the current device, and of each device the current stream."""

    def __init__(self) -> None:
        self.device = 0
        self.streams: dict[int, Stream] = {}
        self.launches = 0
        self.listeners: list[Callable[[str], None]] = []


local = _Local()
capturing: list[Capture] = []
"""The captures under way, of all threads."""


def stream() -> Stream:
    """The current stream of the current device."""
    from cupy._stream import Stream

    found = local.streams.get(local.device)
    return Stream.null if found is None else found


def capture() -> Capture | None:
    """The capture that the current stream is part of; raises if it has been invalidated."""
    if not capturing:
        return None
    now = stream()
    found = now._capture
    if found is not None:
        if found.invalid:
            raise CUDARuntimeError(901, f"the capture was invalidated by: {found.invalid}")
        return found
    if now.ptr == 0:  # the legacy stream waits for all blocking streams
        for other in capturing:
            if not other.origin.is_non_blocking and other.origin.device_id == local.device:
                other.invalid = other.invalid or "work on the legacy stream"
                raise CUDARuntimeError(906)
    return None


def synchronise(what: str) -> None:
    """Count one wait of the host for the device; an error in a capture, which is invalid from then on."""
    forbid(what)
    waited(what)
    stream()._finish()


def waited(what: str) -> None:
    """Count a wait."""
    for listener in local.listeners:
        listener(what)


def forbid(what: str) -> None:
    """Raise, and invalidate the capture, if the current stream captures."""
    found = capture()
    if found is not None:
        found.invalid = what
        raise CUDARuntimeError(900, what)


def refuse(library: str) -> None:
    """What CuPy answers to calls of a library of CUDA's while a stream captures; it does not end the capture."""
    if capture() is not None:
        raise NotImplementedError(f"calling {library} API during stream capture is currently unsupported")


def check(arrays: Iterable[ndarray]) -> None:
    """Arrays of another device than the current one raise: CuPy warns, or reads them through peer access."""
    for array in arrays:
        if array._device != local.device:
            raise ValueError(
                f"Array device must be same as the current device: array device = {array._device} "
                f"while current = {local.device}"
            )


def launch(run: Callable[[], None], arrays: list[ndarray], blocks: Iterable[Block] = ()) -> None:
    """Run something that writes to device memory, or record it where the current stream captures.

    ``arrays`` are all that it reads and writes; ``blocks`` is memory of no array.
    """
    check(arrays)
    local.launches += 1
    found = capture()
    if found is not None:
        found.add(run, (*(array._lease.block for array in arrays), *blocks))
    else:
        run()


def quietly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a NumPy function without its warnings of numbers that are not finite."""
    with np.errstate(all="ignore"):
        return function(*args, **kwargs)
