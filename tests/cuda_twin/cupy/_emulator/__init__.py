"""Kernels of CUDA C++, compiled for the host and run on the twin's arrays.

``RawModule`` stands in for CuPy's. Threads of a block are fibers (``runtime.cpp``), so that barriers and warp functions
do what they do on a GPU. It is stricter than a GPU: arguments are compared with the kernel's parameters, and a barrier
that not every thread of a block reaches, a misaligned address, an integer that overflows and an index outside a static
array raise ``KernelError``. With ``CUPY_TWIN_GUARD=1`` the arrays of a launch are copied between guards, which finds
writes beyond their ends; reads there give NaN. ``CUPY_TWIN_ORDER=reverse`` runs blocks and threads in the other order.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from cupy._emulator.guard import guarded

HERE = Path(__file__).parent
FLAGS = (
    "-std=c++17",
    "-O1",
    "-g1",
    "-fPIC",
    "-shared",
    "-w",
    "-fno-strict-aliasing",
    "-fno-gnu-unique",
    f"-I{HERE / 'include'}",
)
CHECKS = "-fsanitize=alignment,bounds,signed-integer-overflow,integer-divide-by-zero,shift"
KERNEL = re.compile(r"\b__cuda_kernel__\s+void\s+(\w+)\s*\(")
ORDERS = ("", "reverse")
WEEK = 7 * 24 * 3600.0


class CompileException(Exception):  # as CuPy's is called
    """A source that does not compile."""


class KernelError(RuntimeError):
    """A launch that a GPU would have refused, or would have answered with anything at all."""


class RawModule:
    """The kernels of a source."""

    def __init__(self, *, code, options=()):
        if not isinstance(code, str) or not isinstance(options, tuple):
            raise TypeError("code is a str and options is a tuple of str")
        self.code, self.options = code, options

    def compile(self):
        _compiled(self.code, self.options)

    def get_function(self, name):
        library, kernels = _compiled(self.code, self.options)
        if name not in kernels:
            raise KeyError(f"no kernel {name!r}; there are {', '.join(sorted(kernels))}")
        return RawKernel(name, library)


class RawKernel:
    """One kernel, called with the sizes of the grid and of its blocks, and the arguments."""

    def __init__(self, name, library):
        self.name = self.__name__ = name
        self._launch = library[f"twin_launch_{name}"]
        types = library[f"twin_types_{name}"]
        types.restype = ctypes.c_char_p
        self._types = types().decode().split()

    def __call__(self, grid, block, args, *, shared_mem=0):
        from cupy import _state

        if shared_mem:
            raise KernelError(f"{self.name}: dynamic shared memory is not offered here")
        dims = [*_sizes(self.name, "grid", grid), *_sizes(self.name, "block", block)]
        if dims[0] >= 1 << 31 or max(dims[1:3]) > 65535 or np.prod(dims[3:]) > 1024 or dims[5] > 64:
            raise KernelError(f"{self.name}: no GPU takes a grid of {dims[:3]} with blocks of {dims[3:]}")
        if len(args) != len(self._types):
            raise KernelError(f"{self.name} takes {len(self._types)} arguments, got {len(args)}")
        for i, (type_, arg) in enumerate(zip(self._types, args, strict=True)):
            if not _fits(type_, arg):
                got = f"{type(arg).__name__} {getattr(arg, 'dtype', arg)}"
                raise KernelError(f"{self.name}: argument {i} is of C++ type {type_!r}, and of Python {got}")
        arrays = [arg for arg in args if hasattr(arg, "_host")]
        values = [_kept(arg) for arg in args]
        _state.launch(functools.partial(self._run, dims, values), arrays)

    def _run(self, dims, args):
        hosts = [arg._host for arg in args if hasattr(arg, "_host")]
        with _lock, guarded(hosts if os.environ.get("CUPY_TWIN_GUARD") == "1" else []) as moved:
            words = [_argument(type_, arg, moved) for type_, arg in zip(self._types, args, strict=True)]
            pointers = (ctypes.c_void_p * len(words))(*(ctypes.addressof(word) for word in words))
            reverse = ORDERS.index(os.environ.get("CUPY_TWIN_ORDER", ""))
            flush = "Pd" not in self._types  # CuPy has numbers below the normal ones flushed, which doubles never are
            if self._launch(pointers, (ctypes.c_uint * 6)(*dims), int(flush), reverse):
                raise KernelError(f"{self.name}: {_runtime().twin_message().decode()}")


_lock = threading.Lock()


def _kept(arg):
    """An argument as it is at the launch. Of an array its memory alone: a graph does not keep the array alive."""
    if hasattr(arg, "_host"):
        return SimpleNamespace(_host=arg._host)
    return arg.copy() if isinstance(arg, np.ndarray) else arg


def _sizes(name, what, sizes):
    if not isinstance(sizes, tuple) or not all(isinstance(n, int) for n in sizes) or len(sizes) > 3:
        raise TypeError(f"{name}: the {what} is a tuple of up to three ints, got {sizes!r}")
    return [max(1, n) for n in (*sizes, 1, 1)[:3]]


def _letter(dtype):
    return {1: "b", 2: "h", 4: "i", 8: "q"}[dtype.itemsize] if dtype.kind in "iu" else dtype.char


def _fits(type_, arg):
    if type_[0] == "P":
        if hasattr(arg, "_host"):
            return type_[1] in "VS" or type_[1] == _letter(arg.dtype) or {type_[1], _letter(arg.dtype)} == {"?", "b"}
        return arg is None or (type(arg) is int and arg == 0)
    if type_[0] == "S":
        return isinstance(arg, np.ndarray) and arg.size == 1 and arg.nbytes == int(type_[1:])
    known = {bool: "?", int: "q", float: "d"}.get(type(arg))
    return type_ == (known or (_letter(arg.dtype) if isinstance(arg, np.generic) else None))


def _argument(type_, arg, moved):
    """Memory of C that holds what is passed."""
    if type_[0] == "P":
        address = arg._host.__array_interface__["data"][0] if hasattr(arg, "_host") else 0
        return ctypes.c_void_p(moved(address))
    if type_[0] == "S":
        return (ctypes.c_char * arg.nbytes).from_buffer_copy(np.ascontiguousarray(arg).tobytes())
    if isinstance(arg, np.generic):
        return (ctypes.c_char * arg.nbytes).from_buffer_copy(arg.tobytes())
    return {"?": ctypes.c_bool, "q": ctypes.c_longlong, "d": ctypes.c_double}[type_](arg)


@functools.cache
def _compiled(code, options):
    """The library of a source, and the names of its kernels."""
    _runtime()
    defines = [option for option in options if option.startswith("-D")]
    key = hashlib.sha256("\0".join([code, *defines, CHECKS, *FLAGS[:-1], _fingerprint()]).encode()).hexdigest()[:32]
    path, listed = _cache() / f"{key}.so", _cache() / f"{key}.txt"
    if not (path.exists() and listed.exists()):
        text = _gcc(
            "-E",
            *defines,
            "-D__global__=__cuda_kernel__",
            "-include",
            "cuda_shim.hpp",
            *FLAGS,
            "-x",
            "c++",
            "-",
            text=code,
        )
        kernels = KERNEL.findall(text)
        thunks = [
            f'extern "C" int twin_launch_{k}(void** a, const unsigned* d, int f, int r)'
            f"{{ return twin::launch({k}, a, d, f, r); }}\n"
            f'extern "C" const char* twin_types_{k}() {{ return twin::types({k}); }}\n'
            for k in kernels
        ]
        text = "\n".join(["#define __cuda_kernel__", text, '#line 1 "thunks"', *thunks])
        _build(path, *FLAGS, CHECKS, "-x", "c++", "-", text=text)
        _write(listed, "\n".join(kernels))
    return ctypes.CDLL(str(path)), frozenset(listed.read_text().split())


@functools.cache
def _runtime():
    """The library that runs blocks, loaded before all that ask for its functions."""
    path = _cache() / f"runtime-{_fingerprint()}.so"
    if not path.exists():
        for old in _cache().iterdir():  # of other files than those here
            if old.stat().st_mtime < time.time() - WEEK:
                old.unlink(missing_ok=True)
        _build(path, *FLAGS, "-O2", str(HERE / "runtime.cpp"))
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    library.twin_message.restype = ctypes.c_char_p
    return library


@functools.cache
def _fingerprint():
    """Of the files here and of the compiler: another one is another cache entry."""
    files = sorted([HERE / "runtime.cpp", *(HERE / "include").iterdir()])
    text = b"".join(file.read_bytes() for file in files) + _gcc("--version").encode()
    return hashlib.sha256(text).hexdigest()[:16]


@functools.cache
def _cache():
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cupy-twin"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _build(path, *arguments, text=None):
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".so", delete=False) as made:
        pass
    try:
        _gcc(*arguments, "-o", made.name, text=text)
        os.replace(made.name, path)
    finally:
        Path(made.name).unlink(missing_ok=True)


def _write(path, text):
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as made:
        made.write(text)
    os.replace(made.name, path)


def _gcc(*arguments, text=None):
    done = subprocess.run(
        [os.environ.get("CXX", "g++"), *arguments], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CompileException(done.stderr)
    return done.stdout
