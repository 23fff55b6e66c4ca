"""A cuBLAS over NumPy: a shared library with its C interface, that calls back here."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import ml_dtypes
import numpy as np

from cupy import _state

SOURCE = Path(__file__).with_name("_cublas.cpp")
TYPES = {0: np.float32, 1: np.float64, 2: np.float16, 14: ml_dtypes.bfloat16}
HANDLE_STREAMS: dict[int, int] = {}
HANDLE_DEVICES: dict[int, int] = {}
WORKSPACES: dict[int, tuple[int, int]] = {}
MATH_MODES: dict[int, int] = {}
counts = {"tf32": 0, "products": 0}
INVALID_VALUE, EXECUTION_FAILED, NOT_SUPPORTED = 7, 13, 15


class Product(ctypes.Structure):
    _fields_ = [
        ("handle", ctypes.c_void_p),
        *[(name, ctypes.c_int) for name in ("transposed_a", "transposed_b")],
        *[(name, ctypes.c_int64) for name in "mnk"],
        *[(name, ctypes.c_double) for name in ("alpha", "beta")],
        *[(name, ctypes.c_void_p) for name in "abc"],
        *[(name, ctypes.c_int) for name in ("type_a", "type_b", "type_c")],
        *[(name, ctypes.c_int64) for name in "lda ldb ldc step_a step_b step_c batch".split()],
        ("compute", ctypes.c_int),
    ]


@functools.cache
def path() -> str:
    digest = hashlib.sha256(SOURCE.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"cupy-twin-{digest}"
    library = folder / "libcublas.so"
    if not library.exists():
        folder.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder)) / "libcublas.so"
        subprocess.run(["g++", "-std=c++17", "-O1", "-shared", "-fPIC", str(SOURCE), "-o", str(made)], check=True)
        made.replace(library)  # two processes may do this at once
    ctypes.CDLL(str(library)).twin_register(_product, _note)
    return str(library)


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Product))
def _product(given):
    try:
        return _multiply(Product.from_buffer_copy(given.contents))
    except Exception:  # nothing may pass through C
        traceback.print_exc()
        return EXECUTION_FAILED


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
def _note(what, handle, pointer, size):
    try:
        if what == 0:
            _state.forbid("cublasCreate")
            HANDLE_DEVICES[handle] = _state.local.device
        elif what == 1:
            HANDLE_STREAMS[handle] = pointer or 0
            WORKSPACES.pop(handle, None)
        elif what == 3:
            if _state.local.device != HANDLE_DEVICES.pop(handle):
                raise AssertionError("a handle is destroyed while another device is current")
            HANDLE_STREAMS.pop(handle, None)
        elif what == 4:
            MATH_MODES[handle] = size
        elif what == 5:
            ctypes.c_int.from_address(pointer).value = MATH_MODES.get(handle, 0)
        else:
            WORKSPACES[handle] = (pointer, size)
    except Exception:
        traceback.print_exc()
        return EXECUTION_FAILED
    return 0


def _multiply(p: Product) -> int:
    if min(p.m, p.n, p.k) < 1 or p.lda < (p.k if p.transposed_a else p.m) or p.ldc < p.m:
        return INVALID_VALUE
    if p.ldb < (p.n if p.transposed_b else p.k) or p.type_a != p.type_b:
        return INVALID_VALUE
    if p.type_c != p.type_a and not (p.type_a in (2, 14) and p.type_c == 0):
        return NOT_SUPPORTED
    if (p.compute == 70) != (p.type_a == 1) or p.compute not in (68, 70, 77) or (p.compute == 77 and p.type_a):
        return NOT_SUPPORTED
    if HANDLE_STREAMS.get(p.handle) != _state.stream().ptr:
        raise AssertionError("the handle works on another stream than the current one")
    if _state.capture() is not None and p.handle not in WORKSPACES:
        raise AssertionError("a captured product needs a workspace of its own")
    a = _matrix(p.a, p.type_a, p.m, p.k, p.lda, p.transposed_a, p.step_a, p.batch)
    b = _matrix(p.b, p.type_b, p.k, p.n, p.ldb, p.transposed_b, p.step_b, p.batch)
    c = _matrix(p.c, p.type_c, p.m, p.n, p.ldc, 0, p.step_c, p.batch)
    wide = np.float64 if p.type_a == 1 else np.float32
    alpha, beta = p.alpha, p.beta
    counts["products"] += 1
    counts["tf32"] += p.compute == 77

    def run() -> None:
        x, y = a.astype(wide), b.astype(wide)
        if p.compute == 77:
            x, y = (rounded(each) for each in (x, y))
        y = _state.quietly(np.matmul, x, y) * wide(alpha)
        y = y + wide(beta) * c.astype(wide) if beta else y
        c[...] = _state.quietly(y.astype, c.dtype)  # what is too large is infinite

    _state.launch(run, [])
    return 0


def rounded(x):
    """To TF32: 10 bits of mantissa, the nearest."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))) & np.uint32(0xFFFFE000)).view(
        np.float32
    )


def _matrix(pointer, kind, rows, columns, leading, transposed, step, batch):
    """A column-major matrix, or its transpose, or a batch of them, in device memory."""
    dtype = np.dtype(TYPES[kind])
    shape = (columns, rows) if transposed else (rows, columns)
    count = step * (batch - 1) + leading * (shape[1] - 1) + shape[0]
    memory = np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(pointer), dtype)
    strides = tuple(n * dtype.itemsize for n in (step, 1, leading))
    found = np.lib.stride_tricks.as_strided(memory, (batch, *shape), strides)
    return found.swapaxes(1, 2) if transposed else found
