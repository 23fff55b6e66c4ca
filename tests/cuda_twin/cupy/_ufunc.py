"""``cupy.ufunc``: NumPy's function of that name, with CuPy's loops. Loops that CuPy lacks raise TypeError."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from cupy._array import ndarray
from cupy._operate import change, operate

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2, "V": 2, "c": 3}
_WEAK = {int: np.dtype(np.int64), float: np.dtype(np.float64), complex: np.dtype(np.complex128)}
_ATOMIC = {"add": "iIqQlLefd", "subtract": "iI", "maximum": "iIqQlLfd", "minimum": "iIqQlLfd"}


def dtype_of(char: str) -> np.dtype:
    return BFLOAT16 if char == "E" else np.dtype(char)


def wide(host: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An argument as the loop takes it; bfloat16 is computed in float32, as CUDA does."""
    host = np.asarray(host)
    if dtype == BFLOAT16:
        return host.astype(BFLOAT16).astype(np.float32)
    return host.astype(dtype, copy=False)


class ufunc:
    """Called as CuPy's: arrays and scalars, ``out``, ``dtype``, ``casting``."""

    def __init__(self, name: str, entry: dict[str, Any], function: Any) -> None:
        self.name, self.__name__ = "cupy_" + entry["name"], entry["name"]
        self.types = entry["types"]
        self._function = function
        self._loops = [tuple(map(dtype_of, "".join(loop.split("->")))) for loop in self.types if "V" not in loop]
        self.nin = len(self.types[0].partition("->")[0])
        self.nout = len(self.types[0].partition("->")[2])
        self.nargs = self.nin + self.nout
        self._found: dict[Any, tuple[np.dtype, ...] | None] = {}

    def __repr__(self) -> str:
        return f"<ufunc '{self.name}'>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        dtype = kwargs.pop("dtype", None)
        casting = kwargs.pop("casting", "same_kind")
        if kwargs.pop("where", None) is not None:
            raise NotImplementedError("the twin has no ufunc with where=")
        if kwargs:
            raise TypeError(f"Wrong arguments {kwargs}")
        if out is None and len(args) == self.nin + 1 and self.nout == 1:
            out = args[-1]
            args = args[:-1]
        if len(args) != self.nin:
            raise TypeError(f"Wrong number of arguments for {self.name!r}")
        if isinstance(out, tuple):
            (out,) = out
        for x in args:
            if not isinstance(x, ndarray | np.generic | bool | int | float | complex):
                raise TypeError(f"Unsupported type {type(x)}")
        loop = self._loop(args, None if dtype is None else np.dtype(dtype))

        def compute(*hosts: Any) -> Any:
            cast = (wide(host, t) for host, t in zip(hosts, loop, strict=False))
            results = self._function(*cast)
            if self.nout == 1:
                return np.asarray(results).astype(loop[self.nin], copy=False)
            return tuple(np.asarray(y).astype(t, copy=False) for y, t in zip(results, loop[self.nin :], strict=True))

        if out is None:
            return operate(compute, *args)
        if not isinstance(out, ndarray):
            raise TypeError(f"Unsupported type {type(out)}: output arguments are cupy arrays")
        made = loop[self.nin]
        if not np.can_cast(made, out.dtype, casting):
            raise np._core._exceptions._UFuncOutputCastingError(np.add, casting, made, out.dtype, 0)
        shape = np.broadcast_shapes(out.shape, *(np.shape(x._host if isinstance(x, ndarray) else x) for x in args))
        if shape != out.shape:
            raise ValueError(f"non-broadcastable output operand with shape {out.shape} doesn't match {shape}")
        change(lambda host, *hosts: np.copyto(host, compute(*hosts), casting="unsafe"), out, *args)
        return out

    def _loop(self, args: tuple[Any, ...], dtype: np.dtype | None) -> tuple[np.dtype, ...]:
        """The first loop that the arguments can be cast to, as CuPy looks for it."""
        if dtype is not None:
            key: Any = dtype
        else:
            key = tuple(x.dtype if isinstance(x, ndarray | np.generic) else type(x) for x in args)
        if key not in self._found:
            self._found[key] = self._by_result(dtype) if dtype is not None else self._by_arguments(key)
        found = self._found[key]
        if found is None:
            raise TypeError(f"Wrong type ({key}) of arguments for {self.name}")
        return found

    def _by_result(self, dtype: np.dtype) -> tuple[np.dtype, ...] | None:
        return next((loop for loop in self._loops if all(t == dtype for t in loop[self.nin :])), None)

    def _by_arguments(self, key: tuple[Any, ...]) -> tuple[np.dtype, ...] | None:
        weak = [_WEAK.get(kind) for kind in key]
        types = [np.dtype(bool) if kind is bool else w or kind for kind, w in zip(key, weak, strict=True)]
        strong = [_KINDS[t.kind] for t, w in zip(types, weak, strict=True) if w is None]
        scalars = [_KINDS[w.kind] for w in weak if w is not None]
        if not (strong and scalars and max(strong) >= max(scalars)):
            weak = [None] * len(key)
        for loop in self._loops:
            if all(self._fits(t, w, to) for t, w, to in zip(types, weak, loop, strict=False)):
                return loop
        return None

    @staticmethod
    def _fits(given: np.dtype, weak: np.dtype | None, to: np.dtype) -> bool:
        if np.can_cast(given, to):
            return True
        if weak is None:
            return False
        try:
            return np.result_type(weak.type(0).item(), to) == to
        except TypeError:
            return False

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        """Without an order of the sums on a GPU; here in that of the indices."""
        allowed = _ATOMIC.get(self.__name__)
        if allowed is None or a.dtype.char not in allowed:
            raise TypeError(f"cupy.{self.__name__}.at does not support {a.dtype}")
        from cupy import _indexing

        key, _ = _indexing.prepare(a, indices)
        if isinstance(b, ndarray):
            b = b.astype(a.dtype, copy=False)
        change(lambda host, value, *key: self._function.at(host, _indexing.wrapped(host, key), value), a, b, *key)

    def reduce(self, array: ndarray, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        names = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}
        if self.__name__ not in names:
            raise NotImplementedError(f"`{self.__name__}.reduce` is not supported")
        import cupy

        options = {} if dtype is None else {"dtype": dtype}
        return getattr(cupy, names[self.__name__])(array, axis=axis, out=out, keepdims=keepdims, **options)

    def accumulate(self, array: ndarray, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        import cupy

        names = {"add": cupy.cumsum, "multiply": cupy.cumprod}
        if self.__name__ not in names:
            raise NotImplementedError(f"`{self.__name__}.accumulate` is not supported")
        return names[self.__name__](array, axis=axis, dtype=dtype, out=out)

    def outer(self, x: Any, y: Any, **kwargs: Any) -> Any:
        return self(x.reshape(x.shape + (1,) * y.ndim), y, **kwargs)
