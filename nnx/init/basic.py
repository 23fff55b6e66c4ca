"""Constants, and draws from a distribution that is told in full."""

from __future__ import annotations

from nnx._arguments import positive
from nnx._typing import Array
from nnx.init._place import DeviceFlag, Shape, host_namespace, place, require_floating
from nnx.random import Generator, elements_of, generator_of


def constant(
    shape: Shape, value: float, *, dtype: str = "float32", device: DeviceFlag = None, rng: Generator | None = None
) -> Array:
    """Every element is ``value``.

    A layer takes ``bias_init=functools.partial(nnx.init.constant, value=0.01)``.
    """
    return place(host_namespace().full(shape, float(value)), dtype, device)


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
    """Draws from a normal distribution of that mean and standard deviation.

    The defaults are the small random numbers of shallow networks; in deep ones the signals die out:
    see :func:`lecun_normal`.
    """
    require_floating(dtype)
    return place(generator_of(rng).normal(shape, mean, std), dtype, device)


def truncated_normal(
    shape: Shape,
    *,
    mean: float = 0.0,
    std: float = 0.01,
    bound: float = 2.0,
    dtype: str = "float32",
    device: DeviceFlag = None,
    rng: Generator | None = None,
) -> Array:
    """Draws from a normal distribution; those more than ``bound`` · ``std`` from the mean are drawn again.

    ``mean`` and ``std`` are those of the distribution before it is cut: what is left varies less, by
    the factor 0.88 for a bound of 2.

    Raises:
        ArgumentError: ``bound`` is not above 0.
    """
    require_floating(dtype)
    bound = positive("the bound of truncated_normal", bound)
    xp, rng = host_namespace(), generator_of(rng)
    parts, missing = [xp.zeros(0)], elements_of(shape)
    while missing:
        z = _within(rng, missing, bound)
        parts.append(z)
        missing -= z.shape[0]
    return place(mean + std * xp.reshape(xp.concat(parts), shape), dtype, device)


def _within(rng: Generator, n: int, bound: float) -> Array:
    """Up to ``n`` standard normal numbers of at most ``bound``: proposals, of which some are rejected.

    Of normal proposals a wide bound rejects few, of uniform ones a narrow bound (Robert, "Simulation of
    truncated normal variables", Statistics and Computing 5, 1995).
    """
    xp = host_namespace()
    if bound > 1:
        z = rng.normal((n,))
        return z[xp.abs(z) <= bound]
    z = rng.uniform((n,), -bound, bound)
    return z[rng.uniform((n,)) < xp.exp(-0.5 * z * z)]


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
    require_floating(dtype)
    return place(generator_of(rng).uniform(shape, low, high), dtype, device)
