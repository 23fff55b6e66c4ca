"""Parameters in one piece: those of one dtype in one buffer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from math import prod

from nnx._errors import DeviceError, DTypeError, MixedLibrariesError, ShapeError, StateError
from nnx._typing import Array, Namespace
from nnx.backend import is_array, namespace_of
from nnx.ops._op import replaceable


class FlatParameters:
    """The parameters of one dtype, laid out one after the other in a 1-D buffer.

    Where a library has views, the model's arrays become views of the buffer: a write to it is a write
    to them. Where it has none, each new buffer is split into new arrays.
    """

    __slots__ = ("_spans", "_views", "arrays", "dtype", "flat", "names", "shapes", "state", "xp")

    def __init__(self, xp: Namespace, parameters: Mapping[str, Array], *, views: bool) -> None:
        self.xp = xp
        self._views = views
        self.names = tuple(parameters)
        arrays = list(parameters.values())
        self.dtype = arrays[0].dtype
        self.shapes = [tuple(array.shape) for array in arrays]
        self._spans = list(pairwise(accumulate(map(prod, self.shapes), initial=0)))
        self.flat: Array = concatenate(xp, arrays)
        self.arrays = self._split() if views else arrays
        self.state: Sequence[Array] = ()

    def gradients(self, grads: Mapping[str, Array]) -> list[Array]:
        """The gradients of these parameters, in order, once they are found to fit."""
        found = [grads[name] for name in self.names]
        if namespace_of(self.flat, *found) is not self.xp:
            raise StateError("the gradients are tracked: update the model outside the function that is differentiated")
        for name, shape, g in zip(self.names, self.shapes, found, strict=True):
            if getattr(g, "shape", None) != shape:
                got = f"shape {tuple(g.shape)}" if is_array(g) else f"a {type(g).__name__}"
                raise ShapeError(f"the gradient of {name} must have shape {shape}, as the parameter has; got {got}")
            if g.dtype != self.dtype:
                raise DTypeError(
                    f"the gradient of {name} must have dtype {self.dtype}, as the parameter has; got {g.dtype}"
                )
        return found

    def foreign(self, parameters: Mapping[str, Array]) -> list[int]:
        """Which of the model's arrays are not those that were bound last: somebody has replaced them."""
        found = [i for i, name in enumerate(self.names) if parameters[name] is not self.arrays[i]]
        for i in found:
            name, shape, array = self.names[i], self.shapes[i], parameters[self.names[i]]
            try:
                namespace_of(self.flat, array)
            except (MixedLibrariesError, DeviceError) as error:
                raise StateError(
                    f"{name} is no longer on the device of the optimiser's state: move the state with "
                    "optimizer.load(optimizer.state), which takes it along at the next update"
                ) from error
            if array.shape != shape or array.dtype != self.dtype:
                raise StateError(
                    f"{name} had shape {shape} and dtype {self.dtype} at the optimiser's first update, and has shape "
                    f"{tuple(array.shape)} and dtype {array.dtype} now: make a new optimiser"
                )
        return found

    def adopt(self, parameters: Mapping[str, Array], which: Sequence[int]) -> dict[str, Array]:
        """Take over the arrays of :meth:`foreign`; answer what the model is to be bound to."""
        if not self._views:
            arrays = [parameters[name] for name in self.names]
            self.flat, self.arrays = concatenate(self.xp, arrays), arrays
            return {}
        # Copied before the first is written: they may be views of the buffer that changed places.
        new = concatenate(self.xp, [parameters[self.names[i]] for i in which])
        start = 0
        for i in which:
            first, last = self._spans[i]
            self.flat[first:last] = new[start : start + last - first]
            start += last - first
        return {self.names[i]: self.arrays[i] for i in which}

    def replace(self, flat: Array, state: Sequence[Array]) -> dict[str, Array]:
        """Take a new buffer, or the old one with new values, and its state; answer what to bind the model to."""
        self.state = state
        if self._views:
            if flat is not self.flat:
                self.flat[...] = flat
            return {}
        self.flat = flat
        self.arrays = self._split()
        return dict(zip(self.names, self.arrays, strict=True))

    def _split(self) -> list[Array]:
        return [
            self.xp.reshape(self.flat[start:stop], shape)
            for (start, stop), shape in zip(self._spans, self.shapes, strict=True)
        ]


def concatenate(xp: Namespace, arrays: Sequence[Array]) -> Array:
    """New memory with the elements of ``arrays`` one after the other, shape (total,)."""
    return xp.concat([xp.reshape(array, (-1,)) for array in arrays])


def gather_gradients(xp: Namespace, parameters: Array, gradients: Sequence[Array]) -> Sequence[Array]:
    """The gradients as an update takes them: arrays whose elements in order are those of the buffer.

    Here one new buffer. A kernel may answer the separate arrays, which its update then reads where
    they lie, or no copy at all where they already are one buffer.

    Args:
        parameters: shape (total,).
        gradients: arrays of any shapes, ``total`` elements in all.
    """
    return [concatenate(xp, gradients)]


gather = replaceable(gather_gradients)
