"""Stands for ``cuda.pathfinder``: finds the twin's own cuBLAS, which is called through the same C interface."""

from __future__ import annotations

import functools
from typing import NamedTuple


class LoadedDL(NamedTuple):
    abs_path: str


@functools.cache
def load_nvidia_dynamic_lib(name: str) -> LoadedDL:
    if name != "cublas":
        raise ImportError(f"the twin has no library {name!r}")
    from cupy import _cublas

    return LoadedDL(_cublas.path())
