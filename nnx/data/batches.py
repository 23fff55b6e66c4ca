"""Arrays, cut into batches along their first axis."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any

from nnx._errors import ArgumentError, OutOfMemoryError, ShapeError
from nnx._typing import Array
from nnx.backend import HOST, Device, asarray, device_of, itemsize, library_of, load_backend, native_device
from nnx.backend import device as find_device
from nnx.data.moving import on_host
from nnx.random import Generator, generator_of

GATHER_BYTES = 1 << 18
"""Small batches are gathered, and moved, several at once: up to so many bytes, which a cache holds."""

RESIDENT = 0.25
"""What part of a device's free memory host data may take, to be moved there whole where the backend prefetches."""


class Batches:
    """What :func:`batches` answers: it can be iterated any number of times, and has a length.

    Attributes:
        examples: the length of the arrays.
        batch_size: the examples of a batch; the last one may have fewer.
        device: where the batches are moved to; ``None`` if they stay where they are.
        resident: whether the last pass moved host arrays to the device whole; ``False`` before the first one.
    """

    def __init__(
        self,
        *arrays: Array,
        batch_size: int,
        shuffle: bool = False,
        rng: Generator | None = None,
        drop_last: bool = False,
        device: str | Device | None = None,
        fixed: bool = False,
    ) -> None:
        self.examples = _common_length(arrays)
        self.batch_size = _positive(batch_size)
        self.device = None if device is None else find_device(device)
        self._sources = [_Source(array, self.batch_size, self.device) for array in arrays]
        self._shuffle = shuffle
        self._rng = rng
        self._fixed = fixed
        self.resident = False
        self._used = self.examples - self.examples % self.batch_size if drop_last else self.examples
        if not self._used:
            raise ShapeError(
                f"with drop_last=True no batch is left of {self.examples} examples: they make no whole one of "
                f"{self.batch_size}"
            )

    def __len__(self) -> int:
        """The number of batches."""
        return (self._used + self.batch_size - 1) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """One pass, in an order of its own if the batches are shuffled."""
        order = generator_of(self._rng).permutation(self.examples) if self._shuffle else None
        away = [source for source in self._sources if source.prefetched]
        there = self._moved(away) if away else self._sources
        if away:
            self.resident = there is not None
        if there is not None:
            if self._fixed:
                self._sources = there
            return zip(*(source.slices(self._used, order) for source in there), strict=True)
        ahead = self._ahead(away, order)
        columns = {source: source.slices(self._used, order) for source in self._sources if not source.prefetched}
        return self._merged(columns, ahead) if columns else ahead

    def _moved(self, away: list[_Source]) -> list[_Source] | None:
        """The sources with host arrays moved to the device whole; ``None`` unless they are small beside its memory."""
        arrays = {id(source.array): source.array for source in away}
        memory = None if self.device is None else self.device.backend.memory(self.device.native)
        size = sum(array.nbytes for array in arrays.values())
        if memory is None or size > RESIDENT * memory.free or not all(source.plain for source in away):
            return None
        try:
            there = {key: asarray(array, device=self.device) for key, array in arrays.items()}
        except OutOfMemoryError:  # the free memory is in pieces
            return None
        return [
            _Source(there[id(source.array)], self.batch_size, None) if source in away else source
            for source in self._sources
        ]

    def _ahead(self, sources: list[_Source], order: Array | None) -> Iterator[tuple[Array, ...]]:
        """The batches of host arrays, several small ones in one transfer, each copied ahead of its use."""
        batch = sum(source.nbytes for source in sources)
        step = self.batch_size * max(1, GATHER_BYTES // max(1, batch))

        def wanted() -> Iterator[list[tuple[Array, Any]]]:
            for start in range(0, self._used, step):
                stop = min(start + step, self._used)
                rows = slice(start, stop) if order is None else order[start:stop]
                yield [(source.array, rows) for source in sources]

        assert self.device is not None
        for several in self.device.backend.prefetch(wanted(), self.device.native):
            yield from zip(*(_cut(array, array.shape[0], self.batch_size) for array in several), strict=True)

    def _merged(
        self, columns: dict[_Source, Iterator[Array]], ahead: Iterator[tuple[Array, ...]]
    ) -> Iterator[tuple[Array, ...]]:
        for copied in ahead:
            rest = iter(copied)
            yield tuple(next(columns.get(source, rest)) for source in self._sources)

    def __repr__(self) -> str:
        shapes = ", ".join(str(tuple(source.array.shape)) for source in self._sources)
        where = "" if self.device is None else f" on {self.device}"
        return f"<{len(self)} batches of {self.batch_size} from arrays of shape {shapes}{where}>"


def batches(
    *arrays: Array,
    batch_size: int,
    shuffle: bool = False,
    rng: Generator | None = None,
    drop_last: bool = False,
    device: str | Device | None = None,
    fixed: bool = False,
) -> Batches:
    """Cut arrays into batches of ``batch_size`` examples along their first axis.

    In order, a batch is a slice, which shares memory with its array where the library has views.
    Shuffled, it is gathered where the array lies, by an order that is the same on every backend.
    NumPy arrays may be memory-mapped: no more is read than is asked for.

    Args:
        arrays: one or more, of any library, shape (examples, ...), all of one length.
        batch_size: how many examples; the last batch has what is left.
        shuffle: iterate in random order, a new one at each pass.
        rng: draws the orders; ``None`` for the default generator.
        drop_last: leave out a last batch of fewer than ``batch_size`` examples.
        device: move the batches to that device; ``None`` leaves them where the arrays lie. On a GPU by way of CuPy,
            NumPy arrays of up to a quarter of its free memory are moved there whole at the start of each pass, so
            that it gathers the batches. Batches of larger and of memory-mapped arrays are copied one ahead of
            their use.
        fixed: promise that the arrays do not change from pass to pass, so that those that are moved whole need be
            moved only once.

    Raises:
        ShapeError: the arrays differ in length or hold no example, or one has no axis.
        ArgumentError: there is no array, or ``batch_size`` is no positive integer.

    >>> import nnx
    >>> x, y = nnx.asarray([[1.0], [2.0], [3.0]]), nnx.asarray([0, 1, 0])
    >>> for xb, yb in nnx.data.batches(x, y, batch_size=2):
    ...     print(xb.shape, yb)
    (2, 1) [0 1]
    (1, 1) [0]
    """
    return Batches(
        *arrays, batch_size=batch_size, shuffle=shuffle, rng=rng, drop_last=drop_last, device=device, fixed=fixed
    )


class _Source:
    """One of the arrays, and how its batches are made."""

    def __init__(self, array: Array, batch_size: int, device: Device | None) -> None:
        self._batch_size = batch_size
        library, kind = library_of(array), type(array)
        if library.backend is load_backend(HOST):
            array = library.namespace.asarray(array)
        self.array = array
        self.plain = type(array) is kind
        """False for a memory map, which has become a plain view of its memory."""
        self._xp = library.namespace
        self._target = None if device is None or _lies_on(array, device) else device
        self.prefetched = self._target is not None and self._target.backend.prefetch is not None and on_host(array)
        """Whether the backend of the device copies its batches ahead."""
        backend = library.backend if self._target is None else self._target.backend
        views = backend is not None and backend.views
        self.nbytes = self._batch_size * math.prod(array.shape[1:]) * itemsize(self._xp, array.dtype)
        """The size of a batch."""
        self._gathered = self._batch_size * (max(1, GATHER_BYTES // max(1, self.nbytes)) if views else 1)

    def slices(self, used: int, order: Array | None) -> Iterator[Array]:
        """The batches of the first ``used`` examples, or of the first ``used`` places of ``order``."""
        if order is None and self._target is None:
            yield from _cut(self.array, used, self._batch_size)
            return
        if order is not None:
            order = self._indices(order)
        for start in range(0, used, self._gathered):
            stop = min(start + self._gathered, used)
            if order is None:
                several = self.array[start:stop, ...]
            else:
                several = self._xp.take(self.array, order[start:stop], axis=0)
            if self._target is not None:
                several = asarray(several, device=self._target)
            if stop - start <= self._batch_size:
                yield several
            else:
                yield from _cut(several, stop - start, self._batch_size)

    def _indices(self, order: Array) -> Array:
        """``order`` where the array lies."""
        if library_of(self.array).backend is None:
            return self._xp.asarray(order, device=native_device(self.array))
        return asarray(order, device=device_of(self.array))


def _cut(array: Array, length: int, size: int) -> Iterator[Array]:
    for start in range(0, length, size):
        yield array[start : min(start + size, length), ...]


def _lies_on(array: Array, device: Device) -> bool:
    return library_of(array).backend is device.backend and native_device(array) == device.native


def _common_length(arrays: tuple[Array, ...]) -> int:
    if not arrays:
        raise ArgumentError("batches() needs at least one array")
    for array in arrays:
        library_of(array)
        if not array.shape:
            raise ShapeError("an array of shape (examples, ...) was expected, got shape ()")
    lengths = [int(array.shape[0]) for array in arrays]
    if len(set(lengths)) > 1:
        raise ShapeError(f"arrays of one length were expected, got lengths {', '.join(map(str, lengths))}")
    if not lengths[0]:
        raise ShapeError(f"at least one example was expected, got an array of shape {tuple(arrays[0].shape)}")
    return lengths[0]


def _positive(batch_size: Any) -> int:
    try:
        size = operator.index(batch_size)
    except TypeError:
        size = 0
    if size < 1 or isinstance(batch_size, bool):
        raise ArgumentError(f"batch_size must be a positive integer, got {batch_size!r}")
    return size
