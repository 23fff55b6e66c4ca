"""How a loop that treats each element alone is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnx._typing import Array
from nnx_numpy.compiled._loop import served
from nnx_numpy.compiled._threads import spread

PART = 1 << 19
LARGE = 2 * PART  # elements from which a second thread saves time


def fit(*arrays: Array) -> bool:
    """Whether loops take these arrays: of one dtype that is theirs, one shape, and not of none."""
    first = arrays[0]
    if first.ndim == 0 or not served(first.dtype, *arrays):
        return False
    return len(arrays) == 1 or first.shape == arrays[1].shape


def elementwise(loop: Callable[..., None], *arrays: Array, options: tuple[Any, ...] = ()) -> Array:
    """A new array, which ``loop(*arrays, new, *options)`` fills.

    The loop gets arrays of one or two axes, and flattens these. From ``LARGE`` elements on, threads share the work.
    """
    new = np.empty_like(arrays[0], subok=False)
    if new.size < LARGE:
        if new.ndim <= 2:
            loop(*arrays, new, *options)
        else:
            loop(*(a.reshape(-1) for a in arrays), new.reshape(-1), *options)
    else:
        flat = [a.reshape(-1) for a in (*arrays, new)]
        spread(lambda i, j: loop(*(a[i:j] for a in flat), *options), new.size, PART)
    return new
