"""Arrays between guards, for the time of a launch."""

from __future__ import annotations

import bisect
import contextlib

import numpy as np
from numpy.lib.array_utils import byte_bounds

GUARD = 4096
"""Bytes on either side. They are 0xff, which is NaN, or -1."""


@contextlib.contextmanager
def guarded(hosts):
    """Copies of the memory of ``hosts``, each piece between guards; after it they are copied back.

    Yields a function from an address of the arrays to its place in the copies. Arrays that overlap are one piece.

    Raises:
        AssertionError: a guard has been written to.
    """
    pieces = _pieces(hosts)
    copies = [np.full(stop - start + 2 * GUARD, 0xFF, np.uint8) for start, stop in pieces]
    starts = [start for start, _ in pieces]
    for copy, (start, stop) in zip(copies, pieces, strict=True):
        _inside(copy)[...] = _memory(start, stop)

    def moved(address):
        i = bisect.bisect_right(starts, address) - 1
        if i < 0 or address >= pieces[i][1]:
            return address
        return copies[i].ctypes.data + GUARD + address - starts[i]

    yield moved
    for copy, (start, stop) in zip(copies, pieces, strict=True):
        _memory(start, stop)[...] = _inside(copy)
        for side, guard in (("before", copy[:GUARD]), ("beyond", copy[-GUARD:])):
            if (guard != 0xFF).any():
                raise AssertionError(f"a kernel wrote {side} an array of {stop - start} bytes")


def _inside(copy):
    return copy[GUARD:-GUARD]


def _pieces(hosts):
    found = sorted(byte_bounds(host) for host in hosts if host.size)
    pieces = []
    for start, stop in found:
        if pieces and start < pieces[-1][1]:
            pieces[-1] = pieces[-1][0], max(stop, pieces[-1][1])
        else:
            pieces.append((start, stop))
    return pieces


def _memory(start, stop):
    """The bytes of the process from ``start`` to ``stop``."""
    view = type("View", (), {"__array_interface__": {"shape": (stop - start,), "typestr": "|u1", "version": 3}})
    view.__array_interface__["data"] = (start, False)
    return np.asarray(view())
