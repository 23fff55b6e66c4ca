"""Random numbers that are the same on every backend, bit for bit.

The generator is counter-based: Threefry-2x32 (Salmon, Moraes, Dror and Shaw, "Parallel random
numbers: as easy as 1, 2, 3", SC11, 2011), a keyed function from a counter of two words to two random
words. Nothing is carried from one number to the next, so a mask can be made on a GPU, element by
element, and equal the one made on the CPU. It adds, rotates and xors int32, the only integer type
whose operations agree on all array libraries.

The key belongs to a stream; the counter is (block, step), where each draw of a stream is a step, and
each block gives the words of two elements. Floats are made on the host alone, in float64: logarithms
and cosines differ between libraries.
"""

from __future__ import annotations

import math
import operator
import os
import threading
from collections.abc import Sequence
from typing import Any

from nnx._errors import ArgumentError, ShapeError
from nnx._recording import recorder, recorders
from nnx._typing import Array, Namespace
from nnx.backend import HOST, load_backend, load_namespace

ROUNDS = 13
"""The fewest rounds that its authors found to pass every test of BigCrush, with one to spare."""

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = 0x1BD11BDA
_SPAWN = -1  # the step of the counters that make keys; draws have steps from 0


def _signed(word: int) -> int:
    """A 32-bit word as the int32 of the same bits."""
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >= 1 << 31 else word


def threefry2x32(
    xp: Namespace, key: tuple[Any, Any], counter: tuple[Array, Array], *, rounds: int = ROUNDS
) -> tuple[Array, Array]:
    """Encrypt counters: two random words for each.

    Args:
        xp: the namespace of the counters.
        key: two int32 arrays that broadcast against the counters; at least one axis each.
        counter: two int32 arrays of one shape; at least one axis.
        rounds: how many times the words are mixed.

    Returns:
        Two int32 arrays of the counters' shape.
    """
    k0, k1 = key
    schedule = (k0, k1, k0 ^ k1 ^ PARITY)
    x0, x1 = counter[0] + k0, counter[1] + k1
    for i in range(rounds):
        r = ROTATIONS[i % 8]
        x0 = x0 + x1
        x1 = ((x1 << r) | ((x1 >> (32 - r)) & ((1 << r) - 1))) ^ x0
        if i % 4 == 3:  # inject the key
            j = i // 4 + 1
            x0 = x0 + schedule[j % 3]
            x1 = x1 + schedule[(j + 1) % 3] + j
    return x0, x1


def words(xp: Namespace, key: Array, step: Array, n: int, *, device: Any = None) -> Array:
    """``n`` random words of a stream's step. A longer draw of the same step begins with a shorter one.

    Args:
        xp: the namespace of ``key`` and ``step``.
        key: int32, shape (2,).
        step: int32, shape (1,).
        n: how many words.
        device: where to make them.

    Returns:
        int32, shape (n,).
    """
    block = xp.arange((n + 1) // 2, dtype=xp.int32, device=device)
    x0, x1 = threefry2x32(xp, (key[0:1], key[1:2]), (block, xp.zeros_like(block) + step))
    return xp.reshape(xp.stack([x0, x1], axis=1), (-1,))[:n]


class Generator:
    """Random numbers for initial weights, shuffles and seeds; made on the host.

    Two generators of the same seed give the same numbers, whatever the device, library or platform.
    A generator may be shared by threads; their order of drawing then decides who gets what.

    Args:
        seed: any integer of up to 64 bits.
    """

    def __init__(self, seed: int) -> None:
        try:
            n = operator.index(seed)
        except TypeError:
            n = 1 << 64
        if isinstance(seed, bool) or not -(1 << 63) <= n < 1 << 64:
            raise ArgumentError(f"a seed is an integer of at most 64 bits, got {seed!r}")
        self._begin((_signed(n), _signed(n >> 32)))
        self._description = f"nnx.Generator({n})"

    def _begin(self, key: tuple[int, int]) -> None:
        self._key = key
        self._draws = 0
        self._spawned = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return self._description

    def spawn(self) -> Generator:
        """A generator of its own stream, independent of this one and of all that it spawns."""
        key = self.spawn_key()
        child = Generator.__new__(Generator)
        child._begin(key)
        child._description = f"<stream {key} of {self._description}>"
        return child

    def spawn_key(self) -> tuple[int, int]:
        """The key of a new stream: two int32 words."""
        with self._lock:
            self._spawned += 1
            n = self._spawned
        xp, key = self._host()
        counter = xp.asarray([_signed(n)], dtype=xp.int32), xp.asarray([_SPAWN], dtype=xp.int32)
        a, b = threefry2x32(xp, (key[0:1], key[1:2]), counter)
        return int(a[0]), int(b[0])

    def _host(self) -> tuple[Namespace, Array]:
        if recorders and (recording := recorder()):
            recording.note("numbers drawn from an nnx.Generator")
        xp = load_namespace(load_backend(HOST))
        return xp, xp.asarray(self._key, dtype=xp.int32)

    def _words(self, n: int) -> tuple[Namespace, Array]:
        with self._lock:
            step = self._draws
            self._draws += 1
        xp, key = self._host()
        return xp, words(xp, key, xp.asarray([_signed(step)], dtype=xp.int32), n)

    def _unit(self, n: int) -> tuple[Namespace, Array]:
        """``n`` float64 in the open interval (0, 1), from 32 bits each."""
        xp, bits = self._words(n)
        return xp, (xp.astype(bits, xp.float64) + (2.0**31 + 0.5)) * 2.0**-32

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Array:
        """Independent draws from the open interval (low, high): a float64 NumPy array."""
        xp, unit = self._unit(elements_of(shape))
        return xp.reshape(low + (high - low) * unit, shape)

    def normal(self, shape: tuple[int, ...], mean: float = 0.0, std: float = 1.0) -> Array:
        """Independent draws from a normal distribution: a float64 NumPy array.

        By the transform of Box and Muller ("A note on the generation of random normal deviates",
        Annals of Mathematical Statistics 29, 1958): z = sqrt(-2 ln u1) cos(2π u2).
        """
        n = elements_of(shape)
        half = (n + 1) // 2
        xp, unit = self._unit(2 * half)
        radius, angle = xp.sqrt(-2.0 * xp.log(unit[:half])), (2 * math.pi) * unit[half:]
        z = xp.concat([radius * xp.cos(angle), radius * xp.sin(angle)])[:n]
        return xp.reshape(mean + std * z, shape)

    def permutation(self, n: int) -> Array:
        """The numbers 0 … n-1 in random order: an int64 NumPy array.

        They are sorted by random keys of 64 bits, so all orders are equally likely up to the chance,
        below n² / 2⁶⁵, that two keys are equal; the smaller number is then first.
        """
        if n < 0:
            raise ArgumentError(f"a permutation of 0 or more numbers was expected, got {n}")
        xp, bits = self._words(2 * n)
        pairs = xp.astype(bits, xp.int64)
        keys = (pairs[:n] << 32) ^ pairs[n:]
        order = xp.argsort(keys, stable=False)  # five times as fast, and the same where no two keys are equal
        ascending = xp.take(keys, order)
        return xp.argsort(keys, stable=True) if xp.any(ascending[1:] == ascending[:-1]) else order


def elements_of(shape: Sequence[int]) -> int:
    """How many elements an array of that shape has."""
    try:
        lengths = [operator.index(n) for n in shape]
    except TypeError:
        lengths = [-1]
    if any(n < 0 for n in lengths):
        raise ShapeError(f"a shape is a tuple of integers of 0 or more, such as (3, 2), got {shape!r}")
    return math.prod(lengths)


_default: Generator | None = None
_default_lock = threading.Lock()


def seed(n: int) -> None:
    """Set the default generator, which serves every random part that got no ``rng`` of its own.

    Without it the default generator differs from run to run.
    """
    global _default
    with _default_lock:
        _default = Generator(n)


def default_generator() -> Generator:
    """The default generator."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Generator(int.from_bytes(os.urandom(8), "big"))
        return _default


def generator_of(rng: Generator | None) -> Generator:
    """``rng``, or the default generator for ``None``; ``ArgumentError`` if it is neither."""
    if rng is None:
        return default_generator()
    if not isinstance(rng, Generator):
        raise ArgumentError(f"rng is an nnx.Generator, or None for the default one, got {rng!r}: try nnx.Generator(0)")
    return rng
