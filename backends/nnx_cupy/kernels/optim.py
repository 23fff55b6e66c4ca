"""Updates of the optimisers in one launch, and sums of squares in two. Gradients are read where they lie.

Where they lie is a table that goes to the kernel as a parameter: no copy to the device, so a graph may be captured. A
graph holds the addresses, as it does those of all arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from nnx._typing import Array, Kernel, Namespace
from nnx_cupy.kernels._arrays import summed_in, whole
from nnx_cupy.kernels._source import Source

TABLE = 200
"""Arrays of one launch, as in ``optim.cu``: 3208 of the 4096 bytes that the parameters of a kernel may have."""

THREADS = 256
TILE = 4 * THREADS
"""Elements that a block of an update has: four a thread, so that it waits for memory once."""

TILES = 8
"""Tiles of a block that adds squares, as in ``optim.cu``."""

ENTRIES = np.dtype([("arrays", np.int64, TABLE), ("starts", np.int64, TABLE + 1)])
PLAIN = np.dtype((np.void, ENTRIES.itemsize))
"""The same bytes without names: what CuPy asks of an argument takes NumPy microseconds where there are names."""

SOURCE = Source("optim")


class Gathered(list[Array]):
    """Contiguous gradients, and the tables of where they lie: for each launch, how many there are, and the entries."""

    __slots__ = ("tables", "total")

    def __init__(self, arrays: Sequence[Array]) -> None:
        super().__init__(arrays)
        self.tables: list[tuple[int, int, Any]] = []
        starts = list(accumulate([a.size for a in arrays], initial=0))
        addresses = [a.data.ptr for a in arrays]
        self.total: int = starts[-1]
        for first in range(0, len(arrays), TABLE):
            count = min(TABLE, len(arrays) - first)
            size = starts[first + count] - starts[first]
            if size:
                table = np.zeros(1, ENTRIES)
                table["arrays"][0, :count] = addresses[first : first + count]
                table["starts"][0, : count + 1] = starts[first : first + count + 1]
                self.tables.append((size, count, table.view(PLAIN)))


def gather_gradients(xp: Namespace, parameters: Array, gradients: Sequence[Array]) -> Sequence[Array]:
    """The separate gradients, without a copy of those that are contiguous and no part of ``parameters``."""
    start = parameters.data.ptr
    stop = start + parameters.nbytes
    found = [whole(xp, g) for g in gradients]
    # an update that read a gradient from memory that it writes to as a parameter would be wrong
    return Gathered([g.copy() if start <= g.data.ptr < stop else g for g in found])


def adam_update(
    xp: Namespace,
    parameters: Array,
    gradients: Sequence[Array],
    gradient_sum: Array,
    square_sum: Array,
    step: Array,
    rate: Array,
    scale: Array | None,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> tuple[Array, Array, Array]:
    """As ``nnx.optim.adam.adam_update``, in place."""
    logs = [math.log(beta) if beta else -math.inf for beta in (beta1, beta2)]
    options = (float(beta1), float(beta2), *logs, float(eps), float(weight_decay), bool(decoupled))
    step = step if step.dtype == xp.int32 else xp.astype(step, xp.int32)
    numbers = (*_number(parameters, rate), *_number(parameters, scale))
    arrays = (parameters, gradient_sum, square_sum, step)
    _over_gradients("adam_update", gradients, *arrays, *numbers, *options)
    return parameters, gradient_sum, square_sum


def sgd_update(
    xp: Namespace,
    parameters: Array,
    gradients: Sequence[Array],
    velocity: Array | None,
    rate: Array,
    scale: Array | None,
    *,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> tuple[Array, Array | None]:
    """As ``nnx.optim.sgd.sgd_update``, in place."""
    numbers = (*_number(parameters, rate), *_number(parameters, scale))
    options = (float(momentum), bool(nesterov), float(weight_decay))
    state = 0 if velocity is None else velocity
    _over_gradients("sgd_update", gradients, parameters, state, *numbers, *options)
    return parameters, velocity


def squared_norm(xp: Namespace, gradients: Sequence[Array]) -> Array:
    """Σ g²: of each block, and of what the blocks have found."""
    gathered = _gathered(xp, gradients)
    dtype = gradients[0].dtype
    blocks = [-(-size // (TILE * TILES)) for size, _, _ in gathered.tables]
    if not blocks:
        return xp.zeros((), dtype=dtype)
    parts = xp.empty(sum(blocks), dtype=summed_in(xp, dtype))
    first = 0
    for n, (_, count, table) in zip(blocks, gathered.tables, strict=True):
        mine = parts if n == parts.size else parts[first : first + n]
        SOURCE("squares_of_parts", dtype)((n,), (THREADS,), (mine, count, table))
        first += n
    result = xp.empty((), dtype=dtype)
    SOURCE("sum_of_parts", dtype)((1,), (min(1024, 32 * -(-first // 32)),), (parts, result, first))
    return result


def sum_squares_forward(xp: Namespace, x: Array) -> Array:
    """As ``squared_norm`` of one array."""
    return squared_norm(xp, [x])


def _over_gradients(kernel: str, gradients: Sequence[Array], parameters: Array, *arguments: Any) -> None:
    """Launch an update, once for each table."""
    update = SOURCE(kernel, parameters.dtype)
    for size, count, table in (gradients if type(gradients) is Gathered else Gathered(gradients)).tables:
        update((-(-size // TILE),), (THREADS,), (parameters, *arguments, count, table))


def _gathered(xp: Namespace, arrays: Sequence[Array]) -> Gathered:
    if type(arrays) is Gathered:
        return arrays
    return Gathered([whole(xp, a) for a in arrays])


def _number(like: Array, value: Any) -> tuple[Any, float]:
    """A rate or a scale as the kernels take it: an array on the device, or a float; ``None`` is 1."""
    if value is None:
        return 0, 1.0
    if isinstance(value, (int, float, np.generic)):
        return 0, float(value)
    return (value if value.dtype == like.dtype else value.astype(like.dtype)), 0.0


KERNELS: dict[str, Kernel] = {
    "adam_update": adam_update,
    "gather_gradients": gather_gradients,
    "sgd_update": sgd_update,
    "squared_norm": squared_norm,
    "sum_squares_forward": sum_squares_forward,
}
