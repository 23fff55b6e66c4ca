"""A stand-in for CuPy over NumPy: simulated GPUs on a CPU, stricter than the real ones. ../README.md says what for."""

from __future__ import annotations

import json
from pathlib import Path as _Path

import numpy as np

_api = json.loads(_Path(__file__).with_name("_api.json").read_text())
__version__ = _api["version"] + "+twin"

from cupy import _array, _creation, _functions, _indexing, _products, _wrap  # noqa: E402, F401
from cupy._array import ndarray  # noqa: E402
from cupy._ufunc import ufunc  # noqa: E402

_OTHER = {"memmap", "ElementwiseKernel", "ReductionKernel", "RawKernel", "RawModule", "fuse", "vectorize", "random"}

_own = vars(_functions) | vars(_creation) | vars(_products)


def _fill(space: dict, table: dict, numpy: object) -> None:
    """The names of a module of CuPy: those written out here, then ufuncs, functions, types and values of NumPy."""
    for name, entry in table["ufuncs"].items():
        if hasattr(numpy, name):
            space[name] = ufunc(name, entry, getattr(numpy, name))
    for name, parameters in table["functions"].items():
        own = _own.get(name) if numpy is np else None
        if own is not None:
            space[name] = own
        elif hasattr(numpy, name) and name not in _OTHER:
            function = getattr(numpy, name)
            if name in _wrap.ON_THE_HOST | _wrap.OF_TYPES:
                space[name] = _wrap.on_the_host(function)
            else:
                space[name] = _wrap.from_numpy(name, function, parameters)
    for name in (*table["types"], *table["values"]):
        if hasattr(numpy, name) and name not in _OTHER and name not in space:
            space[name] = getattr(numpy, name)


_kept = {"ndarray": ndarray, "ufunc": ufunc}
_fill(globals(), _api["cupy"], np)
globals().update(_kept)
_array._install()

from cupy import cuda, fft, linalg, twin  # noqa: E402, F401
from cupy._memory import default_pool as _default_pool  # noqa: E402


def get_default_memory_pool():
    """``cupy.get_default_memory_pool``."""
    return _default_pool


def get_default_pinned_memory_pool():
    """``cupy.get_default_pinned_memory_pool``."""
    return cuda.pinned_memory.default_pool


def __getattr__(name: str):
    if name == "RawModule":  # imports when it is wanted: it compiles with g++
        from cupy._emulator import RawModule

        return RawModule
    raise AttributeError(f"the twin of CuPy has no {name!r}")
