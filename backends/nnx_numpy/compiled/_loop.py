"""What compiles a loop, and what a loop may be given.

A loop is a function of arrays and numbers in the part of Python that Numba compiles. Two habits decide whether its
inner part uses vector instructions: take a slice of each array and count from 0 (``range(start, stop)`` has an
index that may be negative, and costs a factor of ten), and leave NaN and infinity what they are (``FAST_MATH``).
"""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from nnx._typing import Array, DType
from nnx_numpy.compiled._simd import REGISTERS, WIDTH

F = TypeVar("F", bound=Callable[..., Any])

FAST_MATH = {"arcp", "contract", "nsz", "reassoc"}
"""Sums may be taken in another order and products fused with sums; NaN and infinity keep their meaning."""

PLAIN = 0x1 | 0x100
"""The bits of ``flags.num`` of an array that is contiguous in the order of C, and aligned."""

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def loop(function: F) -> F:
    """Compile a loop at its first call for each combination of dtypes, and keep the result on disk.

    It leaves the lock of the interpreter while it runs. A division by 0 answers infinity, as in NumPy.
    """
    return _compiled(function, FAST_MATH)


def exact_loop(function: F) -> F:
    """As :func:`loop`, and each operation is rounded as it is written: an element has the same bits wherever it lies.

    For loops whose vectors begin at an address, so that the same element may be among the first ones, which are
    computed alone.
    """
    return _compiled(function, False)


def _compiled(function: F, fast_math: set[str] | bool) -> F:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fast_math}
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError as error:  # Numba has found no folder that it can write to
        _warn(str(error))
        return cast(F, njit(**options)(function))
    cache = compiled._cache  # a full disk, or a damaged file, must not end a training run that needs nothing from it
    cache.save_overload = _forgiving(cache.save_overload)
    cache.load_overload = _mending(cache, cache.load_overload)
    index = cache._cache_file
    index._source_stamp = index._source_stamp, _helpers(), WIDTH, REGISTERS
    return cast(F, compiled)


def _mending(cache: Any, load: Callable[..., Any]) -> Callable[..., Any]:
    """Begin with an empty cache where a file in it cannot be read."""

    @functools.wraps(load)
    def tried(*args: Any) -> Any:
        try:
            return load(*args)
        except Exception:  # anything may be in a damaged file
            with contextlib.suppress(OSError):
                cache.flush()
            return None

    return tried


@functools.cache
def _helpers() -> str:
    """A hash of the files whose functions and constants loops use: Numba itself looks at that of the loop alone."""
    of_nnx = [Path(sys.modules[name].__file__ or "") for name in ("nnx.ops.erf", "nnx.random")]
    files = [*sorted(Path(__file__).parent.glob("_*.py")), *of_nnx]
    return sha256(b"".join(file.read_bytes() for file in files if file.exists())).hexdigest()


def _forgiving(save: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(save)
    def tried(*args: Any) -> None:
        try:
            save(*args)
        except OSError as error:
            _warn(str(error))

    return tried


_told = False


def _warn(reason: str) -> None:
    global _told
    if not _told:
        _told = True
        warnings.warn(
            "compiled kernels cannot be kept on disk, so each process compiles them anew: set NUMBA_CACHE_DIR to a "
            f"folder that can be written to ({reason})",
            RuntimeWarning,
            stacklevel=3,
        )


def served(dtype: DType, *arrays: Array | None) -> bool:
    """Whether loops take these arrays: all of one dtype, float32 or float64, contiguous and aligned."""
    if dtype not in FLOATS:
        return False
    for a in arrays:  # noqa: SIM110  a generator costs more than what it looks at
        if a is not None and (a.dtype != dtype or a.flags.num & PLAIN != PLAIN):
            return False
    return True
