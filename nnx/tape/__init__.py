"""The graph that one backprop walks. It knows no function of any array library.

``node`` and ``rule`` are the data, ``tracked`` the array that carries them, ``primitive`` what
records, ``backward`` what walks back, and ``namespace`` what makes all functions of a namespace
record.
"""

from typing import Any

from nnx.backend import register_wrapper
from nnx.tape.primitive import untracked
from nnx.tape.tracked import Tracked


def _open(x: Tracked) -> tuple[Any, Any]:
    return x.xp, untracked(x)


def _read(x: Tracked, what: str) -> Any:
    return x._constant(what)


register_wrapper(Tracked, _open, _read)
