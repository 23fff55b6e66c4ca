"""What the kernels of normalisation take."""

from __future__ import annotations

from nnx._typing import Array, DType
from nnx_cupy.kernels._source import floating


def parameter_type(dtype: DType, weight: Array | None, bias: Array | None = None) -> str | None:
    """The C++ type of weight and bias beside an x of ``dtype``; ``None`` for a mixture that the references take."""
    first = bias if weight is None else weight
    if first is None or first.dtype == dtype:
        kind = "T"
    elif first.dtype.char == "f" and dtype.char != "d":
        kind = "C"
    else:
        return None
    return kind if weight is None or bias is None or bias.dtype == weight.dtype else None


def serves(g: Array, normal: Array) -> bool:
    """Whether a kernel takes this gradient of y beside this x̂."""
    return bool(g.size) and floating(g.dtype) and normal.dtype.char == ("d" if g.dtype.char == "d" else "f")
