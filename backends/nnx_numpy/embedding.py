"""NumPy kernels of the adjoints of ``nnx.ops.embedding``, and of reading rows in general."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from nnx._typing import Array, Kernel


def embedding_weight(xp: Any, g: Array, weight_shape: tuple[int, ...], ids: Array) -> Array:
    """Add element by element, in order: for rows, ``numpy.add.at`` takes six times as long."""
    rows, features = weight_shape
    found = np.zeros(rows * features, np.float32 if g.dtype.char == "e" else g.dtype)
    places = ids.reshape(-1, 1).astype(np.intp, copy=False) * features + np.arange(features, dtype=np.intp)
    np.add.at(found, places.reshape(prod(places.shape)), g.reshape(prod(g.shape)))
    return found.reshape(rows, features).astype(g.dtype, copy=False)


def summed_rows(xp: Any, g: Array, n: int, index: Array) -> Array:
    """Copy the rows where none is read twice; else as ``embedding_weight``."""
    features = g.shape[1:]
    places = index.astype(np.intp, copy=False)
    seen = np.zeros(n, np.bool_)
    seen[places] = True
    if np.count_nonzero(seen) < places.size:
        return embedding_weight(xp, g, (n, prod(features)), places).reshape(n, *features)
    found = np.zeros((n, *features), g.dtype)
    found[places] = g
    return found


KERNELS: dict[str, Kernel] = {"embedding_weight": embedding_weight, "summed_rows": summed_rows}
