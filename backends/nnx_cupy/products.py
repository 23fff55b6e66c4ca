"""Functions of the standard that CuPy computes slowly, or not while a stream is captured."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from nnx._typing import Array
from nnx_cupy.blas import TYPES, product
from nnx_cupy.elementwise import clip, sign

TOGETHER = 8
"""Of more arrays ``cupy.concatenate`` copies a table of addresses from the host, which no graph may hold."""


def matmul(x1: Array, x2: Array, /) -> Array:
    """The matrix product of the standard; a 3-D array by a matrix is one product of matrices."""
    import cupy

    kind = x1.dtype
    if kind.name not in TYPES or x2.dtype != kind or not x1.ndim or not x2.ndim:
        return cupy.matmul(x1, x2)
    a = x1[None, :] if x1.ndim == 1 else x1
    b = x2[:, None] if x2.ndim == 1 else x2
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"shapes {x1.shape} and {x2.shape} do not fit a matrix product: {a.shape[-1]}, {b.shape[-2]}")
    c = _of_matrices(a, b)
    if x1.ndim == 1:
        c = c[..., 0, :]
    return c[..., 0] if x2.ndim == 1 else c


def _of_matrices(a: Array, b: Array) -> Array:
    import cupy

    if b.ndim == 2:
        if a.ndim == 2:
            return product(a, b)
        return product(a.reshape(math.prod(a.shape[:-1]), a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    leading = cupy.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    c = product(_batch(a, leading), _batch(b, leading))
    return c.reshape(*leading, a.shape[-2], b.shape[-1])


def _batch(a: Array, leading: tuple[int, ...]) -> Array:
    """Three axes; a batch of 1 where one matrix serves for all."""
    import cupy

    matrix = a.shape[-2:]
    if math.prod(a.shape[:-2]) == 1:
        return a.reshape(1, *matrix) if math.prod(leading) else a.reshape(1, *matrix)[:0]
    if a.shape[:-2] != leading:
        a = cupy.broadcast_to(a, (*leading, *matrix))
    return a if a.ndim == 3 else a.reshape(math.prod(leading), *matrix)


def tensordot(x1: Array, x2: Array, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Array:
    """The tensor contraction of the standard, as one product of matrices."""
    import cupy

    if x1.dtype.name not in TYPES or x2.dtype != x1.dtype:
        return cupy.tensordot(x1, x2, axes=axes)
    if isinstance(axes, int):
        first, second = list(range(x1.ndim - axes, x1.ndim)), list(range(axes))
    else:
        first, second = [i % x1.ndim for i in axes[0]], [i % x2.ndim for i in axes[1]]
    sizes = [x1.shape[i] for i in first]
    if sizes != [x2.shape[i] for i in second]:
        raise ValueError(f"shapes {x1.shape} and {x2.shape} do not fit along the axes {axes}")
    left = [i for i in range(x1.ndim) if i not in first]
    right = [i for i in range(x2.ndim) if i not in second]
    rows, columns = [x1.shape[i] for i in left], [x2.shape[i] for i in right]
    inner = math.prod(sizes)
    a = cupy.transpose(x1, (*left, *first)).reshape(math.prod(rows), inner)
    b = cupy.transpose(x2, (*second, *right)).reshape(inner, math.prod(columns))
    return product(a, b).reshape(*rows, *columns)


def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Σ conj(x₁) x₂ along an axis."""
    import cupy

    if x1.shape[axis] != x2.shape[axis]:
        raise ValueError(f"shapes {x1.shape} and {x2.shape} do not fit along axis {axis}")
    y = (cupy.conj(x1) if x1.dtype.kind == "c" else x1) * x2
    return cupy.sum(y, axis=axis, dtype=y.dtype)


def concat(arrays: Sequence[Array], /, *, axis: int | None = 0) -> Array:
    """The concatenation of the standard, of a few arrays at a time."""
    import cupy

    if axis is None:
        arrays, axis = [a.reshape(-1) for a in arrays], 0
    return _in_parts(list(arrays), lambda several: cupy.concatenate(several, axis=axis))


def stack(arrays: Sequence[Array], /, *, axis: int = 0) -> Array:
    """The stack of the standard, of a few arrays at a time."""
    import cupy

    arrays = list(arrays)
    if len(arrays) <= TOGETHER:
        return cupy.stack(arrays, axis=axis)
    return concat([cupy.expand_dims(a, axis) for a in arrays], axis=axis)


def _in_parts(arrays: list[Array], join: Any) -> Array:
    while len(arrays) > TOGETHER:
        arrays = [join(arrays[i : i + TOGETHER]) for i in range(0, len(arrays), TOGETHER)]
    return join(arrays)


class EigResult(NamedTuple):
    """What the standard's ``eig`` answers."""

    eigenvalues: Array
    eigenvectors: Array


def eig(x: Array, /) -> EigResult:
    """Eigenvalues and right eigenvectors: CuPy's, which have no names."""
    import cupy

    return EigResult(*cupy.linalg.eig(x))


def _frequencies(function: Callable[..., Array]) -> Callable[..., Array]:
    """``fftfreq`` and ``rfftfreq``, which array-api-compat refuses to make on a device that is named."""

    @functools.wraps(function)
    def made(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Array:
        import cupy

        with cupy.cuda.Device(None if device is None else device.id):
            return function(n, d=d, dtype=dtype)

    return made


PRODUCTS: dict[str, Callable[..., Array]] = {"matmul": matmul, "tensordot": tensordot, "vecdot": vecdot}

OTHERS: dict[str, Callable[..., Array]] = {"clip": clip, "concat": concat, "sign": sign, "stack": stack}


def rooms(compat: ModuleType) -> dict[str, dict[str, Callable[..., Any]]]:
    """What stands in the places of functions of CuPy, in the namespace itself (``""``) and in its extensions."""
    frequencies = {name: _frequencies(getattr(compat.fft, name)) for name in ("fftfreq", "rfftfreq")}
    return {"": PRODUCTS | OTHERS, "linalg": {**PRODUCTS, "eig": eig}, "fft": frequencies}
