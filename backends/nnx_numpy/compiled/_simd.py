"""Vector instructions for loops, where LLVM makes none of scalar code.

They are the bodies of Numba's intrinsics: functions that loops call, and that write the instructions in their place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils as _cgutils
from numba.core import imputils as _imputils
from numba.core import types
from numba.extending import intrinsic as _intrinsic

from nnx._typing import DType

intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = _intrinsic
cgutils: Any = _cgutils
borrowed: Any = _imputils.impl_ret_borrowed

_CPU = llvmlite.binding.get_host_cpu_features()

WIDTH = next((size for name, size in (("avx512f", 64), ("avx", 32)) if _CPU.get(name)), 16)
"""Bytes of the processor's vectors."""

REGISTERS = 32 if _CPU.get("avx512f") or _CPU.get("neon") else 16
"""Vectors that it holds."""

FUSED = ("contract", "nsz")
"""A product and a sum may be rounded once."""


def lanes(dtype: DType) -> int:
    """Numbers in a vector."""
    return max(1, WIDTH // int(np.dtype(dtype).itemsize))


def data(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """Where the numbers of arrays lie, and the other arguments as they are."""
    return [
        context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
        for kind, value in zip(signature.args, args, strict=True)
    ]


class Vectors:
    """Instructions on vectors of ``size`` bytes, of numbers of a Numba type."""

    def __init__(self, context: Any, builder: Any, number: Any, size: int = WIDTH) -> None:
        self._builder, self._item = builder, number.bitwidth // 8
        self.kind = ir.VectorType(context.get_value_type(number), size // self._item)
        self.zero = ir.Constant(self.kind, None)

    def read(self, array: Any, at: Any) -> Any:
        """The vector from number ``at`` on."""
        return self._builder.load(self._pointer(array, at), align=self._item)

    def write(self, vector: Any, array: Any, at: Any) -> None:
        """Store it from number ``at`` on."""
        self._builder.store(vector, self._pointer(array, at), align=self._item)

    def _pointer(self, array: Any, at: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(array, [at]), self.kind.as_pointer())

    def full(self, value: Any) -> Any:
        """A vector of one number, or condition, everywhere."""
        index, count = ir.IntType(32), self.kind.count
        some = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
        first = self._builder.insert_element(some, value, index(0))
        return self._builder.shuffle_vector(first, some, ir.Constant(ir.VectorType(index, count), None))

    def multiply_add(self, a: Any, b: Any, total: Any) -> Any:
        """a b + total."""
        return self._builder.fadd(self._builder.fmul(a, b, flags=FUSED), total, flags=FUSED)
