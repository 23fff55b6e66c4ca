"""The loss of a model as a function of one vector."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod
from typing import Any

from nnx._errors import DTypeError, NonFiniteLossError, StateError
from nnx._typing import Array, Model
from nnx.backend import is_array, namespace_of, native_device, to_numpy
from nnx.optim.flat import concatenate


@dataclass(frozen=True, slots=True)
class Point:
    """Where the loss was evaluated, and what was found there.

    Attributes:
        x, gradient: vectors on the device.
        direction: of the line on which it lies.
        value: the loss.
        slope, slope_before: the gradient along that direction, here and where the line begins.
        largest: the greatest absolute value in the gradient.
        square: the sum of the squares of the gradient.
    """

    x: Array
    gradient: Array
    direction: Array
    value: float
    slope: float
    slope_before: float
    largest: float
    square: float


class Objective:
    """The loss as a function of one vector, the model's parameters end to end.

    Attributes:
        evaluations: how often it was computed.
        best: what the model is bound to in the end; ``None`` for the parameters it came with.
        precision: the relative error of a value.
    """

    def __init__(self, value_and_grad: Callable[..., tuple[Any, Mapping[str, Array]]], model: Model, data: Any) -> None:
        self._evaluate, self._model, self._data = value_and_grad, model, data
        self._initial = model.parameters()
        if not self._initial:
            raise StateError("the model has no parameters to train: all are frozen, or it has none")
        arrays = self._initial.values()
        self._xp = xp = namespace_of(*arrays)
        for name, array in self._initial.items():
            if not xp.isdtype(array.dtype, "real floating"):
                raise DTypeError(f"{name} has dtype {array.dtype}, and only parameters of real floats can be trained")
        self._dtype = xp.result_type(*arrays)
        self._spans = list(pairwise(accumulate((prod(array.shape) for array in arrays), initial=0)))
        self.evaluations = 0
        self.best: Point | None = None
        self.precision = float(xp.finfo(self._dtype).eps)

    def begin(self) -> Point:
        """The point at which the model is; warns if two evaluations of it differ."""
        x = self._vector(self._initial)
        zero = self._xp.zeros_like(x)
        first, second = (self._point(x, zero, zero) for _ in range(2))
        if not (math.isfinite(first.value) and math.isfinite(first.largest)):
            raise NonFiniteLossError(
                f"the loss is {first.value} at the start"
                + ("" if not math.isfinite(first.value) else ", and its gradient has NaN or infinity")
                + ": look for NaN and infinity in the data and the parameters",
                step=0,
            )
        if abs(first.value - second.value) > 1e3 * self.precision * max(abs(first.value), abs(second.value)):
            warnings.warn(
                f"two evaluations of the loss at one point differ, {first.value:.6g} and {second.value:.6g}: L-BFGS "
                "needs a loss that is not random. Leave dropout out (training=False) and give it all the data at "
                "once, or take an optimiser for random losses, such as nnx.optim.Adam",
                UserWarning,
                stacklevel=4,
            )
        return first

    def at(self, here: Point, direction: Array, step: float) -> Point:
        """The point ``step`` along ``direction``."""
        return self._point(here.x + direction * step, direction, here.gradient)

    def settle(self) -> None:
        """Bind the model to the best point."""
        self._model._rebind(self._initial if self.best is None else self._split(self.best.x))

    def _point(self, x: Array, direction: Array, gradient_before: Array) -> Point:
        xp = self._xp
        self._model._rebind(self._split(x))
        value, gradients = self._evaluate(self._model, *self._data)
        self.evaluations += 1
        g = self._vector({name: gradients[name] for name in self._initial})
        value = (
            xp.astype(value, self._dtype)
            if is_array(value)
            else xp.asarray(value, dtype=self._dtype, device=native_device(x))
        )
        dot = functools.partial(xp.tensordot, axes=1)  # NumPy warns of overflow in a matmul, and this may be far off
        numbers = (value, dot(g, direction), dot(gradient_before, direction), xp.max(xp.abs(g)), dot(g, g))
        value, slope, slope_before, largest, square = map(float, to_numpy(xp.stack(numbers)))  # the one wait
        return Point(x, g, direction, value, slope, slope_before, largest, square)

    def _vector(self, arrays: Mapping[str, Array]) -> Array:
        return concatenate(self._xp, [self._xp.astype(array, self._dtype, copy=False) for array in arrays.values()])

    def _split(self, x: Array) -> dict[str, Array]:
        return {
            name: self._xp.astype(self._xp.reshape(x[start:stop], array.shape), array.dtype, copy=False)
            for (name, array), (start, stop) in zip(self._initial.items(), self._spans, strict=True)
        }
