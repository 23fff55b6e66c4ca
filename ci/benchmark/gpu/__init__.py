"""The parts of ``ci/gpu.py``: what is measured on a machine with a GPU, each in a process of its own.

A part is a function ``(settings, save)``, and a line in ``PARTS``. It calls ``save`` with all that it has found so far
whenever there is more, so that a part that fails or runs out of time loses nothing but what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Settings = Mapping[str, Any]
"""What a part is told: plain values, as it is sent as JSON."""

Save = Callable[[Mapping[str, Any]], None]


class Part(NamedTuple):
    """What is known of a part before anything is imported."""

    where: str
    """``module:function``."""

    share: float
    """Of the minutes. What a part leaves goes to the later ones."""


PEERS = ("nnx-capture", "nnx", "torch", "torch-compile", "jax")
"""Of ``benchmark.PEERS``: those that compute on a GPU."""

PARTS = {
    "peak": Part("benchmark.gpu.peak:run", 0.04),
    "parity": Part("benchmark.gpu.parity:run", 0.10),
    "perceptrons": Part("benchmark.gpu.training:perceptrons", 0.32),
    "wide": Part("benchmark.gpu.training:wide", 0.20),
    "convolutional": Part("benchmark.gpu.training:convolutional", 0.09),
    "tests": Part("benchmark.gpu.matrix:run", 0.25),
}
