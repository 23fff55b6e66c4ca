"""Products. CuPy's are of cuBLAS, which it does not call while a stream captures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cupy import _state
from cupy._array import ndarray
from cupy._operate import operate
from cupy._ufunc import BFLOAT16
from cupy._wrap import into, narrow_like, widened


def matmul(*args: Any, **kwargs: Any) -> ndarray:
    """Products as CuPy has them: of 3 axes and more there is none in bfloat16."""
    out = kwargs.pop("out", None)
    dtype = kwargs.pop("dtype", None)
    kwargs.pop("casting", None)
    if kwargs:
        raise NotImplementedError(f"the twin's matmul has no {', '.join(kwargs)}")
    if len(args) == 3:
        *args, out = args
    a, b = args
    for x in (a, b):
        if not isinstance(x, ndarray):
            raise TypeError(f"Unsupported type {type(x)}")
    if max(a.ndim, b.ndim) > 2 and np.result_type(a.dtype, b.dtype) == BFLOAT16:
        raise TypeError("cupy.matmul of more than 2 axes does not support bfloat16")
    result = _product(np.matmul)(a, b)
    if dtype is not None:
        result = result.astype(dtype, copy=False)
    if out is None:
        return result
    if out.shape != result.shape:
        raise ValueError("Output array has an invalid size")
    into(out, result)
    return out


def _product(function: Callable[..., Any]) -> Callable[..., ndarray]:
    def compute(a: np.ndarray, b: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        dtype = np.result_type(a.dtype, b.dtype)
        if dtype in (BFLOAT16, np.dtype(np.float16)):  # sums are of float32
            made = function(a.astype(np.float32), b.astype(np.float32), *args, **kwargs)
            return np.asarray(made).astype(dtype)
        return function(a, b, *args, **kwargs)

    def call(a: ndarray, b: ndarray, *args: Any, **kwargs: Any) -> ndarray:
        if a.dtype.kind in "fcV" or b.dtype.kind in "fcV":
            _state.refuse("cuBLAS")
        return operate(compute, a, b, *args, **kwargs)

    return call


def dot(a: ndarray, b: ndarray, out: ndarray | None = None) -> ndarray:
    result = _product(np.dot)(a, b)
    if out is None:
        return result
    if out.dtype != result.dtype or not out.flags.c_contiguous:
        raise ValueError("output array is not acceptable (must have the right type, be C contiguous)")
    into(out, result)
    return out


def tensordot(a: ndarray, b: ndarray, axes: Any = 2) -> ndarray:
    return _product(np.tensordot)(a, b, axes)


def inner(a: ndarray, b: ndarray) -> ndarray:
    return _product(np.inner)(a, b)


def outer(a: ndarray, b: ndarray, out: ndarray | None = None) -> ndarray:
    return _product(np.outer)(a, b)


def vdot(a: ndarray, b: ndarray) -> ndarray:
    return _product(np.vdot)(a, b)


def einsum(*operands: Any, **kwargs: Any) -> ndarray:
    dtype = kwargs.pop("dtype", None)
    kwargs.pop("optimize", None)
    return operate(lambda *x: narrow_like(np.einsum(*widened(x), dtype=dtype), x), *operands)
