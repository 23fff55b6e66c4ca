"""The graph that one backprop walks. It knows no function of any array library.

``node`` and ``rule`` are the data, ``needs`` picks what a derivative keeps, ``tracked`` is the array
that carries them, with its ``operators``. ``primitive`` records, ``shortcut`` does so for the
commonest calls, ``call`` for steps with several results; ``backward`` walks back, and ``observe``
watches both. ``namespace`` makes all functions of a namespace record.
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
