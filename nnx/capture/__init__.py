"""Steps that are recorded once and replayed: :func:`nnx.capture`.

``captured`` decides when a step is recorded, replayed or run plainly. ``discover`` finds its models and optimisers,
``state`` knows where their arrays stand. A ``recording`` is made by ``replay``, of calls that ``recorded`` arrays (with
their ``operators`` and ``namespace``) tell a ``recorder``, or by ``compilation``, where the backend compiles functions.
``program`` makes a function of it, of what ``prune`` leaves, in the words of ``writer``. ``proof`` runs it beside the
step for once.
"""

from nnx.capture.captured import Captured, capture

__all__ = ["Captured", "capture"]
