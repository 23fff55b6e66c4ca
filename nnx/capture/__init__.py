"""Steps that are recorded once and replayed: :func:`nnx.capture`.

``captured`` decides when a step is recorded, replayed or run plainly. ``discover`` finds its models and optimisers,
``state`` knows where their arrays stand. A ``recording`` is made by ``replay``, of calls that ``recorded`` arrays (with
their ``operators`` and ``namespace``) tell a ``recorder``, which writes each down as an ``instruction``; or by
``compilation``, where the backend compiles functions. ``program`` makes a function of it, of what ``prune`` leaves, in
the words of ``writer``; ``graphed`` makes one call of all, where the backend has graphs of its device's work. ``proof``
runs it beside the step for once.
"""

from nnx.capture.captured import Captured, capture

__all__ = ["Captured", "capture"]
