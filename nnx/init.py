"""Initialisers: arrays of initial parameters, made on the host and moved to the device.

The same seed gives bit-identical arrays on every backend. Fan-in and fan-out are those of a weight
whose last two axes are (inputs, outputs); axes before them are a receptive field, which multiplies
both.

All take ``dtype``, the name of a dtype, ``device``, a device flag (``None`` for the default device),
and ``rng``, where random numbers come from (``None`` for the default generator). Those that draw no
numbers accept ``rng`` too, so that any of them can stand for any other.
"""

from __future__ import annotations

import math

from nnx._errors import DTypeError, ShapeError
from nnx._typing import Array
from nnx.backend import HOST, Device, device, dtype_kind, load_backend, load_namespace, named_dtype
from nnx.random import Generator, generator_of

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


def _place(host: Array, dtype: str, flag: DeviceFlag) -> Array:
    xp = load_namespace(load_backend(HOST))
    return device(flag).from_host(xp.astype(host, named_dtype(xp, dtype)))


def _require_floating(dtype: str) -> None:
    xp = load_namespace(load_backend(HOST))
    if dtype_kind(xp, named_dtype(xp, dtype)) != "real floating":
        raise DTypeError(f"random numbers need a floating-point dtype, such as 'float32', got {dtype!r}")


def constant(
    shape: Shape, value: float, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None
) -> Array:
    """Every element is ``value``."""
    xp = load_namespace(load_backend(HOST))
    return _place(xp.full(shape, float(value)), dtype, device)


def zeros(shape: Shape, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None) -> Array:
    """Every element is 0."""
    return constant(shape, 0.0, dtype=dtype, device=device)


def ones(shape: Shape, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None) -> Array:
    """Every element is 1."""
    return constant(shape, 1.0, dtype=dtype, device=device)


def normal(
    shape: Shape,
    *,
    mean: float = 0.0,
    std: float = 0.01,
    dtype: str = "float32",
    device: DeviceFlag = None,
    rng: Generator | None = None,
) -> Array:
    """Draws from a normal distribution of that mean and standard deviation."""
    _require_floating(dtype)
    return _place(generator_of(rng).normal(shape, mean, std), dtype, device)


def uniform(
    shape: Shape,
    *,
    low: float = -0.05,
    high: float = 0.05,
    dtype: str = "float32",
    device: DeviceFlag = None,
    rng: Generator | None = None,
) -> Array:
    """Draws from the uniform distribution over (low, high)."""
    _require_floating(dtype)
    return _place(generator_of(rng).uniform(shape, low, high), dtype, device)


def glorot_normal(
    shape: Shape, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None
) -> Array:
    """Normal with variance 2 / (fan_in + fan_out), for tanh and sigmoid.

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS 2010, equation 12.
    """
    return normal(shape, std=math.sqrt(2.0 / sum(fans(shape))), dtype=dtype, device=device, rng=rng)


def glorot_uniform(
    shape: Shape, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None
) -> Array:
    """Uniform with variance 2 / (fan_in + fan_out): the bound is sqrt(6 / (fan_in + fan_out)).

    Glorot and Bengio, AISTATS 2010, equation 16.
    """
    bound = math.sqrt(6.0 / sum(fans(shape)))
    return uniform(shape, low=-bound, high=bound, dtype=dtype, device=device, rng=rng)


def he_normal(
    shape: Shape, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None
) -> Array:
    """Normal with variance 2 / fan_in, for ReLU.

    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015, equation 10.
    """
    return normal(shape, std=math.sqrt(2.0 / fans(shape)[0]), dtype=dtype, device=device, rng=rng)


def he_uniform(
    shape: Shape, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None
) -> Array:
    """Uniform with variance 2 / fan_in: the bound is sqrt(6 / fan_in). He et al., ICCV 2015."""
    bound = math.sqrt(6.0 / fans(shape)[0])
    return uniform(shape, low=-bound, high=bound, dtype=dtype, device=device, rng=rng)


def lecun_normal(
    shape: Shape, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None
) -> Array:
    """Normal with variance 1 / fan_in, for SELU and linear units.

    LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, equation 16.
    """
    return normal(shape, std=math.sqrt(1.0 / fans(shape)[0]), dtype=dtype, device=device, rng=rng)


def lecun_uniform(
    shape: Shape, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None
) -> Array:
    """Uniform with variance 1 / fan_in: the bound is sqrt(3 / fan_in). LeCun et al., 1998."""
    bound = math.sqrt(3.0 / fans(shape)[0])
    return uniform(shape, low=-bound, high=bound, dtype=dtype, device=device, rng=rng)
