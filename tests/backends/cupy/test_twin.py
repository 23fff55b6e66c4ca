"""The CPU twin of CuPy: what it refuses, and that a captured graph does at a launch what a GPU would.

The tests run where ``cupy`` is the twin. Elsewhere one test runs them all in a process of their own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

TWIN = Path(__file__).parents[2] / "cuda_twin"
found = importlib.util.find_spec("cupy")
if found is not None and found.origin is not None and Path(found.origin).is_relative_to(TWIN):
    import cupy
    import cupyx
else:
    cupy = None

twin_only = pytest.mark.skipif(cupy is None, reason="cupy is not the twin: test_in_a_process_of_its_own runs these")


@pytest.mark.skipif(cupy is not None, reason="cupy is the twin: the tests run here")
def test_in_a_process_of_its_own():
    if importlib.util.find_spec("ml_dtypes") is None:
        pytest.skip("the twin needs ml_dtypes")
    environment = os.environ | {"PYTHONPATH": str(TWIN)}
    environment.pop("CUPY_TWIN_DEVICES", None), environment.pop("CUPY_TWIN_MEMORY", None)
    command = [sys.executable, "-m", "pytest", "-q", "--backend", "numpy", "-p", "no:cacheprovider", __file__]
    options = {"env": environment, "cwd": TWIN.parents[1], "capture_output": True, "text": True, "timeout": 300}
    ended = subprocess.run(command, check=False, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " passed" in ended.stdout
    assert " failed" not in ended.stdout


@pytest.fixture
def captured():
    """Captures what a function gives the GPU, with memory of a pool of its own; answers the graph, results and pool."""

    def capture(function):
        pool = cupy.cuda.MemoryPool()
        stream = cupy.cuda.Stream(non_blocking=True)
        with cupy.cuda.using_allocator(pool.malloc), stream:
            stream.begin_capture()
            try:
                results = function()
            except BaseException:
                with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
                    stream.end_capture()
                raise
            return stream.end_capture(), results, pool

    return capture


@twin_only
class TestNames:
    def test_it_offers_nothing_that_cupy_lacks(self):
        api, own = cupy._api, {"twin", "annotations"}
        assert api["version"] == cupy.__version__.removesuffix("+twin")  # the table is not of the twin itself
        for module, name in ((cupy, "cupy"), (cupy.linalg, "cupy.linalg"), (cupy.fft, "cupy.fft"), (cupyx, "cupyx")):
            table = api[name]
            real = {*table["functions"], *table["ufuncs"], *table["types"], *table["values"], *table["modules"]}
            extra = {n for n in vars(module) if not n.startswith("_")} - real - own
            assert not {n for n in extra if not _from_elsewhere(module, n)}, name

    @pytest.mark.parametrize("name", ["ndarray", "ufunc"])
    def test_nor_do_its_types(self, name):
        extra = {n for n in vars(getattr(cupy, name)) if not n.startswith("_")} - set(cupy._api["members"][name])
        assert not extra

    @pytest.mark.parametrize(
        "name", ["Stream", "Event", "Graph", "Device", "MemoryPool", "MemoryPointer", "runtime", "PinnedMemoryPool"]
    )
    def test_nor_do_those_of_cuda(self, name):
        thing = getattr(cupy.cuda, name)
        known = set(cupy._api["members"][name]) | {"mem", "ptr", "device_id", "Device", "CUDARuntimeError"}
        extra = {n for n in vars(thing) if not n.startswith("_")} - known
        assert not {n for n in extra if not _from_elsewhere(thing, n)}

    @pytest.mark.parametrize("name", ["ElementwiseKernel", "ReductionKernel", "fuse", "unstack", "vecdot"])
    def test_what_it_does_not_offer(self, name):
        assert not hasattr(cupy, name)

    def test_signatures_are_those_of_cupy(self):
        x = cupy.ones(3)
        with pytest.raises(TypeError, match="where"):
            cupy.sum(x, where=x > 0)  # NumPy has it
        with pytest.raises(TypeError, match="initial"):
            cupy.max(x, initial=1.0)

    def test_ufuncs_have_the_loops_of_cupy(self):
        assert cupy.add(cupy.ones(2, dtype="float32"), 1.5).dtype == cupy.float32
        assert cupy.add(cupy.ones(2, dtype="int32"), 1.5).dtype == cupy.float64
        assert cupy.add(cupy.ones(2, dtype="float32"), np.float64(1)).dtype == cupy.float64
        with pytest.raises(TypeError, match="Wrong type"):
            cupy.logical_and(cupy.ones(2, dtype="complex64"), True)


def _from_elsewhere(module, name):
    value = vars(module)[name]
    return getattr(value, "__module__", None) in ("typing", "__future__") or type(value).__name__ == "module"


@twin_only
class TestArrays:
    def test_no_numpy_array_is_taken_and_none_is_given(self):
        x, host = cupy.ones(3), np.ones(3)
        for use in (
            lambda: x + host,
            lambda: host + x,
            lambda: cupy.add(x, host),
            lambda: cupy.concatenate([x, host]),
            lambda: cupy.sum(host),
            lambda: cupy.matmul(x, host),
        ):
            with pytest.raises(TypeError):
                use()
        with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
            np.asarray(x)
        with pytest.raises(ValueError, match="non-scalar"):
            x[:] = host
        assert (x + np.float64(1)).get().tolist() == [2, 2, 2]

    def test_results_stay_arrays(self):
        x = cupy.arange(4.0)
        for y in (x.sum(), x[1], cupy.max(x), x @ x, cupy.allclose(x, x), x.mean(axis=0)):
            assert isinstance(y, cupy.ndarray)
            assert y.shape == ()

    def test_views_share_memory_and_an_element_is_one(self):
        x = cupy.zeros((2, 3))
        x.T[1, 0] = 5.0
        x[1][2] += 2.0
        x[0, 0][...] = 1.0
        assert x.get().tolist() == [[1, 5, 0], [0, 0, 2]]
        y = cupy.broadcast_to(x[0], (2, 3))
        x[0, 1] = 7.0
        assert y.get()[1, 1] == 7

    def test_indices_wrap_round_as_those_of_cupy_do(self):
        x, i = cupy.arange(4), cupy.asarray([5, -1])
        assert x[i].get().tolist() == [1, 3]
        assert cupy.take(x, i).get().tolist() == [1, 3]

    def test_memory_by_its_address(self):
        x, y = cupy.asarray(np.arange(6.0).reshape(2, 3), order="F"), cupy.zeros((2, 3), order="F")
        y.data.copy_from_device_async(x.data, x.nbytes)
        assert y.get().tolist() == [[0, 1, 2], [3, 4, 5]]
        part = cupy.ndarray((2,), "float64", memptr=y.data + 16)  # the second column
        part *= 2
        assert y.get().tolist() == [[0, 2, 2], [3, 8, 5]]
        cupy.broadcast_to(part[:1], (3,))[1:2] = 9.0
        assert y.get()[0, 1] == 9

    def test_new_memory_is_garbage(self):
        assert np.isnan(cupy.empty(3).get()).all()
        assert cupy.empty(3, dtype="int32").get().tolist() == [0x5A5A5A5A] * 3

    def test_bfloat16(self):
        ml_dtypes = pytest.importorskip("ml_dtypes")
        x = cupy.asarray([[1.0, 2.0], [3.0, 4.0]], dtype=ml_dtypes.bfloat16)
        assert (x @ x).dtype == x.dtype == cupy.exp(x).dtype == x.sum().dtype
        with pytest.raises(TypeError, match="bfloat16"):
            cupy.matmul(x[None], x)
        with pytest.raises(TypeError, match="bfloat16"):
            cupy.sort(x)

    def test_no_hash_and_no_index(self):
        with pytest.raises(TypeError):
            hash(cupy.ones(1))
        with pytest.raises(TypeError):
            [1, 2][cupy.asarray(1)]
        with pytest.raises(TypeError):
            hash(cupy.cuda.Device(0))


@twin_only
class TestDevices:
    def test_new_arrays_lie_on_the_current_device(self):
        with cupy.cuda.Device(1):
            x = cupy.ones(2)
            assert (x + x).device.id == 1
        assert x.device == cupy.cuda.Device(1)
        assert cupy.ones(1).device.id == 0

    def test_work_on_another_device_raises(self):
        with cupy.cuda.Device(1):
            x = cupy.ones(2)
        for use in (lambda: x + 1, lambda: x[cupy.asarray([0])], lambda: x.sum(), lambda: cupy.add(cupy.ones(2), x)):
            with pytest.raises(ValueError, match="Array device must be same as the current device"):
                use()
        assert x[0].shape == ()  # a view launches nothing
        assert x.get().tolist() == [1, 1]  # CuPy sees to the device itself, here and below
        assert cupy.asarray(x).device.id == 0

    def test_the_current_device_is_that_of_the_thread(self):
        seen = []
        with cupy.cuda.Device(1):
            thread = threading.Thread(target=lambda: seen.append(cupy.cuda.runtime.getDevice()))
            thread.start()
            thread.join()
        assert seen == [0]

    def test_a_device_that_is_not_there(self):
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="invalid device ordinal"):
            cupy.cuda.Device(7).use()

    def test_a_stream_belongs_to_its_device(self):
        stream = cupy.cuda.Stream()
        with cupy.cuda.Device(1), pytest.raises(RuntimeError, match="does not match"), stream:
            pass


@twin_only
class TestWaiting:
    @pytest.mark.parametrize(
        "wait",
        [
            lambda x: float(x[0]),
            lambda x: bool(x[0]),
            lambda x: x[0].item(),
            lambda x: x.tolist(),
            lambda x: x.get(),
            lambda x: x[x > 1],
            lambda x: x.__setitem__(x > 1, 0.0),
            lambda x: cupy.nonzero(x),
            lambda x: cupy.where(x),
            lambda x: cupy.unique(x),
            lambda x: cupy.repeat(x, cupy.asarray([1, 2, 3])),
            lambda x: cupy.cuda.Device().synchronize(),
            lambda x: cupy.cuda.get_current_stream().synchronize(),
        ],
    )
    def test_what_waits_is_counted_and_refused_in_a_capture(self, wait, captured):
        x = cupy.arange(3.0)
        with cupy.twin.synchronisations() as count:
            wait(x)
        assert len(count) == 1
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureUnsupported"):
            captured(lambda: wait(x))

    def test_what_does_not_wait(self):
        x = cupy.asarray(np.arange(6.0).reshape(2, 3))
        with cupy.twin.synchronisations() as count:
            y = cupy.where(x > 2, x, 0.0) @ x.T
            y += y.sum()
            y[0, :] = cupy.asarray(3.0)
            cupy.take(x, cupy.asarray([0, 1]), axis=1)
        assert not len(count)

    def test_a_wait_is_counted_for_its_thread_alone(self):
        with cupy.twin.synchronisations() as count:
            thread = threading.Thread(target=lambda: cupy.ones(1).get())
            thread.start()
            thread.join()
        assert not len(count)


@twin_only
class TestCapture:
    def test_nothing_is_computed_until_the_launch_and_the_same_memory_is_used(self, captured):
        x, out = cupy.asarray([1.0, 2.0]), cupy.zeros(2)

        def step():
            y = cupy.exp(x) * 2
            out[...] = y + 1
            return y[1:]

        graph, view, _ = captured(step)
        assert out.get().tolist() == [0, 0]
        assert np.isnan(view.get()).all()
        for values in ([0.0, 1.0], [3.0, -1.0]):
            x[...] = cupy.asarray(values)
            graph.launch()
            np.testing.assert_allclose(out.get(), 2 * np.exp(values) + 1)
            np.testing.assert_allclose(view.get(), 2 * np.exp(values[1:]))

    def test_in_place_operations_are_replayed_in_their_order(self, captured):
        x = cupy.asarray([1.0])

        def step():
            nonlocal x
            x += 1
            x *= 2

        graph, _, _ = captured(step)
        graph.launch()
        graph.launch()
        assert x.get().tolist() == [10]

    def test_a_wait_spoils_the_capture(self):
        stream = cupy.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            x = cupy.ones(2)
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureUnsupported"):
                x.get()
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
                x + 1
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
                stream.end_capture()
            assert not stream.is_capturing()
            assert (cupy.ones(2) + 1).get().tolist() == [2, 2]

    @pytest.mark.parametrize(
        "copy",
        [
            lambda: cupy.asarray(np.ones(2)),
            lambda: cupy.asarray([1.0, 2.0]),
            lambda: cupy.ones(4)[[0, 1]],
            lambda: cupy.ones(2).set(np.ones(2)),
            lambda: cupy.stack([cupy.ones(1)] * 9),
        ],
    )
    def test_a_copy_from_pageable_memory_is_refused(self, copy, captured):
        copy()
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureUnsupported"):
            captured(copy)

    def test_a_number_is_no_copy_and_pinned_memory_is_read_at_each_launch(self, captured):
        pinned = cupyx.zeros_pinned(2)
        x = cupy.zeros(2)

        def step():
            x.set(pinned)
            return x + cupy.asarray(1.0)

        graph, y, _ = captured(step)
        pinned[:] = [4, 5]
        graph.launch()
        assert y.get().tolist() == [5, 6]

    def test_the_null_stream_cannot_be_captured(self):
        with pytest.raises(RuntimeError, match="cannot capture on the default"):
            cupy.cuda.Stream.null.begin_capture()

    def test_work_on_the_null_stream_spoils_the_capture_of_a_blocking_one(self):
        stream = cupy.cuda.Stream()
        stream.begin_capture()
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureImplicit"):
            cupy.ones(2)
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
            stream.end_capture()

    def test_another_stream_that_is_joined_is_captured_too(self):
        main, side = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
        x = cupy.zeros(1)
        with main:
            main.begin_capture()
            side.wait_event(main.record())
            with side:
                x += 1
            main.wait_event(side.record())
            graph = main.end_capture()
        assert x.get() == 0
        graph.launch()
        assert x.get() == 1

    def test_another_stream_that_is_not_joined_is_an_error(self):
        main, side = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
        x = cupy.zeros(1)
        main.begin_capture()
        side.wait_event(main.record())
        with side:
            x += 1
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureUnjoined"):
            main.end_capture()

    def test_a_graph_is_launched_on_its_device(self, captured):
        graph, _, _ = captured(lambda: cupy.ones(1) + 1)
        with cupy.cuda.Device(1), pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
            graph.launch()


@twin_only
class TestMemoryOfAGraph:
    def test_without_a_pool_of_its_own_it_cannot_be_launched(self):
        stream, x = cupy.cuda.Stream(non_blocking=True), cupy.zeros(1)
        with stream:
            stream.begin_capture()
            x += cupy.exp(x) + 1  # what is in between goes back to the pool of all
            graph = stream.end_capture()
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="freed since it was captured"):
            graph.launch()

    @pytest.mark.parametrize("drop", ["the pool", "its blocks", "an argument"])
    def test_memory_that_is_gone(self, captured, drop):
        x = cupy.zeros(1)
        graph, y, pool = captured(lambda: cupy.exp(x + 1) * 2)
        graph.launch()
        assert y.get() == pytest.approx(2 * np.e)
        if drop == "the pool":
            del pool
        elif drop == "its blocks":
            pool.free_all_blocks()
        else:
            del x
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="freed since it was captured"):
            graph.launch()

    def test_a_result_that_was_dropped_is_overwritten_by_who_has_its_memory_now(self, captured):
        x = cupy.zeros(64)
        graph, y, pool = captured(lambda: (x + 1, x + 2))
        address = y[0].data.ptr
        del y
        with cupy.cuda.using_allocator(pool.malloc), cupy.cuda.Stream(non_blocking=True):
            elsewhere = cupy.zeros(64)
        assert elsewhere.data.ptr != address  # on another stream: other memory
        graph.launch()

    def test_a_pool_gives_its_memory_out_again(self):
        pool = cupy.cuda.MemoryPool()
        with cupy.cuda.using_allocator(pool.malloc):
            x = cupy.zeros(100)
            address = x.data.ptr
            assert (pool.used_bytes(), pool.free_bytes()) == (1024, 0)
            view = x[1:]
            del x
            assert pool.n_free_blocks() == 0
            del view
            assert (pool.used_bytes(), pool.free_bytes()) == (0, 1024)
            assert cupy.ones(100).data.ptr == address

    def test_too_much_memory(self):
        free, total = cupy.cuda.runtime.memGetInfo()
        with pytest.raises(
            cupy.cuda.memory.OutOfMemoryError, match=r"Out of memory allocating [\d,]+ bytes \(allocated"
        ):
            cupy.empty(total // 4, dtype="float64")
        assert cupy.cuda.runtime.memGetInfo() == (free, total)
        x = cupy.zeros(10**6, dtype="float32")
        assert cupy.cuda.runtime.memGetInfo()[0] == free - 4_000_256
        y = x.reshape(1000, -1).T
        del x
        assert cupy.cuda.runtime.memGetInfo()[0] == free - 4_000_256
        del y
        assert cupy.cuda.runtime.memGetInfo()[0] == free


@twin_only
class TestCopiesThatNobodyWaitsFor:
    def test_what_comes_from_the_device_is_there_when_it_was_waited_for(self):
        x, out, event = cupy.arange(3.0), cupyx.zeros_pinned(3), cupy.cuda.Event()
        assert x.get(out=out, blocking=False) is out
        x += 1  # is later
        event.record()
        assert np.isnan(out).all()
        event.synchronize()
        assert out.tolist() == [0, 1, 2]

    def test_an_event_is_not_done_when_it_is_asked_for_the_first_time(self):
        event = cupy.cuda.get_current_stream().record()
        assert not event.done
        assert event.done

    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize("deed", ["changed", "freed"])
    def test_pinned_memory_is_left_alone_until_it_was_read(self, known, deed):
        pinned, x, stream = cupyx.zeros_pinned(4), cupy.empty(4), cupy.cuda.Stream()
        x.set(pinned, stream)
        event = stream.record()
        if known:
            event.synchronize()
        if deed == "changed":
            pinned[0] = 1
        else:
            del pinned
        if known:
            stream.synchronize()
        else:
            with pytest.raises(RuntimeError, match=f"pinned memory was {deed} while the device"):
                event.synchronize()
        assert x.get().tolist() == [0] * 4

    def test_who_waits_for_an_event_of_another_stream_knows_of_its_copies(self):
        pinned, x, stream = cupyx.zeros_pinned(4), cupy.empty(4), cupy.cuda.Stream()
        x.set(pinned, stream)
        cupy.cuda.get_current_stream().wait_event(stream.record())
        x.get()
        pinned[0] = 1
        stream.synchronize()
