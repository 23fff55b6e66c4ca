"""Batches of host arrays, copied to the GPU one ahead of their use.

While the GPU computes a step, the next batch is gathered into page-locked memory and copied from there on a stream of
its own. A thread for it would gain nothing: launches do not wait, so the host is free while the GPU computes; and
where the host is what is slow, its threads would take turns at the lock of the interpreter.

CuPy's memory pool keeps free memory by the stream on which it was allocated, and gives it out again on that stream
at once, as what is queued there earlier is done earlier. So batches are allocated on the stream that computes, as
all else; what they were before may be in use there still, and the copy waits for that; and the stream that computes
waits for the copy before the batch is handed out, or given up. A batch is then an array like any other, and may be
kept. The host waits for neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nnx_cupy import staging
from nnx_cupy.current import Activation

Wanted = Sequence[tuple[Any, Any]]
"""A batch: for each of its arrays a NumPy array, and which rows of it."""


def prefetch(wanted: Iterator[Wanted], device: Any) -> Iterator[list[Any]]:
    """The batches on ``device``, in their order. An exception of ``wanted`` is raised behind the batch before it."""
    lane = _Lane(device.id)
    pending: tuple[list[Any], Any] | None = None
    failure: Exception | None = None
    more = True
    try:
        while more or pending is not None:
            following = None
            if more:
                try:
                    following = lane.send(next(wanted))
                except StopIteration:
                    more = False
                except Exception as error:
                    more, failure = False, error
            if pending is not None:
                ready, pending = pending, following
                yield lane.receive(ready)
            else:
                pending = following
        if failure is not None:
            raise failure
    finally:
        if pending is not None:
            lane.receive(pending)


class _Lane:
    """The stream on which the batches of one iteration are copied."""

    def __init__(self, number: int) -> None:
        import cupy

        self._number = number
        with Activation(number):
            self._stream = cupy.cuda.Stream(non_blocking=True)

    def send(self, wanted: Wanted) -> tuple[list[Any], Any]:
        """Start to copy a batch; its arrays, and the event behind the copies. The host arrays may change at once."""
        import cupy

        with Activation(self._number):
            parts = [_gathered(array, rows) for array, rows in wanted]
            arrays = [cupy.empty(part.shape, dtype=part.dtype) for part, _ in parts]
            self._stream.wait_event(staging.marked(cupy.cuda.get_current_stream()))
            for array, (part, _) in zip(arrays, parts, strict=True):
                array.set(part, self._stream)
            copied = staging.marked(self._stream)
            staging.keep(copied, *(part for part, is_pinned in parts if is_pinned))
        return arrays, copied

    def receive(self, sent: tuple[list[Any], Any]) -> list[Any]:
        """The arrays of a batch, which the current stream waits for."""
        import cupy

        arrays, copied = sent
        with Activation(self._number):
            cupy.cuda.get_current_stream().wait_event(copied)
        return arrays


def _gathered(array: Any, rows: Any) -> tuple[np.ndarray, bool]:
    """``array[rows]`` in page-locked memory if there is some, and whether it is."""
    dtype = array.dtype.newbyteorder("=")
    if isinstance(rows, slice):
        source = array[rows]
        part = staging.pinned(source.shape, dtype)
        if part is None:
            return np.ascontiguousarray(source, dtype), False
        np.copyto(part, source)
        return part, True
    part = staging.pinned((rows.shape[0], *array.shape[1:]), dtype)
    if part is None:
        return np.asarray(array[rows], dtype), False
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        np.take(array, rows, axis=0, out=part, mode="clip")  # the indices are in range; other modes gather twice
    else:
        part[...] = array[rows]
    return part, True
