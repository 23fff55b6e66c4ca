"""Copies between host and GPU: values, layouts, and what the host waits for."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import nnx
from nnx.backend import asarray, to_numpy
from nnx_cupy import staging, transfer
from nnx_cupy.memory import ALLOCATION_FAILED

HOST = np.random.default_rng(0).standard_normal((40, 7, 3)).astype(np.float32)


@pytest.fixture(params=["whole", "chunks"])
def ways(gpu, request, monkeypatch):
    """Small arrays are copied whole, great ones in chunks."""
    if request.param == "chunks":
        monkeypatch.setattr(staging, "CHUNK", 100)
    return gpu


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "uint8", "bool", "complex64"])
def test_there_and_back(ways, dtype):
    host = (HOST * 100).astype(dtype)
    array = asarray(host, device=ways)
    back = to_numpy(array)
    assert array.dtype == back.dtype == host.dtype
    np.testing.assert_array_equal(back, host)


def test_bfloat16(ways):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    host = HOST.astype(ml_dtypes.bfloat16)
    array = asarray(host, device=ways)
    back = to_numpy(array)
    assert array.dtype == back.dtype == host.dtype
    np.testing.assert_array_equal(back.view(np.uint16), host.view(np.uint16))


@pytest.mark.parametrize(
    "host",
    [
        HOST.T,
        HOST[::-2, 1:, ::2],
        np.broadcast_to(HOST[0], (50, 7, 3)),
        HOST.astype(">f4"),
        np.asfortranarray(HOST),
        HOST[3, 2, 1],
        np.float32(2.5),
        np.zeros((0, 4), np.float32),
        HOST[:0],
        np.frombuffer(b"x" + HOST.tobytes(), np.uint8)[1:].view(np.float32),
    ],
    ids=["transposed", "slices", "broadcast", "foreign", "fortran", "element", "scalar", "empty", "none", "unaligned"],
)
def test_any_layout(ways, host):
    array = asarray(np.asarray(host), device=ways)
    np.testing.assert_array_equal(to_numpy(array), host)
    assert array.shape == np.shape(host)
    assert array.dtype == np.float32


def test_a_view_on_the_gpu(ways):
    xp = ways.namespace
    array = asarray(HOST, device=ways)
    for view, expected in (
        (xp.permute_dims(array, (2, 0, 1)), HOST.transpose(2, 0, 1)),
        (array[::3, :, 1:], HOST[::3, :, 1:]),
        (xp.broadcast_to(array[0, 0, 0], (30, 2)), np.broadcast_to(HOST[0, 0, 0], (30, 2))),
    ):
        np.testing.assert_array_equal(to_numpy(view), expected)


def test_the_host_array_may_be_changed_at_once(ways):
    host = HOST.copy()
    array = asarray(host, device=ways)
    host[...] = 0
    np.testing.assert_array_equal(to_numpy(array), HOST)


def test_what_comes_back_is_a_plain_array(ways):
    array = asarray(HOST, device=ways)
    back = to_numpy(array)
    assert type(back) is np.ndarray
    assert back.flags.owndata, "it would keep page-locked memory"
    assert back.flags.writeable
    assert back.flags.c_contiguous
    back[...] = 0
    np.testing.assert_array_equal(to_numpy(array), HOST)


def test_buffers_are_given_back(ways):
    array = asarray(HOST, device=ways)
    to_numpy(array)
    nnx.backend.load_backend("cuda").synchronize(ways.native)
    staging.release()
    staging.release()  # the twin says that an event is done when it is asked again
    gc.collect()
    assert not staging._kept


def test_more_than_may_be_under_way(ways, monkeypatch):
    """The host waits for the oldest copies, and gives their buffers back."""
    monkeypatch.setattr(staging, "UNDER_WAY", 200)
    done = []

    class Event:
        def __init__(self, number):
            self.number, self.done = number, False

        def synchronize(self):
            done.append(self.number)
            self.done = True

    monkeypatch.setattr(staging, "_kept", [])
    for number in range(4):
        staging.keep(Event(number), np.zeros(100, np.uint8))
    staging.release()
    assert done == [0, 1]
    assert [event.number for event, _ in staging._kept] == [2, 3]


def test_without_page_locked_memory(ways, monkeypatch):
    """CUDA copies from and to pageable memory, then."""
    monkeypatch.setattr(staging, "pinned", lambda shape, dtype: None)
    array = asarray(HOST, device=ways)
    np.testing.assert_array_equal(to_numpy(array), HOST)
    np.testing.assert_array_equal(to_numpy(array.T), HOST.T)


def test_where_page_locked_memory_cannot_be_had(gpu, monkeypatch):
    import cupy

    def fails(status):
        def allocate(size):
            raise cupy.cuda.runtime.CUDARuntimeError(status)

        return allocate

    monkeypatch.setattr(cupy.cuda, "alloc_pinned_memory", fails(ALLOCATION_FAILED))
    assert staging.pinned((3,), np.dtype("float32")) is None
    monkeypatch.setattr(cupy.cuda, "alloc_pinned_memory", fails(900))
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
        staging.pinned((3,), np.dtype("float32"))


class TestWaiting:
    @pytest.fixture(autouse=True)
    def twin(self, gpu):
        self.cupy = pytest.importorskip("cupy")
        if not hasattr(self.cupy, "twin"):
            pytest.skip("a GPU does not count")

    def test_a_copy_to_the_gpu_waits_for_nothing(self, ways):
        with self.cupy.twin.synchronisations() as waits:
            asarray(HOST, device=ways)
        assert len(waits) == 0, waits

    def test_a_copy_to_the_host_waits_once_for_the_stream(self, gpu):
        array = asarray(HOST, device=gpu)
        with self.cupy.twin.synchronisations() as waits:
            to_numpy(array)
        assert len(waits) == 1, waits
        assert "device" not in str(waits).lower().replace("to the host", "")

    def test_a_great_copy_waits_for_its_chunks(self, gpu, monkeypatch):
        array = asarray(HOST, device=gpu)
        monkeypatch.setattr(staging, "CHUNK", HOST.nbytes // 4)
        with self.cupy.twin.synchronisations() as waits, gpu:
            transfer.to_host(array)
        assert len(waits) == 4, waits
