"""Matrix products by cuBLAS, called without CuPy between.

CuPy 14 refuses cuBLAS while a stream is captured, turns batches of float16 into float32, fails at batches of
bfloat16, and reads once a process whether TF32 may be used. The library that CuPy has loaded is therefore called
through its C interface (https://docs.nvidia.com/cuda/cublas/: ``cublasGemmEx``, ``cublasGemmStridedBatchedEx``, with
64-bit sizes).

A matrix in row-major order is its transpose in column-major order, which cuBLAS expects: C = A B is asked for as
Cᵀ = Bᵀ Aᵀ.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

from nnx._typing import Array

_REAL_16, _REAL_16B, _REAL_32, _REAL_64 = 2, 14, 0, 1  # cudaDataType
_COMPUTE_32, _COMPUTE_32_TF32, _COMPUTE_64 = 68, 77, 70  # cublasComputeType_t
_DEFAULT = -1  # cublasGemmAlgo_t
_PLAIN, _TRANSPOSED = 0, 1  # cublasOperation_t
_SUMS_IN_FULL = 16  # cublasMath_t: parts of a sum of products of 16 bits, too, are added in float32

TYPES = {"float16": _REAL_16, "bfloat16": _REAL_16B, "float32": _REAL_32, "float64": _REAL_64}
"""The dtypes of which there are products, by name. Those of 16 bits are added up in float32."""

_tf32: ContextVar[bool] = ContextVar("nnx_cupy_tf32", default=False)


@contextlib.contextmanager
def tf32() -> Iterator[None]:
    """Let products of float32 arrays round their factors to TF32, with 10 bits of mantissa, for this thread or task."""
    token = _tf32.set(True)
    try:
        yield
    finally:
        _tf32.reset(token)


class Side(NamedTuple):
    """A factor as cuBLAS takes it: its array, whether it is transposed there, and the stride of its longer steps."""

    array: Array
    operation: int
    leading: int


def product(a: Array, b: Array, out: Array | None = None, *, accumulate: bool = False) -> Array:
    """C = A B, or C + A B; no factor is copied that is contiguous along one of its matrix axes.

    Args:
        a: shape (m, k) or (batch, m, k), of a dtype in ``TYPES``.
        b: shape (k, n) or (batch, k, n), of the same dtype and number of axes; a batch of 1 serves for all.
        out: where C is written: C-contiguous, of that dtype, or float32 where that has 16 bits.
        accumulate: add to what is in ``out``.

    Returns:
        C, shape (m, n) or (batch, m, n).

    Raises:
        RuntimeError: cuBLAS fails.
    """
    import cupy

    (m, k), n = a.shape[-2:], b.shape[-1]
    batched = a.ndim == 3
    batch = max(a.shape[0], b.shape[0]) if batched else 1
    if out is None:
        out = cupy.empty((batch, m, n) if batched else (m, n), a.dtype)
    if not out.size:
        return out
    if not k:
        if not accumulate:
            out.fill(0)
        return out
    kind = a.dtype.name
    first, second = _side(b), _side(a)
    alpha, zero = _FACTORS[kind == "float64"]
    beta = alpha if accumulate else zero
    compute = _COMPUTE_64 if kind == "float64" else _COMPUTE_32
    if kind == "float32" and _tf32.get():
        compute = _COMPUTE_32_TF32
    library, handle = _library(), _handle(out.data.device_id, cupy.cuda.get_current_stream().ptr)
    type_, c_type = TYPES[kind], TYPES[out.dtype.name]
    x, y = first.array, second.array
    if not batched or batch == 1:
        status = library.cublasGemmEx_64(
            handle, first.operation, second.operation, n, m, k, alpha, x.data.ptr, type_, first.leading,
            y.data.ptr, type_, second.leading, beta, out.data.ptr, c_type, n, compute, _DEFAULT,
        )  # fmt: skip
    else:
        status = library.cublasGemmStridedBatchedEx_64(
            handle, first.operation, second.operation, n, m, k, alpha, x.data.ptr, type_, first.leading, _step(x),
            y.data.ptr, type_, second.leading, _step(y), beta, out.data.ptr, c_type, n, m * n, batch, compute, _DEFAULT,
        )  # fmt: skip
    _check(status, "a matrix product")
    return out


def _side(a: Array) -> Side:
    """How cuBLAS reads a matrix, or a batch of them; a copy if neither of its last axes is contiguous."""
    rows, columns = a.shape[-2:]
    down, along = (stride // a.itemsize for stride in a.strides[-2:])
    if a.ndim == 2 or a.strides[0] >= 0:  # of a batch that is read backwards the documentation says nothing
        if (along == 1 or columns == 1) and (down >= columns or rows == 1):
            return Side(a, _PLAIN, columns if rows == 1 else down)
        if (down == 1 or rows == 1) and (along >= rows or columns == 1):
            return Side(a, _TRANSPOSED, rows if columns == 1 else along)
    import cupy

    return Side(cupy.ascontiguousarray(a), _PLAIN, columns)


def _step(a: Array) -> int:
    """Elements from one matrix of a batch to the next."""
    return 0 if a.shape[0] == 1 else int(a.strides[0]) // int(a.itemsize)


_NUMBERS = [[kind(1), kind(0)] for kind in (ctypes.c_float, ctypes.c_double)]
_FACTORS = [[ctypes.addressof(number) for number in each] for each in _NUMBERS]
"""Where 1 and 0 lie, in float32 and in float64; cuBLAS reads them when it is called."""


@functools.cache
def _library() -> ctypes.CDLL:
    """The cuBLAS that CuPy uses."""
    from cuda.pathfinder import load_nvidia_dynamic_lib  # which CuPy needs itself

    library = ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
    handle: Any = ctypes.c_void_p
    pointer: Any = ctypes.c_void_p
    flag: Any = ctypes.c_int
    size: Any = ctypes.c_int64
    library.cublasCreate_v2.argtypes = [ctypes.POINTER(handle)]
    library.cublasDestroy_v2.argtypes = [handle]
    library.cublasSetMathMode.argtypes = [handle, flag]
    library.cublasSetStream_v2.argtypes = [handle, pointer]
    library.cublasSetWorkspace_v2.argtypes = [handle, pointer, ctypes.c_size_t]
    matrix, step = [pointer, flag, size], [size]
    shape = [handle, flag, flag, size, size, size, pointer]
    library.cublasGemmEx_64.argtypes = [*shape, *matrix, *matrix, pointer, *matrix, flag, flag]
    library.cublasGemmStridedBatchedEx_64.argtypes = [
        *shape, *matrix, *step, *matrix, *step, pointer, *matrix, *step, size, flag, flag,
    ]  # fmt: skip
    return library


class _Handle:
    """A cuBLAS handle of a thread and a GPU, and the stream that it works on."""

    __slots__ = ("device", "stream", "value")

    def __init__(self, device: int) -> None:
        self.device = device
        self.stream: int | None = None
        self.value = ctypes.c_void_p()  # null until there is a handle
        create = _library().cublasCreate_v2
        status = create(ctypes.byref(self.value))
        if status in _LACK_OF_MEMORY:  # which CuPy's pool may hold, and nobody use
            import cupy

            cupy.get_default_memory_pool().free_all_blocks()
            status = create(ctypes.byref(self.value))
        _check(status, "making a handle")
        _check(_library().cublasSetMathMode(self.value, _SUMS_IN_FULL), "choosing how sums are made")

    def __del__(self) -> None:  # its thread has ended
        if self.value.value and not sys.is_finalizing():
            import cupy

            with cupy.cuda.Device(self.device):  # cuBLAS expects the GPU on which the handle was made
                _library().cublasDestroy_v2(self.value)

    def use(self, stream: int) -> None:
        """Work on a stream, with the workspace of cuBLAS's own."""
        _check(_library().cublasSetStream_v2(self.value, stream), "choosing a stream")
        self.stream = stream


class _Handles(threading.local):
    def __init__(self) -> None:
        self.by_device: dict[int, _Handle] = {}


_handles = _Handles()


def _handle(device: int, stream: int) -> ctypes.c_void_p:
    """The handle of this thread for a GPU, set to a stream."""
    found = _handles.by_device.get(device)
    if found is None:
        found = _handles.by_device[device] = _Handle(device)
    if found.stream != stream:
        found.use(stream)
    return found.value


def workspace_size(device: int) -> int:
    """Bytes that a captured product may use: what the documentation of ``cublasSetWorkspace`` recommends for a GPU."""
    import cupy

    return 32 << 20 if int(cupy.cuda.Device(device).compute_capability) >= 90 else 4 << 20


@contextlib.contextmanager
def captured(device: int, stream: int, workspace: Any) -> Iterator[None]:
    """Let products on a stream that is captured use memory of their own, as long as the graph lives.

    Args:
        device: the number of the current GPU.
        stream: the address of the stream.
        workspace: memory of :func:`workspace_size` bytes, a ``cupy.cuda.MemoryPointer``.
    """
    value = _handle(device, stream)
    size = workspace_size(device)
    _check(_library().cublasSetWorkspace_v2(value, workspace.ptr, size), "setting the workspace")
    try:
        yield
    finally:
        _handles.by_device[device].stream = None  # to choose a stream anew gives cuBLAS its own workspace back


def _check(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"cuBLAS failed at {what}: {_STATUS.get(status, 'an unknown error')} (status {status})")


_LACK_OF_MEMORY = (1, 3)
"""What cuBLAS answers where there is too little memory for a handle."""

_STATUS = {
    1: "it is not initialised", 3: "it found no memory", 7: "an invalid value", 8: "the GPU does not support this",
    11: "a memory error", 13: "the GPU program failed", 14: "an internal error", 15: "not supported",
}  # fmt: skip
