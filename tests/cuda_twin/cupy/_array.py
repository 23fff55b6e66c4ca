"""``cupy.ndarray``: a NumPy array on a device, which answers what CuPy's does and refuses what CuPy's refuses."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from cupy import _memory, _state
from cupy._memory import Lease, MemoryPointer
from cupy._transfers import Incoming, Outgoing


class Flags:
    """``ndarray.flags``."""

    def __init__(self, host: np.ndarray) -> None:
        self.c_contiguous = host.flags.c_contiguous
        self.f_contiguous = host.flags.f_contiguous
        self.owndata = host.base is None
        self.fnc = self.f_contiguous and not self.c_contiguous
        self.forc = self.f_contiguous or self.c_contiguous

    def __getitem__(self, name: str) -> bool:
        return {"C_CONTIGUOUS": self.c_contiguous, "F_CONTIGUOUS": self.f_contiguous, "OWNDATA": self.owndata}[name]


class ndarray:
    """``_host``: the NumPy array; ``_device``: the number of the GPU; ``_lease``: the memory that views share."""

    __slots__ = ("__weakref__", "_device", "_host", "_lease", "base")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    _host: np.ndarray
    _device: int
    _lease: Lease
    base: ndarray | None

    def __init__(
        self,
        shape: Any,
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        strides: tuple[int, ...] | None = None,
        order: str = "C",
    ) -> None:
        shape = (int(shape),) if isinstance(shape, int | np.integer) else tuple(map(int, shape))
        dtype = np.dtype(dtype)
        if memptr is None:
            self._host, self._lease = _memory.allocate(shape, dtype, order)
        else:
            self._lease = memptr.mem.lease
            offset = memptr.ptr - memptr.mem.ptr
            root = _memory.in_order(self._lease.block.root)
            self._host = np.ndarray(shape, dtype, root, offset, strides, order)
        self._device = self._lease.block.device
        self.base = None

    @classmethod
    def _over(cls, host: np.ndarray, lease: Lease) -> ndarray:
        array = object.__new__(cls)
        array._host, array._lease, array._device, array.base = host, lease, lease.block.device, None
        return array

    # What it is.

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: Flags(self._host))

    @shape.setter
    def shape(self, shape: Any) -> None:
        view = self._host.view()
        view.shape = shape
        self._host = view

    @property
    def device(self) -> Any:
        from cupy.cuda.device import Device

        return Device(self._device)

    @property
    def data(self) -> MemoryPointer:
        from cupy._memory import Memory

        mem = Memory(self._lease)
        return MemoryPointer(mem, self._host.ctypes.data - mem.ptr)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "data": (self._host.ctypes.data, False),
            "strides": None if self._host.flags.c_contiguous else self.strides,
            "stream": _state.stream().ptr or 1,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._device

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("the memory of the twin is no CUDA memory: nothing can take it")

    # To the host: each waits for the device.

    def get(self, stream: Any = None, order: str = "C", out: np.ndarray | None = None, blocking: bool = True) -> Any:
        from cupy.cuda.pinned_memory import is_pinned

        if out is not None and (out.shape != self.shape or out.dtype != self.dtype):
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        if not blocking and out is not None and is_pinned(out) and _state.capture() is not None:
            host = self._host
            _state.launch(lambda: np.copyto(out, host), [self])
            return out
        if blocking:
            _state.synchronise("a copy to the host")
            if stream is not None:
                stream._finish()
        else:
            _state.forbid("a copy to pageable memory of the host")
        made = np.empty(self.shape, self.dtype, order if order in ("C", "F") else "C") if out is None else out
        if blocking:
            made[...] = self._host
        else:
            (_state.stream() if stream is None else stream)._transfers.append(Outgoing(self._host, made))
        return made

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def tobytes(self, order: str = "C") -> bytes:
        return self.get().tobytes(order)

    def __bool__(self) -> bool:
        if self.size == 0:
            warnings.warn("The truth value of an empty array is ambiguous.", DeprecationWarning, stacklevel=2)
            return False
        if self.size > 1:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()"
            )
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def __reduce__(self) -> Any:
        import cupy

        return cupy.array, (self.get(),)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        from cupy.cuda.pinned_memory import is_pinned

        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self._host.flags.c_contiguous or self._host.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        if not is_pinned(arr):
            _state.forbid("a copy from pageable memory of the host")
        elif _state.capture() is None:
            (_state.stream() if stream is None else stream)._transfers.append(Incoming(arr))
        host = self._host
        with self.device:
            _state.launch(lambda: np.copyto(host, arr), [self])

    # As a container.

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[ndarray]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    def __getitem__(self, key: Any) -> ndarray:
        return _cupy()._indexing.get(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _cupy()._indexing.set(self, key, value)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        with self.device:
            return self.copy()

    # NumPy's functions and operators are CuPy's, where CuPy has them.

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        function = getattr(_cupy(), ufunc.__name__, None)
        if method != "__call__":
            function = getattr(function, method, None)
        if function is None:
            return NotImplemented
        out = kwargs.get("out")
        if out is not None:
            if len(out) != 1:
                raise ValueError("The 'out' parameter must have exactly one array value")
            kwargs["out"] = out[0]
        for x in (*inputs, *(out or ())):
            if not isinstance(x, ndarray | np.ndarray | np.generic | bool | int | float | complex):
                return NotImplemented
        return function(*inputs, **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        module = _cupy()
        for part in function.__module__.split(".")[1:]:
            module = getattr(module, part, None)
        found = getattr(module, function.__name__, None)
        if found is None or found is function or not all(issubclass(t, ndarray | np.ndarray) for t in types):
            return NotImplemented
        return found(*args, **kwargs)


def _cupy() -> Any:
    return sys.modules["cupy"]


def _install() -> None:
    """Methods that need the functions, which need this class."""
    from cupy import _methods, _operators

    for name, method in (*vars(_methods.Methods).items(), *_operators.methods().items()):
        if name not in _OF_EACH_CLASS:
            setattr(ndarray, name, method)


_OF_EACH_CLASS = {"__module__", "__dict__", "__weakref__", "__doc__"}
