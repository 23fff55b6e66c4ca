"""Precisions below float32: which there are, what a library has of them, and arrays taken down to them and up again.

A step in a low type keeps float32 parameters and works with copies of them in that type (Micikevicius et al.,
"Mixed precision training", ICLR 2018, section 3.1). What adds up many numbers, or needs more digits, is computed in
float32 all the same: :func:`wide` takes an array up, and :func:`in_dtype` brings the result back.
"""

from __future__ import annotations

from typing import Any

from nnx._errors import ArgumentError, DTypeError
from nnx._typing import Array, DType, Namespace, Precision
from nnx.backend import is_low, library_of

PRECISIONS = ("tf32", "bfloat16", "float16")


def require_precision(precision: Any) -> None:
    """Raise ``ArgumentError`` unless this is ``None`` or the name of a precision."""
    if precision is not None and (not isinstance(precision, str) or precision not in PRECISIONS):
        raise ArgumentError(
            f"precision is None for that of the parameters, or one of {', '.join(map(repr, PRECISIONS))}; "
            f"got {precision!r}"
        )


def precision_of(name: str, array: Array) -> Precision:
    """How the library of a raw array computes in a precision.

    Raises:
        ArgumentError: it does not.
    """
    library = library_of(array)
    found = None if library.backend is None else library.backend.precision(name)
    if found is None:
        raise ArgumentError(
            f"{library.name} does not compute in precision={name!r}: move the model to a device of a backend that "
            "does, which docs/precision.md lists, or leave precision out"
        )
    return found


def lowered(xp: Namespace, x: Array, dtype: DType, name: str) -> Array:
    """A float32 array in a low dtype, on record if it is tracked; one of that dtype as it is.

    Raises:
        DTypeError: it has another dtype.
    """
    if x.dtype == dtype:
        return x
    if x.dtype != xp.float32:
        raise DTypeError(
            f"a low precision keeps float32 parameters and computes in {dtype}, and {name} has dtype {x.dtype}: cast "
            "the model with model.to(dtype='float32'), arrays with xp.astype(x, xp.float32), or leave precision out"
        )
    return xp.astype(x, dtype)


def wide(xp: Namespace, x: Array) -> Array:
    """``x`` in float32 if it is of floats of 16 bits, else as it is."""
    return xp.astype(x, xp.float32) if is_low(x.dtype) else x


def in_dtype(xp: Namespace, y: Array, dtype: DType) -> Array:
    """``y`` in that dtype."""
    return y if y.dtype == dtype else xp.astype(y, dtype)


def total(xp: Namespace, x: Array, axis: int | tuple[int, ...]) -> Array:
    """The sum along axes, added up in float32 where the dtype is a low one, which some libraries would add up in."""
    return in_dtype(xp, xp.sum(x, axis=axis, dtype=xp.float32), x.dtype) if is_low(x.dtype) else xp.sum(x, axis=axis)


def fits(xp: Namespace, dtype: DType, other: DType) -> bool:
    """Whether arrays of two dtypes may meet in a layer: both are float32 or of floats of 16 bits."""
    return (is_low(dtype) or dtype == xp.float32) and (is_low(other) or other == xp.float32)
