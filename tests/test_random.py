"""Random numbers: known answers, statistics, and streams that never change."""

from __future__ import annotations

import itertools
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx import random
from nnx.random import Generator, threefry2x32, words


def signed(word):
    return word - (1 << 32) if word >> 31 else word


# The known answers of Random123 (kat_vectors), and those for 13 rounds of the same code.
KNOWN = [
    (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    (20, (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    (20, (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
]


@pytest.mark.parametrize(("rounds", "key", "counter", "expected"), KNOWN)
def test_threefry_known_answers(rounds, key, counter, expected, make, xp):
    a, b = ([make([signed(word)], "int32") for word in pair] for pair in (key, counter))
    x0, x1 = threefry2x32(xp, tuple(a), tuple(b), rounds=rounds)
    assert [int(nnx.to_numpy(x)[0]) & 0xFFFFFFFF for x in (x0, x1)] == list(expected)


def test_words_are_the_same_on_every_backend(make, device, xp):
    """And for ever: everything that is drawn is made of them."""
    drawn = words(xp, make([12345, -678], "int32"), make([0], "int32"), 5, device=device.native)
    assert nnx.to_numpy(drawn).tolist() == [-905744827, 1445986907, 1305125219, -1554314169, 1630531569]


def test_a_stream_never_changes():
    """These numbers are what a seed means: if they change, so does every program that sets one."""
    rng = Generator(2026)
    np.testing.assert_array_equal(rng.uniform((3,)), [0.02308552840258926, 0.23990992887411267, 0.4404389568371698])
    np.testing.assert_allclose(rng.normal((3,)), [0.61908530161034, 1.98925916784282, -0.34910799691059], rtol=1e-13)
    assert rng.permutation(8).tolist() == [0, 7, 2, 6, 5, 4, 3, 1]
    assert rng.spawn_key() == (-1904414581, -1292513611)
    np.testing.assert_array_equal(rng.spawn().uniform((2,)), [0.23912157176528126, 0.7576240500202402])


def test_the_same_seed_gives_the_same_numbers_and_another_does_not():
    draws = [Generator(seed).uniform((100,)) for seed in (1, 1, 2)]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).all()


def test_all_64_bits_of_a_seed_count():
    seeds = [0, 1, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1, (1 << 32) - 1]
    assert len({float(Generator(seed).uniform(())) for seed in seeds}) == len(seeds)
    assert Generator(-1).uniform(()) == Generator((1 << 64) - 1).uniform(())  # the same 64 bits


@pytest.mark.parametrize("seed", [1 << 64, -(1 << 63) - 1, 1.5, "7", True, None])
def test_what_is_no_seed(seed):
    with pytest.raises(nnx.ArgumentError, match="a seed is an integer of at most 64 bits"):
        Generator(seed)


def distance(sample, cdf):
    """The statistic of Kolmogorov and Smirnov, scaled: above 2.2 once in 8,000 samples."""
    x = np.sort(sample.ravel())
    i = np.arange(1, x.size + 1)
    expected = cdf(x)
    return math.sqrt(x.size) * max((i / x.size - expected).max(), (expected - (i - 1) / x.size).max())


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_uniform_is_uniform(seed):
    x = Generator(seed).uniform((200, 100), -2.0, 3.0)
    assert x.shape == (200, 100)
    assert x.dtype == "float64"
    assert (x > -2).all()
    assert (x < 3).all()
    assert distance(x, lambda v: (v + 2) / 5) < 2.2


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_normal_is_normal(seed):
    x = Generator(seed).normal((200, 101), 1.0, 2.0)
    assert x.shape == (200, 101)
    assert distance(x, np.vectorize(lambda v: 0.5 * math.erfc((1 - v) / 2 / math.sqrt(2)))) < 2.2
    pairs = (x.ravel()[: x.size // 2] - 1) * (x.ravel()[x.size // 2 :] - 1)  # two of one transform are uncorrelated
    assert abs(pairs.mean()) < 4.5 * 4 / math.sqrt(pairs.size)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 0)])
def test_any_shape(shape):
    for draw in (Generator(0).uniform, Generator(0).normal):
        assert draw(shape).shape == shape


@given(n=st.integers(0, 300), seed=st.integers(0, 2**64 - 1))
def test_a_permutation_has_every_number_once(n, seed):
    order = Generator(seed).permutation(n)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


@pytest.mark.parametrize("n", [2, 1000])
def test_of_equal_keys_of_a_permutation_the_smaller_number_comes_first(n, monkeypatch):
    words = np.random.default_rng(0).integers(-2, 2, 2 * n).astype(np.int32)
    words[:2], words[n : n + 2] = -2, -2  # equal and least
    monkeypatch.setattr(Generator, "_words", lambda self, count: (nnx.namespace_of(words), words))

    order = Generator(0).permutation(n)

    keys = [(int(high) << 32) ^ int(low) for high, low in zip(words[:n], words[n:], strict=True)]
    assert order.tolist() == sorted(range(n), key=keys.__getitem__)


def test_all_orders_are_equally_likely():
    rng, n = Generator(0), 6000
    counts = dict.fromkeys(itertools.permutations(range(3)), 0)
    for _ in range(n):
        counts[tuple(rng.permutation(3).tolist())] += 1
    chi_square = sum((count - n / 6) ** 2 / (n / 6) for count in counts.values())
    assert chi_square < 25.7  # five degrees of freedom: above it once in 10,000


def test_draws_do_not_repeat():
    rng = Generator(0)
    draws = np.concatenate([rng.uniform((50,)), rng.uniform((50,)), rng.spawn().uniform((50,)), rng.uniform((50,))])
    assert len(set(draws.tolist())) == 200


def test_spawned_streams_are_independent():
    rng = Generator(7)
    streams = [rng, rng.spawn(), rng.spawn(), rng.spawn().spawn(), Generator(8)]
    draws = np.stack([stream.normal((4000,)) for stream in streams])
    correlations = np.corrcoef(draws)[np.triu_indices(len(streams), 1)]
    assert (abs(correlations) < 4.5 / math.sqrt(4000)).all()


def test_spawning_leaves_the_draws_alone():
    a, b = Generator(3), Generator(3)
    a.spawn()
    assert (a.uniform((5,)) == b.uniform((5,))).all()
    b.spawn()
    assert (a.spawn().uniform((5,)) == b.spawn().uniform((5,))).all()


def test_the_default_generator():
    nnx.seed(5)
    first = nnx.init.uniform((4,))
    second = nnx.init.uniform((4,))
    nnx.seed(5)
    np.testing.assert_array_equal(nnx.init.uniform((4,)), first)
    assert (first != second).any()
    np.testing.assert_array_equal(nnx.init.uniform((4,), rng=Generator(5)), first)


def test_without_a_seed_the_default_generator_is_of_its_own(monkeypatch):
    def fresh():
        monkeypatch.setattr(random, "_default", None)
        return float(random.default_generator().uniform(()))

    assert fresh() != fresh()


def test_threads_share_a_generator_without_drawing_a_number_twice():
    rng, found = Generator(0), []

    def draw():
        found.extend(float(rng.uniform(())) for _ in range(200))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(float(rng.uniform(())) for rng in [Generator(0)] for _ in range(800))


def test_text():
    assert repr(Generator(7)) == "nnx.Generator(7)"
    assert "nnx.Generator(7)" in repr(Generator(7).spawn())


def test_a_seed_of_numpy_is_a_seed():
    assert Generator(np.int64(7)).uniform(()) == Generator(7).uniform(())
    assert repr(Generator(np.uint8(7))) == "nnx.Generator(7)"


@pytest.mark.parametrize("shape", [3, (-1,), (2.0,), (2, None)])
@pytest.mark.parametrize("draw", [Generator.uniform, Generator.normal])
def test_what_is_no_shape(draw, shape):
    with pytest.raises(nnx.ShapeError, match="a shape is a tuple of integers of 0 or more"):
        draw(Generator(0), shape)


def test_a_permutation_of_less_than_nothing():
    with pytest.raises(nnx.ArgumentError, match="0 or more numbers was expected, got -1"):
        Generator(0).permutation(-1)
