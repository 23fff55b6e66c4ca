"""Initial weights whose variance depends on fan-in and fan-out, so that signals keep their size."""

from __future__ import annotations

import math

from nnx._arguments import positive
from nnx._errors import ArgumentError
from nnx._typing import Array
from nnx.init._place import DeviceFlag, Shape, fans
from nnx.init.basic import normal, truncated_normal, uniform
from nnx.random import Generator

_STD_WITHIN_2 = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))
"""The standard deviation, 0.88, of normal numbers within 2 standard deviations."""


def variance_scaling(
    shape: Shape,
    *,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
    dtype: str = "float32",
    device: DeviceFlag = None,
    rng: Generator | None = None,
) -> Array:
    """Draws with mean 0 and variance scale / n, where n depends on the shape.

    The other functions of this file are cases of it.

    Args:
        shape: at least two axes, (..., inputs, outputs).
        scale: above 0.
        mode: n is ``"fan_in"``, ``"fan_out"`` or the mean of both, ``"fan_avg"``.
        distribution: ``"normal"``; ``"uniform"``, over ± sqrt(3 scale / n); or ``"truncated_normal"``, cut
            at two standard deviations of a normal distribution that is as much wider.
        dtype, device, rng: see the package.

    Raises:
        ShapeError: the shape has no fans.
        ArgumentError: ``mode`` or ``distribution`` is none of these, or ``scale`` is not above 0.
    """
    scale = positive("the scale of variance_scaling", scale)
    fan_in, fan_out = fans(shape)
    sizes = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    if mode not in sizes:
        raise ArgumentError(f"mode is {', '.join(map(repr, sizes))}, got {mode!r}")
    n = sizes[mode]
    if distribution == "uniform":
        bound = math.sqrt(3 * scale / n)
        return uniform(shape, low=-bound, high=bound, dtype=dtype, device=device, rng=rng)
    std = math.sqrt(scale / n)
    if distribution == "normal":
        return normal(shape, std=std, dtype=dtype, device=device, rng=rng)
    if distribution == "truncated_normal":
        return truncated_normal(shape, std=std / _STD_WITHIN_2, dtype=dtype, device=device, rng=rng)
    raise ArgumentError(f"distribution is 'normal', 'truncated_normal' or 'uniform', got {distribution!r}")


def glorot_normal(
    shape: Shape,
    *,
    gain: float = 1.0,
    dtype: str = "float32",
    device: DeviceFlag = None,
    rng: Generator | None = None,
) -> Array:
    """Normal with variance 2 gain² / (fan_in + fan_out), for tanh and sigmoid; also called Xavier.

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS 2010, equation 12. A gain of 5/3 makes up for what tanh takes away.
    """
    return variance_scaling(
        shape, scale=_squared(gain), mode="fan_avg", distribution="normal", dtype=dtype, device=device, rng=rng
    )


def glorot_uniform(
    shape: Shape,
    *,
    gain: float = 1.0,
    dtype: str = "float32",
    device: DeviceFlag = None,
    rng: Generator | None = None,
) -> Array:
    """Uniform with variance 2 gain² / (fan_in + fan_out): the bound is gain · sqrt(6 / (fan_in + fan_out)).

    Glorot and Bengio, AISTATS 2010, equation 16.
    """
    return variance_scaling(
        shape, scale=_squared(gain), mode="fan_avg", distribution="uniform", dtype=dtype, device=device, rng=rng
    )


def he_normal(
    shape: Shape,
    *,
    slope: float = 0.0,
    dtype: str = "float32",
    device: DeviceFlag = None,
    rng: Generator | None = None,
) -> Array:
    """Normal with variance 2 / ((1 + slope²) fan_in), for ReLU; also called Kaiming.

    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015, equations 10 and 15, where
    ``slope`` is that of a leaky rectifier below 0.
    """
    return variance_scaling(
        shape, scale=2 / (1 + slope * slope), mode="fan_in", distribution="normal", dtype=dtype, device=device, rng=rng
    )


def he_uniform(
    shape: Shape,
    *,
    slope: float = 0.0,
    dtype: str = "float32",
    device: DeviceFlag = None,
    rng: Generator | None = None,
) -> Array:
    """Uniform with variance 2 / ((1 + slope²) fan_in): the bound is sqrt(3) times its root. He et al., ICCV 2015."""
    return variance_scaling(
        shape, scale=2 / (1 + slope * slope), mode="fan_in", distribution="uniform", dtype=dtype, device=device, rng=rng
    )


def lecun_normal(
    shape: Shape, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None
) -> Array:
    """Normal with variance 1 / fan_in, for SELU and linear units.

    LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, equation 16. CS231n calls it
    calibrating the variances with 1 / sqrt(n).
    """
    return variance_scaling(shape, scale=1.0, mode="fan_in", distribution="normal", dtype=dtype, device=device, rng=rng)


def lecun_uniform(
    shape: Shape, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None
) -> Array:
    """Uniform with variance 1 / fan_in: the bound is sqrt(3 / fan_in). LeCun et al., 1998."""
    return variance_scaling(
        shape, scale=1.0, mode="fan_in", distribution="uniform", dtype=dtype, device=device, rng=rng
    )


def _squared(gain: float) -> float:
    return positive("the gain", gain) ** 2
