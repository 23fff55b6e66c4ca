"""Batches, moved to a device: ahead of their use, where its backend can do that."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nnx._typing import Array
from nnx.backend import HOST, Device, asarray, is_array, library_of, load_backend


def moved(batches: Iterable[Sequence[Any]], device: Device) -> Iterator[list[Array]]:
    """Each batch as a list of arrays on ``device``.

    Where the backend prefetches, host arrays are copied while the batch before theirs is in use, so ``batches`` is
    read one batch ahead; an exception that it raises comes after the batch before it.
    """
    prefetch = device.backend.prefetch
    if prefetch is None:
        for batch in batches:
            yield [asarray(x, device=device) for x in batch]
        return
    others: deque[tuple[int, dict[int, Array]]] = deque()

    def wanted() -> Iterator[list[tuple[Any, slice]]]:
        for batch in batches:
            hosts = {i: x for i, x in enumerate(batch) if on_host(x) and x.ndim}
            others.append((len(batch), {i: asarray(x, device=device) for i, x in enumerate(batch) if i not in hosts}))
            yield [(x, slice(None)) for x in hosts.values()]

    for arrays in prefetch(wanted(), device.native):
        length, there = others.popleft()
        copied = iter(arrays)
        yield [there[i] if i in there else next(copied) for i in range(length)]


def on_host(x: Any) -> bool:
    """Whether ``x`` is an array of numbers in host memory."""
    return (
        is_array(x)
        and library_of(x).backend is load_backend(HOST)
        and x.dtype.kind in "biufcV"
        and x.dtype.names is None
    )
