"""Kernels that Numba compiles: the extra ``fast``.

A file here is a family of kernels, with its loops; ``table`` puts them before the NumPy kernels of the same names.
What a compiled kernel does not take (other dtypes and memory layouts), it hands on to the NumPy kernel.
"""

from __future__ import annotations

import functools
import pkgutil
import re
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from nnx import ops
from nnx._typing import Kernel

_told = False


def table(native: Mapping[str, Kernel]) -> Mapping[str, Kernel]:
    """The NumPy kernels, with compiled ones in the places of those that are here.

    Where Numba cannot be imported, or fails at the first call of a kernel, the NumPy kernel stays, or the reference;
    one warning says why.
    """
    try:
        if import_module("numba").config.DISABLE_JIT:
            return native  # loops in Python, for those who look for a mistake in their own
        compiled = families()
        import_module("nnx_numpy.compiled._progress").watch()
    except Exception as error:  # anything may be wrong with an installation
        _warn("Numba cannot be used", error)
        return native
    kernels = dict(native)
    for name, kernel in compiled.items():
        kernels[name] = _tried(kernels, name, kernel, native.get(name))
    return kernels


def families() -> dict[str, Kernel]:
    """The kernels of all files here."""
    kernels: dict[str, Kernel] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        kernels |= getattr(import_module(module.name), "KERNELS", {})
    return kernels


def _tried(kernels: dict[str, Kernel], name: str, kernel: Kernel, native: Kernel | None) -> Kernel:
    """``kernel`` at its first call, which compiles it. After that, it or what serves in its place is in ``kernels``."""

    @functools.wraps(kernel)
    def first(xp: Any, *args: Any, **options: Any) -> Any:
        now = kernels[name]
        if now is not first:  # somebody has kept this
            return now(xp, *args, **options)
        from numba.core.errors import NumbaError

        try:
            answer = kernel(xp, *args, **options)
        except (NumbaError, OSError, NotImplementedError, SystemError) as error:
            instead = native or _reference(name)
            answer = instead(xp, *args, **options)
            kernels[name] = instead
            _warn(f"Numba cannot compile {name}", error)
            return answer
        kernels[name] = kernel
        return answer

    return first


def _reference(name: str) -> Kernel:
    """The function of ``nnx.ops`` that a kernel replaces."""
    modules = (import_module(found.name) for found in pkgutil.iter_modules(ops.__path__, f"{ops.__name__}."))
    found: Kernel = next(vars(module)[name] for module in modules if name in vars(module))
    return found


def _warn(what: str, error: Exception) -> None:
    global _told
    if not _told:
        _told = True
        reason = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().partition("\n")[0]
        warnings.warn(
            f"{what} ({type(error).__name__}: {reason}). Slower kernels serve instead; reinstall numba, or set "
            "NNX_KERNELS=native to do without it",
            RuntimeWarning,
            stacklevel=2,
        )
