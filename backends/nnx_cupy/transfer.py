"""Copies between host and device."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnx_cupy import staging


def from_host(array: Any) -> Any:
    """A NumPy array, copied to the current device. The host does not wait, and may change ``array`` at once.

    Small arrays are CuPy's business, which copies them into a page-locked buffer of its own first (unless they lie
    in page-locked memory: who pins memory must leave it alone until the device has read it). For a great one CuPy
    would take, and keep, a buffer of its whole size, rounded up to a power of two: it is copied in chunks. Where
    the host has no page-locked memory left, CUDA copies from pageable memory, and returns when it has read it.
    """
    import cupy

    dtype = array.dtype.newbyteorder("=")
    if array.nbytes <= staging.CHUNK:
        return cupy.asarray(array.astype(dtype, copy=False))
    made = cupy.empty(array.shape, dtype=dtype)
    target, source = made.reshape(-1), array.reshape(-1)
    step, stream = max(1, staging.CHUNK // dtype.itemsize), cupy.cuda.get_current_stream()
    for start in range(0, source.shape[0], step):
        part = source[start : start + step]
        buffer = staging.pinned(part.shape, dtype)
        if buffer is None:
            target[start : start + step].set(part.astype(dtype, copy=False), stream)
            continue
        np.copyto(buffer, part)
        target[start : start + step].set(buffer, stream)
        staging.keep(staging.marked(stream), buffer)
    return made


def to_host(array: Any) -> Any:
    """A new NumPy array of the values of one that lies on the current device. It lies in pageable memory.

    The copy goes through page-locked memory, which goes back to its pool: what a caller keeps would hold it. The host
    waits for the stream, and not for the device; of a great array it waits chunk by chunk, and copies one on while the
    next one comes.
    """
    import cupy

    host = np.empty(array.shape, array.dtype)
    if not array.size:
        return host
    if array.nbytes <= staging.CHUNK:
        buffer = staging.pinned(array.shape, array.dtype)
        if buffer is None:
            return array.get()
        array.get(out=buffer)
        host[...] = buffer
        return host
    stream = cupy.cuda.get_current_stream()
    source, target = array.reshape(-1), host.reshape(-1)
    step = max(1, staging.CHUNK // array.dtype.itemsize)
    coming: list[tuple[Any, Any, int]] = []
    for start in range(0, source.shape[0], step):
        part = source[start : start + step]
        buffer = staging.pinned(part.shape, array.dtype)
        if buffer is None:
            target[start : start + step] = part.get()
            continue
        part.get(stream, out=buffer, blocking=False)
        coming.append((staging.marked(stream), buffer, start))
        if len(coming) > 1:
            _arrive(target, *coming.pop(0))
    for each in coming:
        _arrive(target, *each)
    return host


def _arrive(target: Any, event: Any, buffer: Any, start: int) -> None:
    event.synchronize()
    target[start : start + buffer.shape[0]] = buffer
