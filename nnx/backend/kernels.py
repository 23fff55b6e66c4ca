"""Which kernels of a backend are used: ``NNX_KERNELS``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from nnx._errors import ArgumentError
from nnx._typing import Backend, Kernel

compiling_ahead = False
"""Whether compilation is what the user has asked for, so that nobody need be told that it takes a while."""

VARIABLE = "NNX_KERNELS"
CHOICES = ("reference", "native", "best")


def choice() -> str:
    """What ``NNX_KERNELS`` says: ``"best"`` unless it is set.

    ``reference``: no kernels, on any backend; the functions of ``nnx.ops`` compute as they are written.
    ``native``: those that are made of the array library's own functions.
    ``best``: the best that can run here.

    Raises:
        ArgumentError: it says anything else.
    """
    said = os.environ.get(VARIABLE) or "best"
    if said not in CHOICES:
        raise ArgumentError(
            f"the environment variable {VARIABLE} is one of {', '.join(CHOICES)}, and not {said!r}: set it to one "
            "of them before Python starts, or unset it"
        )
    return said


def kernels_in_use(backend: Backend) -> Mapping[str, Kernel]:
    """The kernels of a backend that the user has chosen."""
    which = choice()
    return MappingProxyType({}) if which == "reference" else backend.kernels(which)


def kernels_told(backend: Backend) -> str:
    """Of what kind they are, for the eyes of people; empty if there are none."""
    which = choice()
    return "" if which == "reference" else backend.kernels_from(which)
