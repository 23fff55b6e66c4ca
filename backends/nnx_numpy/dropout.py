"""Dropout with masks made in place, in chunks that stay in the cache.

The words are those of ``nnx.random.words``, bit for bit: uint32 wraps around as int32 does, and its
shifts need no mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnx._typing import Array, Kernel
from nnx.ops.dropout import drop_threshold
from nnx.random import PARITY, ROTATIONS, ROUNDS

_CHUNK = 1 << 15  # blocks of two words: the working arrays take half a MiB


def dropout_forward(xp: Any, x: Array, key: Array, step: Array, *, rate: float) -> tuple[Array, Array]:
    """Answer y, and keep / (1 - rate) for the adjoint."""
    mask = _scaled_mask(x.size, key, step, rate, x.dtype).reshape(x.shape)
    return x * mask, mask


def _scaled_mask(n: int, key: Array, step: Array, rate: float, dtype: Any) -> Array:
    blocks = (n + 1) // 2
    mask = np.empty((blocks, 2), dtype)
    k0, k1 = (int(word) & 0xFFFFFFFF for word in key)
    keys = np.array((k0, k1, k0 ^ k1 ^ PARITY), np.uint32)
    least = drop_threshold(rate)
    first, scale = keys[1] + step.astype(np.uint32), dtype.type(1 / (1 - rate))
    size = min(blocks, _CHUNK)
    x0, x1, shifted = np.empty(size, np.uint32), np.empty(size, np.uint32), np.empty(size, np.uint32)
    keep = np.empty(size, np.bool_)
    for start in range(0, blocks, _CHUNK):
        m = min(blocks - start, _CHUNK)
        a, b, t, k = x0[:m], x1[:m], shifted[:m], keep[:m]
        a[...] = np.arange(start, start + m, dtype=np.uint32)
        a += keys[0]
        b[...] = first
        _mix(a, b, t, keys)
        for word, column in ((a, 0), (b, 1)):
            np.greater_equal(word.view(np.int32), least, out=k)
            np.multiply(k, scale, out=mask[start : start + m, column])
    return mask.reshape(-1)[:n]


def _mix(x0: Array, x1: Array, shifted: Array, keys: Array) -> None:
    """The rounds of ``nnx.random.threefry2x32``, in place."""
    for i in range(ROUNDS):
        r = ROTATIONS[i % 8]
        x0 += x1
        np.left_shift(x1, r, out=shifted)
        x1 >>= 32 - r
        x1 |= shifted
        x1 ^= x0
        if i % 4 == 3:
            j = i // 4 + 1
            x0 += keys[j % 3]
            x1 += keys[(j + 1) % 3]
            x1 += np.uint32(j)


KERNELS: dict[str, Kernel] = {"dropout_forward": dropout_forward}
