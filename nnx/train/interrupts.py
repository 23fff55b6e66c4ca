"""Ctrl-C between two steps, never within one."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self


class Interrupts:
    """While it is entered, the first Ctrl-C waits until the program asks for it with :meth:`check`.

    An update that is interrupted half-way would leave some weights new and some old. While ``open`` is
    set nothing is at stake, and the first Ctrl-C raises ``KeyboardInterrupt`` at once; the second one
    always does. Signals reach the main thread alone, and a handler that somebody has set is left in
    place: otherwise this does nothing.

    Attributes:
        count: how often Ctrl-C was pressed.
        open: whether what is running may be interrupted anywhere.
    """

    def __init__(self) -> None:
        self.count = 0
        self.open = False
        self._installed = False

    def __enter__(self) -> Self:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(self, *exception: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.open or self.count > 1:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if Ctrl-C was pressed."""
        if self.count:
            raise KeyboardInterrupt
