"""CUDA C++ files, compiled for the types that they are asked for.

A file is compiled by CuPy (with NVRTC) when one of its kernels is first wanted for a type, for each GPU by itself; CuPy
keeps what it has compiled on disk. In front of each file stands ``common.cuh``, and the types that it is written in:
``T``, in which arrays are stored, ``C``, in which they are computed with, and ``index_t``, which counts their elements.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from nnx._errors import DTypeError
from nnx._typing import DType

STORED = {"float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float", "float64": "double"}
"""The C++ types of the dtypes that kernels are compiled for."""

THREADS = 256
"""Threads of a block, where nothing speaks for another number."""

MAX_BLOCKS = 1 << 16
"""More blocks than any GPU runs at once; what is left over is done by the loops of :func:`blocks_for`'s callers."""

WIDE = 1 << 30
"""From how many elements on indices have 64 bits: below, an index and a whole stride of a grid fit into 32."""

_FOLDER = Path(__file__).parent


class Source:
    """The kernels of one file ``<name>.cu``.

    ``source(kernel, dtype)`` is the kernel of that name, compiled for arrays of that dtype; it is called as
    CuPy's kernels are, ``(grid, block, arguments)``. Arguments are arrays, Python ints (``long long``), floats
    (``double``) and bools.

    Args:
        name: the name of the file, without its ending.
        headers: files ``<header>.cuh`` that stand before it, after ``common.cuh``.
    """

    def __init__(self, name: str, *headers: str) -> None:
        self.name = name
        self.files = ("common.cuh", *(f"{header}.cuh" for header in headers), f"{name}.cu")
        self._modules: dict[Any, Any] = {}
        self._kernels: dict[Any, Any] = {}

    def __call__(self, kernel: str, dtype: DType, wide: bool = False, **defines: str | int) -> Any:
        """A kernel, compiled if need be.

        Args:
            kernel: its name in the file.
            dtype: of the arrays: ``T``.
            wide: whether ``index_t`` has 64 bits; see :data:`WIDE`.
            defines: further macros of the file, e.g. ``LABEL="int"``.
        """
        key = (kernel, dtype, wide, *defines.items()) if defines else (kernel, dtype, wide)
        found = self._kernels.get(key)
        if found is None:
            found = self._kernels[key] = self._module(dtype, wide, defines).get_function(kernel)
        return found

    def _module(self, dtype: DType, wide: bool, defines: dict[str, str | int]) -> Any:
        import cupy

        key = (dtype, wide, *defines.items())
        if key not in self._modules:
            self._modules[key] = cupy.RawModule(code=self.code(dtype, wide, **defines), options=("-std=c++17",))
        return self._modules[key]

    def code(self, dtype: DType, wide: bool = False, **defines: str | int) -> str:
        """The whole text that is compiled."""
        stored = STORED.get(dtype.name)
        if stored is None:
            raise DTypeError(f"CUDA kernels are made for {', '.join(STORED)}, and not for {dtype}: cast the array")
        types = [
            "#include <cuda_fp16.h>",
            "#include <cuda_bf16.h>",
            f"using T = {stored};",
            f"using C = {'double' if stored == 'double' else 'float'};",
            f"using index_t = {'long long' if wide else 'int'};",
            *(f"#define {name} {value}" for name, value in defines.items()),
        ]
        files = [f'#line 1 "{file}"\n{(_FOLDER / file).read_text(encoding="ascii")}' for file in self.files]
        return "\n".join([*types, *files])


@functools.cache  # the name of a dtype takes NumPy microseconds
def floating(dtype: DType) -> bool:
    """Whether kernels are compiled for arrays of ``dtype``."""
    return dtype.char in "fdeE" and dtype.name in STORED


def blocks_for(n: int, threads: int = THREADS) -> int:
    """How many blocks a kernel with a grid-stride loop over ``n`` elements is given."""
    return min(max(1, (n + threads - 1) // threads), MAX_BLOCKS)
