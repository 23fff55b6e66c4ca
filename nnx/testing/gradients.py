"""Gradients, checked against central differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from nnx import tree
from nnx._errors import ArgumentError, DTypeError
from nnx._typing import Array
from nnx.backend import Device, activation, device_of, dtype_kind, is_array, is_float, namespace_of, to_numpy
from nnx.backend import device as find_device
from nnx.grad import vjp
from nnx.random import Generator
from nnx.testing._arguments import Arguments, draw

STEP = 2.0**-17
"""The step of a difference, relative to the largest element: about the cube root of float64's epsilon."""

Function = Callable[[Sequence[Array]], list[Array]]


def check_gradients(
    f: Callable[..., Any],
    *args: Any,
    order: int = 2,
    device: str | Device | None = None,
    training: bool = True,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    seed: int = 0,
) -> None:
    r"""Check the gradients of ``f`` at ``args`` against central differences.

    For random u, of the shape of an argument x, and random v, of the shape of the value, the product
    vᵀ J u with the Jacobian J is computed twice: as the difference vᵀ (f(x + h u) - f(x - h u)) / 2h,
    whose error is of the order of h², and by backprop as (Jᵀ v)ᵀ u. They must agree to
    rtol · max(|vᵀ J u|, ‖Jᵀ v‖) + atol. The check of Jᵀ v itself, as a function of ``args``, is the
    one of second order. Of complex numbers, the real parts of these products are compared (see
    :func:`nnx.vjp`).

    Args:
        f: a function that answers arrays, alone or in lists, tuples and dicts; or a model. Away from
            points without a derivative, such as the 0 of relu.
        args: arrays, models, and lists, tuples and dicts of these. Arrays of integers, and what is no
            array, are constants.
        order: check the derivatives up to this order.
        device: move ``args`` there first; ``None`` leaves them where they are.
        training: the mode of the models.
        rtol, atol: how far the two may differ.
        seed: of u and v.

    Raises:
        AssertionError: a gradient is wrong, or has the wrong shape, dtype or device. The message
            names the argument, the order and both numbers.
        DTypeError: an array of floats is not float64 or complex128, as differences need it to be.

    >>> import nnx.testing, numpy
    >>> nnx.testing.check_gradients(nnx.softmax, numpy.asarray([0.3, -1.2, 2.0]))
    """
    if order < 1:
        raise ArgumentError(f"order is 1 or more, got {order}")
    arguments = Arguments(f, args, None if device is None else find_device(device))
    for name, leaf in zip(arguments.names, arguments.leaves, strict=True):
        if leaf.dtype != getattr(namespace_of(leaf), _double(leaf)):
            raise DTypeError(
                f"differences need {_double(leaf)}, and {name} has dtype {leaf.dtype}: cast it, or the model with "
                "model.to(dtype='float64')"
            )
    with activation(*arguments.leaves):
        _check(
            lambda leaves: _floats(arguments.call(leaves, training=training)),
            arguments.leaves,
            arguments.names,
            range(1, order + 1),
            (rtol, atol),
            Generator(seed),
        )


def _check(
    function: Function,
    leaves: Sequence[Array],
    names: Sequence[str],
    orders: range,
    tolerances: tuple[float, float],
    rng: Generator,
) -> None:
    """Check the derivative of ``function``, which is itself one of order ``orders[0] - 1``."""
    order = orders[0]
    values, pull = vjp(function, list(leaves))
    for i, (y, raw) in enumerate(zip(values, function(leaves), strict=True)):
        _require_alike(f"value {i} of order {order - 1}", y, raw.shape, _double(y), leaves[0])
    v = [draw(rng, y, device_of(y)) for y in values]
    (gradients,) = pull(v)
    for i, (name, x, g) in enumerate(zip(names, leaves, gradients, strict=True)):
        _require_alike(f"the gradient of order {order} by {name}", g, x.shape, _double(x), x)
        u = draw(rng, x, device_of(x))
        step = STEP * (_largest(x) or 1.0)
        ends = [function([*leaves[:i], x + h * u, *leaves[i + 1 :]]) for h in (step, -step)]
        difference = sum(_dot(v_i, y) - _dot(v_i, z) for v_i, y, z in zip(v, *ends, strict=True)) / (2 * step)
        backprop = _dot(u, g)
        rtol, atol = tolerances
        bound = rtol * max(abs(difference), _norm(g)) + atol
        if not abs(difference - backprop) <= bound:  # which NaN is not
            raise AssertionError(
                f"the gradient of order {order} by {name}, of shape {tuple(x.shape)}, is wrong: along a random "
                f"direction the difference is {difference:.10g}, and backprop answers {backprop:.10g}; they differ by "
                f"{abs(difference - backprop):.3g}, and {bound:.3g} is allowed"
            )
    if len(orders) > 1:
        _check(lambda at: vjp(function, list(at))[1](v)[0], leaves, names, orders[1:], tolerances, rng)


def _floats(value: Any) -> list[Array]:
    """The arrays of floats in a value: what has derivatives."""
    arrays = [y for y in tree.leaves(value) if is_array(y)]
    found = [y for y in arrays if is_float(namespace_of(y), y.dtype)]
    if not found:
        raise ArgumentError("the function must answer an array of floats, or lists, tuples and dicts of such arrays")
    return found


def _require_alike(what: str, array: Array, shape: tuple[int, ...], dtype: str, beside: Array) -> None:
    if array.shape != shape:
        raise AssertionError(f"{what} has shape {tuple(array.shape)}, and {tuple(shape)} was expected")
    if array.dtype != getattr(namespace_of(array), dtype):
        raise AssertionError(f"{what} has dtype {array.dtype}, and {dtype} was expected")
    if device_of(array) != device_of(beside):
        raise AssertionError(f"{what} lies on {device_of(array)}, and {device_of(beside)} was expected")


def _double(x: Array) -> str:
    """The dtype, for numbers as those of ``x``, that is precise enough for differences."""
    return "complex128" if dtype_kind(namespace_of(x), x.dtype) == "complex floating" else "float64"


def _dot(a: Array, b: Array) -> float:
    return float((to_numpy(a) * to_numpy(b)).sum().real)


def _norm(x: Array) -> float:
    return math.sqrt((abs(to_numpy(x)) ** 2).sum())


def _largest(x: Array) -> float:
    host = abs(to_numpy(x))
    return float(host.max()) if 0 not in host.shape else 0.0
