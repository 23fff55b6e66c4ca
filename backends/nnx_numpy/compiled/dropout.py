"""Dropout in one pass over memory: the random words are made in chunks that stay in the cache.

They are those of ``nnx.random.words``, bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from nnx._typing import Array, Kernel
from nnx.ops.dropout import drop_threshold
from nnx.random import PARITY, ROTATIONS
from nnx_numpy import dropout as native
from nnx_numpy.compiled._loop import loop, served
from nnx_numpy.compiled._threads import spread

CHUNK = 1024  # words that are made before they are used; an even number
PART = 1 << 18  # elements, an even number
LARGE = 2 * PART  # elements from which a second thread saves time
INT32 = np.dtype(np.int32)
WORD = np.uint32
inlined = register_jitable(forceinline=True)


def dropout_forward(xp: Any, x: Array, key: Array, step: Array, *, rate: float) -> tuple[Array, Array]:
    """Answer y, and keep / (1 - rate) for the adjoint."""
    if x.ndim == 0 or key.dtype != INT32 or step.dtype != INT32 or not served(x.dtype, x):
        return native.dropout_forward(xp, x, key, step, rate=rate)
    least, scale = drop_threshold(rate), 1 / (1 - rate)
    k0, k1, count = int(key[0]), int(key[1]), int(step[0])
    y, mask = np.empty_like(x, subok=False), np.empty_like(x, subok=False)
    a, b, c = (x, y, mask) if x.ndim <= 2 else (x.reshape(-1), y.reshape(-1), mask.reshape(-1))
    if x.size < LARGE:
        _dropout(a, k0, k1, count, 0, least, scale, b, c)
    else:
        a, b, c = a.reshape(-1), b.reshape(-1), c.reshape(-1)
        spread(
            lambda i, j: _dropout(a[i:j], k0, k1, count, i // 2, least, scale, b[i:j], c[i:j]),
            x.size,
            PART,
        )
    return y, mask


@loop
def _dropout(
    x: Array, k0: int, k1: int, count: int, first: int, least: int, scale: float, y: Array, mask: Array
) -> None:
    """Drop elements of ``x``, of which the first is the first of block ``first``."""
    a, b, c = x.reshape(x.size), y.reshape(y.size), mask.reshape(mask.size)
    keep, drop, threshold = x.dtype.type(scale), x.dtype.type(0), np.int32(least)
    words = np.empty(min(a.size + 1, CHUNK), np.int32)
    for start in range(0, a.size, CHUNK):
        d, e, f = a[start : start + CHUNK], b[start : start + CHUNK], c[start : start + CHUNK]
        block = first + start // 2
        for i in range((d.size + 1) // 2):
            w0, w1 = _words(block + i, count, k0, k1)
            words[2 * i], words[2 * i + 1] = np.int32(w0), np.int32(w1)
        for i in range(d.size):
            factor = keep if words[i] >= threshold else drop
            e[i], f[i] = d[i] * factor, factor


@inlined
def _words(block: int, count: int, k0: int, k1: int) -> tuple[Any, Any]:
    """The two words of a block (``nnx.random.threefry2x32``). Numba widens what it adds: each sum is cut to 32 bits.

    The rounds are written out, since LLVM unrolls their loop on some processors only, and vectorises no loop in it.
    """
    a, b, c = WORD(k0), WORD(k1), WORD(k0 ^ k1 ^ PARITY)
    x0, x1 = WORD(WORD(block) + a), WORD(WORD(count) + b)
    x0, x1 = _four_rounds(x0, x1, *ROTATIONS[:4])
    x0, x1 = WORD(x0 + b), WORD(x1 + c + WORD(1))
    x0, x1 = _four_rounds(x0, x1, *ROTATIONS[4:])
    x0, x1 = WORD(x0 + c), WORD(x1 + a + WORD(2))
    x0, x1 = _four_rounds(x0, x1, *ROTATIONS[:4])
    x0, x1 = WORD(x0 + a), WORD(x1 + b + WORD(3))
    return _round(x0, x1, ROTATIONS[4])


@inlined
def _four_rounds(x0: Any, x1: Any, r0: int, r1: int, r2: int, r3: int) -> tuple[Any, Any]:
    x0, x1 = _round(x0, x1, r0)
    x0, x1 = _round(x0, x1, r1)
    x0, x1 = _round(x0, x1, r2)
    return _round(x0, x1, r3)


@inlined
def _round(x0: Any, x1: Any, r: int) -> tuple[Any, Any]:
    x0 = WORD(x0 + x1)
    return x0, WORD(WORD(WORD(x1 << WORD(r)) | WORD(x1 >> WORD(32 - r))) ^ x0)


KERNELS: dict[str, Kernel] = {"dropout_forward": dropout_forward}
