"""Compilation takes seconds, once: the user is told while it happens."""

from __future__ import annotations

import functools
import sys
import threading
import time
from typing import Any

from numba.core import event
from tqdm import tqdm

from nnx.backend import kernels

PATIENCE = 1.0
"""Seconds of compilation in a process that need no explanation."""

LINE = "nnx: compiling kernels for this processor, once; `nnx warmup` does it ahead"


class _Watch(event.Listener):
    """Adds up the time, and says so when there is more to come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth: dict[int, int] = {}  # by thread: a loop may compile another
        self._start: dict[int, float] = {}
        self._spent = 0.0
        self._told = False

    def on_start(self, event: Any) -> None:
        thread = threading.get_ident()
        with self._lock:
            self._depth[thread] = self._depth.get(thread, 0) + 1
            self._start.setdefault(thread, time.perf_counter())
            tell = self._spent > PATIENCE and not self._told and not kernels.compiling_ahead
            self._told |= tell
        if tell:
            tqdm.write(LINE, file=sys.stderr)  # above a progress bar, if there is one

    def on_end(self, event: Any) -> None:
        thread = threading.get_ident()
        with self._lock:
            self._depth[thread] -= 1
            if not self._depth[thread]:
                self._spent += time.perf_counter() - self._start.pop(thread)


@functools.cache
def watch() -> None:
    """Tell the user, once, when compiling takes long. What is found on disk is not compiled."""
    event.register("numba:compile", _Watch())  # type: ignore[no-untyped-call]
