"""Checks of what a layer is called on."""

from __future__ import annotations

from nnx._errors import DTypeError
from nnx._precision import fits
from nnx._typing import Array
from nnx.backend import is_array, namespace_of
from nnx.module import Module


def fitting(layer: Module, x: Array, weight: Array) -> Array:
    """``x`` in the dtype of ``weight``, which decides what a product is computed in.

    float32 is taken down to a weight of floats of 16 bits, and these up to one of float32; nothing else is cast.

    Raises:
        DTypeError: it is no array, or has another dtype.
        MixedLibrariesError, DeviceError: it is of another library, or elsewhere.
    """
    if not is_array(x):
        raise DTypeError(f"{layer!r} expected an array, got {type(x).__name__}: make one with nnx.asarray(...)")
    xp = namespace_of(x, weight)  # arrays of two libraries are the better explanation, and have no common dtypes
    if x.dtype == weight.dtype:
        return x
    if not fits(xp, x.dtype, weight.dtype):
        raise DTypeError(
            f"{layer!r} has {weight.dtype} parameters and expected input of that dtype, got {x.dtype}: "
            "cast the input, or the model with model.to(dtype=...)"
        )
    return xp.astype(x, weight.dtype)
