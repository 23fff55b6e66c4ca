"""What a trainer is given as data, as batches on the model's device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

from nnx._errors import ArgumentError, ShapeError
from nnx._typing import Array
from nnx.backend import Device, is_array
from nnx.data import Batches
from nnx.data.moving import moved

Batch = tuple[Array, ...]
REMEDY = "expected a tuple (x, y) of two arrays, or an iterable of such batches, e.g. nnx.data.batches(x, y, ...)"


class Feed:
    """Batches ``(x, y)`` on a device: those of an iterable, checked and moved, or of two arrays.

    Args:
        data: a tuple of two arrays, or an iterable of pairs of arrays.
        device: where the batches are wanted.
        passes: how often it will be gone through.
        cut: arguments of :class:`nnx.data.Batches`, for a tuple of arrays.
        chosen: whether somebody asked for these arguments, so that they must have an effect.

    Raises:
        ArgumentError: ``data`` is neither, or is an iterator and there is more than one pass, or it comes
            in batches and arguments that cut it were asked for.
        ShapeError: the arrays cannot be cut into batches.
    """

    def __init__(
        self, data: Any, device: Device, *, passes: int = 1, cut: Mapping[str, Any], chosen: bool = False
    ) -> None:
        self._source: Iterable[Any] = data
        self._device: Device | None = device
        if isinstance(data, tuple) and len(data) == 2 and all(map(is_array, data)):
            self._source, self._device = Batches(*data, device=device, fixed=True, **cut), None
            return
        if is_array(data) or isinstance(data, (str, bytes, Mapping)) or not isinstance(data, Iterable):
            raise ArgumentError(f"data of type {type(data).__name__} has no batches: {REMEDY}")
        if chosen:
            raise ArgumentError(
                f"{', '.join(cut)} say how a tuple of arrays is cut into batches, and this data comes in batches: "
                "leave them out here, and give them to what makes the batches"
            )
        if isinstance(data, Iterator) and passes > 1:
            raise ArgumentError(
                f"an iterator can be gone through once, not {passes} times: give a list, or nnx.data.batches(x, y, ...)"
            )

    def __iter__(self) -> Iterator[Batch]:
        """One pass."""
        return iter(self._source) if self._device is None else self._moved(self._device)

    def length(self) -> int | None:
        """The number of batches, if it is known before they are counted."""
        return len(self._source) if isinstance(self._source, Sized) else None

    def _pairs(self) -> Iterator[Sequence[Any]]:
        for count, batch in enumerate(self._source):
            if not isinstance(batch, (tuple, list)) or len(batch) != 2:
                what = f" of length {len(batch)}" if isinstance(batch, (tuple, list)) else ""
                raise ArgumentError(f"batch {count} is a {type(batch).__name__}{what}: {REMEDY}")
            yield batch

    def _moved(self, device: Device) -> Iterator[Batch]:
        count = 0
        for x, y in moved(self._pairs(), device):
            if not x.shape or not x.shape[0] or x.shape[0] != (*y.shape, 0)[0]:
                raise ShapeError(
                    f"batch {count} has shapes {tuple(x.shape)} and {tuple(y.shape)}: at least one example was "
                    "expected, and as many in y as in x"
                )
            count += 1
            yield x, y
        if not count:
            raise ShapeError("at least one batch was expected, and the data has none")
