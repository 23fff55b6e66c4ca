"""Checks of what a layer is called on."""

from __future__ import annotations

from nnx._errors import DTypeError
from nnx._typing import Array
from nnx.backend import is_array, namespace_of
from nnx.module import Module


def require_dtype(layer: Module, x: Array, weight: Array) -> None:
    """Raise unless ``x`` is an array of the library and the dtype of ``weight``.

    Raises:
        DTypeError: it is no array, or has another dtype.
        MixedLibrariesError, DeviceError: it is of another library, or elsewhere.
    """
    if not is_array(x):
        raise DTypeError(f"{layer!r} expected an array, got {type(x).__name__}: make one with nnx.asarray(...)")
    namespace_of(x, weight)  # arrays of two libraries are the better explanation, and have no common dtypes
    if x.dtype != weight.dtype:
        raise DTypeError(
            f"{layer!r} has {weight.dtype} parameters and expected input of that dtype, got {x.dtype}: "
            "cast the input, or the model with model.to(dtype=...)"
        )
