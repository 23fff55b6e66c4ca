"""CUDA graphs: the work that a function gives the GPU, recorded once and given again in one call."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nnx._typing import Array
from nnx_cupy import blas
from nnx_cupy.memory import Reserve

Function = Callable[[Sequence[Array]], Sequence[Array]]


class Graph:
    """The work of ``function(arrays)`` as a CUDA graph.

    While it is captured nothing is computed; each call launches it on the current stream. Its memory comes from a pool
    of its own, which lives as long as it does: what was free in another pool could be somebody else's at a replay.

    Args:
        function: gives work to the GPU; it must not wait for it, and has run before, so that every kernel is compiled
            and loaded.
        arrays: what it is given, all on one GPU. It may change them.
        fed: the places of those in whose place other arrays, of the same shape and dtype, may come at a call; they
            are copied into buffers of the graph. The others are used where they lie.

    Raises:
        Exception: what ``function`` raises, also where the capture does not allow what it does.
    """

    def __init__(self, function: Function, arrays: Sequence[Array], fed: Sequence[int]) -> None:
        import cupy

        self._device = arrays[0].data.device_id
        self._outputs: list[Array] = []
        self._stream: Any = None  # of the last launch
        self._fed = tuple(fed)
        given = list(arrays)
        with cupy.cuda.Device(self._device):
            pool = Reserve().pool()
            weakref.finalize(self, _free, self._device, pool, self._outputs).atexit = False
            for i in fed:
                given[i] = cupy.ascontiguousarray(arrays[i]).copy()
            self._buffers = [given[i] for i in fed]
            self._kept = given  # the graph has their addresses
            stream = cupy.cuda.Stream(non_blocking=True)  # the null stream cannot be captured
            self._workspace = cupy.cuda.alloc(blas.workspace_size(self._device))
            with cupy.cuda.using_allocator(pool.malloc), stream:
                with blas.captured(self._device, stream.ptr, self._workspace), _capturing(stream) as ended:
                    self._outputs.extend(function(given))
                self._graph = ended[0]

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """Do the work on other arrays in the places of ``fed``; answer copies of what the function answered."""
        import cupy

        if cupy.cuda.runtime.getDevice() == self._device:
            return self._launch(arrays)
        with cupy.cuda.Device(self._device):
            return self._launch(arrays)

    def _launch(self, arrays: Sequence[Array]) -> list[Array]:
        import cupy

        stream = cupy.cuda.get_current_stream()
        if self._stream != stream:  # on another one, the launch before may still read the buffers
            if self._stream is not None:
                self._stream.synchronize()
            self._stream = stream
        for buffer, i in zip(self._buffers, self._fed, strict=True):
            _copy(arrays[i], buffer)
        self._graph.launch()
        return [output.copy() for output in self._outputs]


def _free(device: int, pool: Any, outputs: list[Array]) -> None:
    """Free the memory of a graph: what is free in a pool of CuPy when it dies is never freed."""
    import cupy

    outputs.clear()
    with cupy.cuda.Device(device):
        pool.free_all_blocks()


@contextlib.contextmanager
def _capturing(stream: Any) -> Iterator[list[Any]]:
    """Capture what is given to a stream; the graph is then in the list."""
    ended: list[Any] = []
    stream.begin_capture()
    try:
        yield ended
    except BaseException:
        with contextlib.suppress(Exception):  # it says again that the capture has failed, and leaves the stream usable
            stream.end_capture()
        raise
    ended.append(stream.end_capture())


def _copy(array: Array, buffer: Array) -> None:
    if array.flags.c_contiguous and array.data.device_id == buffer.data.device_id:
        buffer.data.copy_from_device_async(array.data, buffer.nbytes)
    else:
        buffer[...] = array
