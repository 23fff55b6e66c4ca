"""CUDA kernels of functions of ``nnx.ops``, ``nnx.optim`` and the derivative rules.

A family is a file of Python, whose functions ask for the memory and launch, beside a file of CUDA C++ of the same name.
``KERNELS`` of each names what it replaces; ``NATIVE``, where there is one, what is made of CuPy's own functions. A
family imports CuPy when it first launches, so that the tables can be read where there is none.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from nnx._typing import Kernel


def native() -> Mapping[str, Kernel]:
    """Those made of CuPy's own functions."""
    return _merged("NATIVE")


def families() -> Mapping[str, Kernel]:
    """Those of all files here."""
    return {**_merged("NATIVE"), **_merged("KERNELS")}


def _merged(table: str) -> dict[str, Kernel]:
    kernels: dict[str, Kernel] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        if not module.name.rpartition(".")[2].startswith("_"):
            kernels |= getattr(import_module(module.name), table, {})
    return kernels
