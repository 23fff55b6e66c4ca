"""Batches: which examples, in which order, where, and without needless copies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.data import batches


def arrays(flag, n=10, features=3):
    host = np.arange(n * features, dtype=np.float32).reshape(n, features)
    return host, nnx.asarray(host, device=flag), nnx.asarray(np.arange(n), device=flag)


def joined(found):
    return np.concatenate([nnx.to_numpy(b) for b in found])


def test_in_order(flag):
    host, x, y = arrays(flag)

    found = list(batches(x, y, batch_size=4))

    assert [tuple(xb.shape) for xb, _ in found] == [(4, 3), (4, 3), (2, 3)]
    np.testing.assert_array_equal(joined(xb for xb, _ in found), host)
    np.testing.assert_array_equal(joined(yb for _, yb in found), np.arange(10))
    assert all(nnx.backend.device_of(b) == nnx.device(flag) for pair in found for b in pair)


def test_shuffled_has_each_example_once_with_its_label(flag):
    host, x, y = arrays(flag, n=1000)

    found = list(batches(x, y, batch_size=7, shuffle=True, rng=nnx.Generator(0)))

    labels = joined(yb for _, yb in found)
    assert sorted(labels) == list(range(1000))
    assert list(labels) != list(range(1000))
    np.testing.assert_array_equal(joined(xb for xb, _ in found), host[labels])
    assert all(nnx.backend.device_of(b) == nnx.device(flag) for pair in found for b in pair)


def test_the_order_is_that_of_the_generator_on_every_backend(flag):
    _, x, _ = arrays(flag, n=100, features=1)

    found = joined(b for (b,) in batches(x, batch_size=9, shuffle=True, rng=nnx.Generator(3)))

    np.testing.assert_array_equal(found[:, 0], nnx.Generator(3).permutation(100))


def test_each_pass_has_an_order_of_its_own():
    _, x, _ = arrays("cpu", n=100)
    shuffled = batches(x, batch_size=10, shuffle=True, rng=nnx.Generator(0))

    first, second = (joined(b for (b,) in shuffled) for _ in range(2))

    assert (first != second).any()


def test_without_rng_the_default_generator_shuffles():
    _, x, _ = arrays("cpu", n=100)
    shuffled = batches(x, batch_size=10, shuffle=True)

    nnx.seed(5)
    first = joined(b for (b,) in shuffled)
    nnx.seed(5)
    second = joined(b for (b,) in shuffled)

    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("shuffle", [False, True])
def test_host_batches_move_to_a_device(flag, shuffle):
    host, _, _ = arrays("cpu", n=50)

    moved = list(batches(host, np.arange(50), batch_size=8, shuffle=shuffle, rng=nnx.Generator(1), device=flag))
    stayed = list(batches(host, np.arange(50), batch_size=8, shuffle=shuffle, rng=nnx.Generator(1)))

    assert all(nnx.backend.device_of(b) == nnx.device(flag) for pair in moved for b in pair)
    for (xb, yb), (xh, yh) in zip(moved, stayed, strict=True):
        np.testing.assert_array_equal(nnx.to_numpy(xb), xh)
        np.testing.assert_array_equal(nnx.to_numpy(yb), yh)


def test_arrays_of_two_libraries_are_cut_alike(flag):
    host, x, _ = arrays(flag, n=20)

    for xb, hb in batches(x, host, batch_size=6, shuffle=True):
        np.testing.assert_array_equal(nnx.to_numpy(xb), hb)


def test_in_order_host_batches_share_memory():
    host, _, _ = arrays("cpu")

    assert all(np.shares_memory(b, host) for (b,) in batches(host, batch_size=4))


def test_shuffled_batches_are_new_memory():
    host, _, _ = arrays("cpu")

    assert not any(np.shares_memory(b, host) for (b,) in batches(host, batch_size=4, shuffle=True))


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_memory_map_makes_plain_arrays(tmp_path, shuffle):
    np.save(tmp_path / "x.npy", np.arange(12.0).reshape(6, 2))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")

    found = [b for (b,) in batches(mapped, batch_size=4, shuffle=shuffle)]

    assert all(type(b) is np.ndarray for b in found)
    assert sorted(joined(found).ravel()) == list(range(12))


@given(
    n=st.integers(1, 60), size=st.integers(1, 70), shuffle=st.booleans(), drop_last=st.booleans(), wide=st.booleans()
)
def test_lengths(n, size, shuffle, drop_last, wide):
    x = np.zeros((n, 40_000 if wide else 1), dtype=np.uint8)
    if drop_last and size > n:
        with pytest.raises(nnx.ShapeError, match="drop_last"):
            batches(x, batch_size=size, drop_last=True)
        return
    made = batches(x, batch_size=size, shuffle=shuffle, drop_last=drop_last)

    lengths = [len(b) for (b,) in made]

    whole, rest = divmod(n, size)
    assert lengths == [size] * whole + ([rest] if rest and not drop_last else [])
    assert len(made) == len(lengths)


def test_drop_last_drops_others_at_each_shuffled_pass():
    shuffled = batches(np.arange(10), batch_size=4, shuffle=True, drop_last=True, rng=nnx.Generator(0))

    passes = [frozenset(joined(b for (b,) in shuffled)) for _ in range(20)]

    assert all(len(p) == 8 for p in passes)
    assert len(set(passes)) > 1


def test_batches_with_no_features_and_of_booleans(flag):
    x = nnx.asarray(np.zeros((5, 0), np.float32), device=flag)
    mask = nnx.asarray(np.array([True, False, True, True, False]), device=flag)

    found = list(batches(x, mask, batch_size=2, shuffle=True, rng=nnx.Generator(0)))

    assert [tuple(xb.shape) for xb, _ in found] == [(2, 0), (2, 0), (1, 0)]
    assert sum(nnx.to_numpy(m).sum() for _, m in found) == 3


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "4", None])
def test_bad_batch_size(size):
    with pytest.raises(nnx.ArgumentError, match=r"batch_size must be a positive integer, got"):
        batches(np.zeros((4, 2)), batch_size=size)


def test_batch_size_may_be_a_numpy_integer():
    assert len(batches(np.zeros((4, 2)), batch_size=np.int64(3))) == 2


def test_lengths_that_differ_are_named():
    with pytest.raises(nnx.ShapeError, match="lengths 4, 5"):
        batches(np.zeros((4, 2)), np.zeros(5), batch_size=2)


def test_empty_data():
    with pytest.raises(nnx.ShapeError, match=r"at least one example .* \(0, 2\)"):
        batches(np.zeros((0, 2)), batch_size=2)


def test_no_arrays():
    with pytest.raises(nnx.ArgumentError, match="at least one array"):
        batches(batch_size=2)


def test_an_array_without_axes():
    with pytest.raises(nnx.ShapeError, match=r"\(examples, ...\)"):
        batches(np.float32(1.0), batch_size=2)


def test_a_list_is_no_array():
    with pytest.raises(nnx.MixedLibrariesError, match=r"got list: make one with nnx.asarray"):
        batches([1, 2, 3], batch_size=2)


def test_text():
    assert repr(batches(np.zeros((5, 2)), np.zeros(5), batch_size=2, device="cpu")) == (
        "<3 batches of 2 from arrays of shape (5, 2), (5,) on cpu>"
    )
