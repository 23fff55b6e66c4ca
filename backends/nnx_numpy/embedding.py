"""NumPy kernel of the adjoint of ``nnx.ops.embedding``."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from nnx._typing import Array, Kernel


def embedding_weight(xp: Any, g: Array, weight_shape: tuple[int, ...], ids: Array) -> Array:
    """Add element by element, in order: for rows, ``numpy.add.at`` takes six times as long."""
    rows, features = weight_shape
    found = np.zeros(rows * features, g.dtype)
    places = ids.reshape(-1, 1).astype(np.intp, copy=False) * features + np.arange(features, dtype=np.intp)
    np.add.at(found, places.reshape(prod(places.shape)), g.reshape(prod(g.shape)))
    return found.reshape(rows, features)


KERNELS: dict[str, Kernel] = {"embedding_weight": embedding_weight}
