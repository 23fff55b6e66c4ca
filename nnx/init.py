"""Initialisers: arrays of initial parameters, made on the host and moved to the device.

The same seed gives bit-identical arrays on every backend. Fan-in and fan-out are those of a weight
whose last two axes are (inputs, outputs); axes before them are a receptive field, which multiplies
both.
"""

from __future__ import annotations

import math

from nnx._errors import ShapeError
from nnx._typing import Array
from nnx.backend import HOST, Device, device, load_backend, load_namespace
from nnx.random import Generator, default_generator

Shape = tuple[int, ...]
DeviceFlag = str | Device | None


def fans(shape: Shape) -> tuple[int, int]:
    """Fan-in and fan-out of a weight.

    >>> fans((784, 128)), fans((3, 3, 16, 32))
    ((784, 128), (144, 288))
    """
    if len(shape) < 2:
        raise ShapeError(f"fan-in and fan-out need a weight of at least two axes (..., inputs, outputs), got {shape}")
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _place(host: Array, dtype: str, flag: DeviceFlag) -> Array:
    xp = load_namespace(load_backend(HOST))
    return device(flag).from_host(xp.astype(host, getattr(xp, dtype)))


def constant(
    shape: Shape, value: float, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None
) -> Array:
    """Every element is ``value``. ``rng`` is accepted so that initialisers can stand for one another."""
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
    return _place((rng or default_generator()).normal(shape, mean, std), dtype, device)


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
    return _place((rng or default_generator()).uniform(shape, low, high), dtype, device)


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
