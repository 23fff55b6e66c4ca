"""What all initialisers share: the fans of a weight, and the way from the host to a device."""

from __future__ import annotations

import math

from nnx._errors import DTypeError, ShapeError
from nnx._typing import Array, Namespace
from nnx.backend import HOST, Device, device, dtype_kind, load_backend, load_namespace, named_dtype

Shape = tuple[int, ...]
DeviceFlag = str | Device | None


def fans(shape: Shape) -> tuple[int, int]:
    """Fan-in and fan-out of a weight.

    >>> fans((784, 128)), fans((3, 3, 16, 32))
    ((784, 128), (144, 288))
    """
    if len(shape) < 2:
        raise ShapeError(f"fan-in and fan-out need a weight of at least two axes (..., inputs, outputs), got {shape}")
    if 0 in shape:
        raise ShapeError(f"fan-in and fan-out need a weight of at least one element, got shape {shape}")
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def host_namespace() -> Namespace:
    """The namespace that initial values are computed in."""
    return load_namespace(load_backend(HOST))


def place(host: Array, dtype: str, flag: DeviceFlag) -> Array:
    """A host array in ``dtype``, on the device of that flag."""
    xp = host_namespace()
    return device(flag).from_host(xp.astype(host, named_dtype(xp, dtype)))


def require_floating(dtype: str) -> None:
    """Raise ``DTypeError`` unless ``dtype`` is the name of a dtype of real floats."""
    xp = host_namespace()
    if dtype_kind(xp, named_dtype(xp, dtype)) != "real floating":
        raise DTypeError(f"random numbers need a floating-point dtype, such as 'float32', got {dtype!r}")
