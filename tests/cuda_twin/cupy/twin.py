"""What only the twin has: counters, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from cupy import _memory, _state


class Count:
    """What happened in a ``with`` block: ``waits`` says of each wait what it was for."""

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.launches = 0

    def __len__(self) -> int:
        return len(self.waits)

    def __eq__(self, other: Any) -> bool:
        return len(self.waits) == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self.waits)} waits: {', '.join(self.waits) or 'none'}>"


@contextlib.contextmanager
def synchronisations() -> Iterator[Count]:
    """Counts how often this thread waits for the device; ``len(count)`` is the number."""
    count = Count()
    before = _state.local.launches
    _state.local.listeners.append(count.waits.append)
    try:
        yield count
    finally:
        _state.local.listeners.remove(count.waits.append)
        count.launches = _state.local.launches - before


def launches() -> int:
    """How many operations this thread has launched; a replayed graph is one."""
    return _state.local.launches


def used_bytes(device: int = 0) -> int:
    """Memory in use on a simulated GPU."""
    return _memory.used[device]
