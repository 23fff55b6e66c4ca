"""Initial weights with a structure: orthogonal, the identity, few connections."""

from __future__ import annotations

from nnx._arguments import count, positive
from nnx._typing import Array
from nnx.init._place import DeviceFlag, Shape, fans, host_namespace, place, require_floating
from nnx.random import Generator, generator_of


def orthogonal(
    shape: Shape,
    *,
    gain: float = 1.0,
    dtype: str = "float32",
    device: DeviceFlag = None,
    rng: Generator | None = None,
) -> Array:
    """A random matrix Q with Qᵀ Q = gain² · 1, or Q Qᵀ = gain² · 1 if it has fewer rows than columns.

    The rows are all axes but the last. Q is the orthogonal factor of a matrix of normal numbers, with
    signs that make all rotations and reflections equally likely (Mezzadri, "How to generate random
    matrices from the classical compact groups", Notices of the AMS 54(5), 2007). Saxe, McClelland and
    Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
    ICLR 2014. The factor is made on the host and is the same on every backend; another version of
    LAPACK may differ in the last place.

    Raises:
        ShapeError: the shape has fewer than two axes, or no element.
        ArgumentError: ``gain`` is not above 0.
    """
    require_floating(dtype)
    gain = positive("the gain", gain)
    rows, columns = fans(shape)[0], shape[-1]
    xp = host_namespace()
    q, r = xp.linalg.qr(generator_of(rng).normal((max(rows, columns), min(rows, columns))))
    q = xp.where(xp.linalg.diagonal(r) < 0, -q, q)
    return place(gain * xp.reshape(q if rows >= columns else xp.matrix_transpose(q), shape), dtype, device)


def identity(
    shape: Shape,
    *,
    gain: float = 1.0,
    dtype: str = "float32",
    device: DeviceFlag = None,
    rng: Generator | None = None,
) -> Array:
    """``gain`` on the diagonal of the last two axes, 0 elsewhere: each output is the input of its number.

    Axes before them are a receptive field: the diagonal stands in its middle, so that a convolution with
    padding ``"same"`` answers its input. For recurrent weights: Le, Jaitly and Hinton, "A simple way to
    initialize recurrent networks of rectified linear units", arXiv:1504.00941, 2015.

    Raises:
        ShapeError: the shape has fewer than two axes, or no element.
    """
    fans(shape)
    xp = host_namespace()
    weight = xp.zeros(shape)
    weight[tuple((n - 1) // 2 for n in shape[:-2])] = gain * xp.eye(*shape[-2:])
    return place(weight, dtype, device)


def sparse(
    shape: Shape,
    *,
    connections: int = 15,
    std: float = 1.0,
    dtype: str = "float32",
    device: DeviceFlag = None,
    rng: Generator | None = None,
) -> Array:
    """Normal weights of ``connections`` randomly chosen inputs of each unit; all others are 0.

    A unit with fewer inputs has all of them. Martens, "Deep learning via Hessian-free optimization", ICML
    2010, section 5: the size of a unit's input then does not grow with the number of units below, and
    the units differ.

    Args:
        shape: at least two axes, (..., inputs, outputs).
        connections: how many weights of a unit are not 0.
        std: their standard deviation.
        dtype, device, rng: see the package.

    Raises:
        ShapeError: the shape has fewer than two axes, or no element.
        ArgumentError: ``connections`` is no whole number of 1 or more.
    """
    require_floating(dtype)
    connections = count("the number of connections", connections)
    xp, rng = host_namespace(), generator_of(rng)
    matrix = fans(shape)[0], shape[-1]
    rank = xp.argsort(xp.argsort(rng.uniform(matrix), axis=0, stable=True), axis=0)
    weight = xp.where(rank < connections, rng.normal(matrix, std=std), 0.0)
    return place(xp.reshape(weight, shape), dtype, device)
