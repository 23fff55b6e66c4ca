"""Batches of host arrays on the GPU: moved there whole where they are small, else copied one ahead of their use."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import nnx
from nnx.data import batches as make_batches
from nnx.data.batches import GATHER_BYTES
from nnx.train.feed import Feed
from nnx_cupy import feed, staging

# the package has a function of the module's name
BATCHES = "nnx.data.batches"

N = 23
X = np.random.default_rng(0).standard_normal((N, 3)).astype(np.float32)
Y = np.arange(N)


@pytest.fixture
def streamed(monkeypatch):
    """As if no data fitted on the device."""
    import sys

    monkeypatch.setattr(sys.modules[BATCHES], "RESIDENT", 0.0)


def values(batches):
    return [tuple(nnx.to_numpy(array) for array in batch) for batch in batches]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


class TestData:
    @pytest.mark.parametrize("shuffle", [False, True])
    @pytest.mark.parametrize("drop_last", [False, True])
    @pytest.mark.parametrize("batch_size", [1, 4, 23, 50])
    @pytest.mark.parametrize("fits", [False, True])
    def test_batches_are_those_of_the_host(self, gpu, request, shuffle, drop_last, batch_size, fits):
        if not fits:
            request.getfixturevalue("streamed")
        if drop_last and batch_size > N:
            pytest.skip("no batch is left")
        options = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last}
        ours = make_batches(X, Y, device=gpu, rng=nnx.Generator(1), **options)
        theirs = make_batches(X, Y, rng=nnx.Generator(1), **options)
        for _ in range(2):
            assert_same(values(ours), values(theirs))
        assert ours.resident is fits
        assert all(nnx.backend.device_of(array) == gpu for batch in ours for array in batch)

    def test_large_batches_are_gathered_one_by_one(self, gpu, streamed):
        x = np.random.default_rng(1).standard_normal((10, GATHER_BYTES // 4)).astype(np.float32)
        ours = make_batches(x, batch_size=3, shuffle=True, rng=nnx.Generator(1), device=gpu)
        assert_same(values(ours), values(make_batches(x, batch_size=3, shuffle=True, rng=nnx.Generator(1))))

    @pytest.mark.parametrize("fits", [False, True])
    def test_some_arrays_lie_there_already(self, gpu, request, fits):
        if not fits:
            request.getfixturevalue("streamed")
        options = {"batch_size": 4, "shuffle": True, "rng": nnx.Generator(1)}
        ours = make_batches(X, nnx.asarray(Y, device=gpu), X[:, 0], device=gpu, **options)
        theirs = make_batches(X, Y, X[:, 0], **(options | {"rng": nnx.Generator(1)}))
        assert_same(values(ours), values(theirs))

    def test_other_dtypes_and_layouts(self, gpu, streamed):
        for x in (X.T.copy().T, X[::-1], X.astype(">f4"), X > 0, X.astype(np.complex64), X[:, :0]):
            options = {"batch_size": 5, "shuffle": True}
            found = values(make_batches(x, device=gpu, rng=nnx.Generator(1), **options))
            expected = [
                (a.astype(a.dtype.newbyteorder("=")),) for (a,) in make_batches(x, rng=nnx.Generator(1), **options)
            ]
            assert_same(found, expected)

    def test_an_array_that_is_given_twice_is_moved_once(self, gpu):
        ours = make_batches(X, X, batch_size=4, device=gpu, fixed=True)
        values(ours)
        first, second = ours._sources
        assert first.array is second.array

    @pytest.mark.parametrize("fits", [False, True])
    def test_changes_between_passes_are_seen(self, gpu, request, fits):
        if not fits:
            request.getfixturevalue("streamed")
        x = X.copy()
        ours = make_batches(x, batch_size=4, device=gpu)
        for _ in range(3):
            assert_same(values(ours), values(make_batches(x, batch_size=4)))
            x *= 2

    def test_fixed_data_is_moved_once(self, gpu):
        ours = make_batches(X, Y, batch_size=4, shuffle=True, rng=nnx.Generator(1), device=gpu, fixed=True)
        theirs = make_batches(X, Y, batch_size=4, shuffle=True, rng=nnx.Generator(1))
        assert_same(values(ours), values(theirs))
        there = [source.array for source in ours._sources]
        assert_same(values(ours), values(theirs))
        assert ours.resident
        assert all(a is source.array for a, source in zip(there, ours._sources, strict=True))

    def test_passes_side_by_side(self, gpu):
        """A later pass sees a change, one that is under way does not."""
        x = X.copy()
        ours = make_batches(x, batch_size=4, device=gpu)
        first = iter(ours)
        next(first)
        x += 100
        later = [tuple(map(nnx.to_numpy, batch)) for batch in ours]
        assert_same(later, values(make_batches(x, batch_size=4)))
        rest = [tuple(map(nnx.to_numpy, batch)) for batch in first]
        assert_same(rest, values(make_batches(X, batch_size=4))[1:])

    def test_a_memory_map_is_not_read_whole(self, gpu, tmp_path):
        np.save(tmp_path / "x.npy", X)
        ours = make_batches(np.load(tmp_path / "x.npy", mmap_mode="r"), batch_size=4, device=gpu)
        assert_same(values(ours), values(make_batches(X, batch_size=4)))
        assert not ours.resident

    def test_data_that_would_take_too_much_memory_stays_on_the_host(self, gpu):
        import cupy

        pool = cupy.get_default_memory_pool()
        x = np.zeros((100, 1000), np.float32)
        with gpu:
            pool.free_all_blocks()
            try:
                pool.set_limit(size=pool.used_bytes() + 3 * x.nbytes)
                ours = make_batches(x, batch_size=10, device=gpu)
                next(iter(ours))
                assert not ours.resident
                pool.set_limit(size=pool.used_bytes() + 6 * x.nbytes)
                next(iter(ours))
                assert ours.resident
            finally:
                pool.set_limit(size=0)

    def test_free_memory_in_pieces(self, gpu, monkeypatch):
        """What should have fitted does not: then it is streamed."""
        import sys

        def fails(*args, **options):
            raise nnx.OutOfMemoryError("in pieces")

        monkeypatch.setattr(sys.modules[BATCHES], "asarray", fails)
        ours = make_batches(X, batch_size=4, device=gpu)
        assert_same(values(ours), values(make_batches(X, batch_size=4)))
        assert not ours.resident


class TestStream:
    def test_batches_may_be_kept(self, gpu, streamed):
        """Their memory is not that of later batches."""
        kept = list(make_batches(X, Y, batch_size=2, device=gpu))
        assert_same(values(kept), values(make_batches(X, Y, batch_size=2)))

    def test_the_host_array_may_be_changed_when_the_next_batch_is_asked_for(self, gpu):
        def source():
            buffer = np.empty((2, 2), np.float32)
            for i in range(4):
                buffer[...] = i
                yield [(buffer, slice(None))]

        found = [nnx.to_numpy(x) for (x,) in feed.prefetch(source(), gpu.native)]
        assert [x[0, 0] for x in found] == [0, 1, 2, 3]

    def test_it_reads_one_batch_ahead(self, gpu):
        read = []

        def source():
            for i in range(4):
                read.append(i)
                yield [(X[i : i + 1], slice(None))]

        ahead = feed.prefetch(source(), gpu.native)
        assert read == []
        next(ahead)
        assert read == [0, 1]
        next(ahead)
        assert read == [0, 1, 2]

    def test_an_exception_comes_behind_the_batch_before_it(self, gpu):
        def source():
            yield [(X, slice(0, 2))]
            yield [(X, slice(2, 4))]
            raise RuntimeError("the file has ended")

        ahead = feed.prefetch(source(), gpu.native)
        next(ahead)
        (second,) = next(ahead)
        np.testing.assert_array_equal(nnx.to_numpy(second), X[2:4])
        with pytest.raises(RuntimeError, match="the file has ended"):
            next(ahead)

    def test_what_is_given_up_is_waited_for_by_the_gpu(self, gpu):
        """The memory of a batch that nobody fetched goes back to the pool behind its copy."""
        ahead = feed.prefetch(iter([[(X, slice(i, i + 2))] for i in range(6)]), gpu.native)
        next(ahead)
        ahead.close()
        gpu.backend.synchronize(gpu.native)
        staging.release()
        staging.release()  # the twin says that an event is done when it is asked again
        gc.collect()
        assert not staging._kept

    def test_nothing(self, gpu):
        assert list(feed.prefetch(iter([]), gpu.native)) == []

    @pytest.mark.parametrize("given_up", [False, True])
    def test_the_order_of_streams(self, gpu, monkeypatch, given_up):
        """The copy waits for what computes, which the memory may have come from, and what computes for the copy."""
        import cupy

        told = []

        class Event:
            done = True

            def __init__(self, disable_timing):
                assert disable_timing

            def record(self, stream):
                told.append(("recorded", stream, self))

        class Stream(cupy.cuda.Stream):
            def wait_event(self, event):
                told.append(("waits", self, event))

        with gpu:
            compute = Stream(non_blocking=True)
            monkeypatch.setattr(cupy.cuda, "Stream", Stream)
            monkeypatch.setattr(cupy.cuda, "Event", Event)
            monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: compute)
            ahead = feed.prefetch(iter([[(X, slice(0, 2))], [(X, slice(2, 4))]]), gpu.native)
            next(ahead)
            if given_up:
                ahead.close()
            else:
                next(ahead)

        assert [(what, stream is compute) for what, stream, _ in told] == [
            *[("recorded", True), ("waits", False), ("recorded", False)] * 2,
            *[("waits", True)] * 2,
        ]
        events = [event for _, _, event in told]
        assert events[0] is events[1]
        assert events[3] is events[4]
        assert events[6:] == [events[2], events[5]]

    def test_without_page_locked_memory(self, gpu, streamed, monkeypatch):
        monkeypatch.setattr(staging, "pinned", lambda shape, dtype: None)
        options = {"batch_size": 4, "shuffle": True}
        ours = make_batches(X, Y, device=gpu, rng=nnx.Generator(1), **options)
        assert_same(values(ours), values(make_batches(X, Y, rng=nnx.Generator(1), **options)))

    def test_the_host_does_not_wait(self, gpu, streamed):
        cupy = pytest.importorskip("cupy")
        if not hasattr(cupy, "twin"):
            pytest.skip("a GPU does not count")
        ours = make_batches(X, Y, batch_size=2, shuffle=True, device=gpu)
        with cupy.twin.synchronisations() as waits:
            for _ in ours:
                pass
        assert len(waits) == 0, waits

    def test_batches_on_a_gpu_that_is_not_current(self, gpu, streamed):
        import cupy

        if len(gpu.backend.devices()) < 2:
            pytest.skip("there is one GPU")
        with cupy.cuda.Device(0):
            for batch in make_batches(X, Y, batch_size=4, device="cuda:1"):
                assert cupy.cuda.runtime.getDevice() == 0
                assert {str(nnx.backend.device_of(array)) for array in batch} == {"cuda:1"}


class TestFeed:
    def test_an_iterable_of_host_batches(self, gpu):
        pairs = [(X[i : i + 5], Y[i : i + 5]) for i in range(0, N, 5)]
        found = Feed(pairs, gpu, cut={})
        for _ in range(2):
            assert_same(values(found), pairs)
        assert all(nnx.backend.device_of(array) == gpu for batch in found for array in batch)

    def test_of_arrays_and_lists(self, gpu):
        pairs = [(nnx.asarray(X[:2], device=gpu), [1, 2]), (X[2:4].tolist(), Y[2:4]), ([[1.0]], [0])]
        found = values(Feed(pairs, gpu, cut={}))
        np.testing.assert_array_equal(found[0][0], X[:2])
        np.testing.assert_array_equal(found[0][1], [1, 2])
        np.testing.assert_allclose(found[1][0], X[2:4])
        np.testing.assert_array_equal(found[1][1], Y[2:4])
        assert found[2][0].dtype == np.float32

    def test_a_batch_that_does_not_fit_is_numbered(self, gpu):
        pairs = [(X[:2], Y[:2]), (X[:2], Y[:3])]
        it = iter(Feed(pairs, gpu, cut={}))
        next(it)
        with pytest.raises(nnx.ShapeError, match="batch 1 has shapes"):
            next(it)
        it = iter(Feed([(X[:2], Y[:2]), 3], gpu, cut={}))
        next(it)
        with pytest.raises(nnx.ArgumentError, match="batch 1 is a int"):
            next(it)

    @pytest.mark.parametrize("fits", [False, True])
    def test_training_is_that_of_batches_that_are_moved_one_by_one(self, gpu, request, monkeypatch, fits):
        def train():
            nnx.seed(0)
            model = nnx.Sequential(nnx.Linear(3, 8), nnx.relu, nnx.Dropout(0.3), nnx.Linear(8, 23)).to(gpu)
            trainer = nnx.Trainer(model, loss=nnx.losses.cross_entropy, optimizer=nnx.optim.Adam(0.01))
            history = trainer.fit((X, Y), validation=[(X, Y)], epochs=3, batch_size=4)
            return [*history.loss, *history.validation_loss], nnx.to_numpy(trainer.predict(X, batch_size=5))

        if not fits:
            request.getfixturevalue("streamed")
        losses, prediction = train()
        monkeypatch.setattr(type(gpu.backend), "prefetch", None)
        expected = train()
        assert losses == expected[0]
        np.testing.assert_array_equal(prediction, expected[1])
