"""NumPy's functions, called with the signatures of CuPy's.

``_api.json`` has the names and the signatures of the real package (make_api.py): what is not in it does not exist here.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from cupy import _state
from cupy._array import ndarray
from cupy._operate import change, operate
from cupy._ufunc import BFLOAT16

ON_THE_HOST = set(
    "broadcast_shapes can_cast common_type isdtype issubdtype promote_types min_scalar_type typename mintypecode "
    "issubsctype issctype issubclass_ obj2sctype sctype2char isscalar base_repr binary_repr byte_bounds "
    "get_printoptions set_printoptions printoptions format_float_positional format_float_scientific disp".split()
)
"""Functions without arrays."""

OF_TYPES = {"result_type", "shape", "size", "ndim", "iscomplexobj", "isrealobj", "isfortran", "shares_memory"}
OF_TYPES |= {"may_share_memory"}
"""Functions that look at arrays and compute nothing."""

WAITS = set(
    "nonzero flatnonzero argwhere unique unique_all unique_counts unique_inverse unique_values extract compress place "
    "trim_zeros bincount setdiff1d setxor1d union1d intersect1d histogram histogram2d histogramdd choose "
    "array_repr array_str array2string lstsq cond".split()
)
"""Functions that read something back to know the size of their result."""

MOVES = set(
    "reshape ravel transpose permute_dims moveaxis rollaxis swapaxes squeeze expand_dims broadcast_to broadcast_arrays "
    "concatenate concat stack vstack hstack dstack column_stack split array_split hsplit vsplit dsplit tile repeat "
    "flip fliplr flipud roll rot90 take take_along_axis where pad diagonal diag tril triu matrix_transpose atleast_1d "
    "atleast_2d atleast_3d copy meshgrid zeros_like ones_like empty_like full_like astype copyto real imag delete "
    "append resize diagflat put put_along_axis".split()
)
"""Functions that only move numbers, which NumPy does for bfloat16 too; others are computed in float32."""

WARNS = set("mean var std average median nanmean nanvar nanstd nanmedian nanmax nanmin quantile percentile".split())
"""Functions of NumPy that warn of empty slices, and of CuPy that do not."""

NO_BFLOAT16 = set("sort argsort lexsort partition argpartition msort searchsorted cumsum cumprod median".split())
"""Functions that have no bfloat16 in CuPy."""

RENAMED = {"reshape": {"newshape": "shape"}, "broadcast_to": {}, "quantile": {}, "percentile": {}}


def from_numpy(name: str, function: Callable[..., Any], parameters: list[list[Any]] | None) -> Callable[..., Any]:
    """A function of CuPy by NumPy's of that name, which must be called as CuPy's is."""
    signature = None
    if parameters is not None:
        made = [
            inspect.Parameter(name, kind, default=None if has else inspect.Parameter.empty)
            for name, kind, has in parameters
        ]
        signature = inspect.Signature(made)
    renamed = RENAMED.get(name, {})
    if name in WARNS:
        function = _silent(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        if signature is not None:
            signature.bind(*args, **kwargs)
        if name in WAITS:
            _state.synchronise(f"cupy.{name}")
        kwargs = {renamed.get(key, key): value for key, value in kwargs.items()}
        out = kwargs.get("out")
        if isinstance(out, ndarray):
            del kwargs["out"]
            into(out, operate(computed, *args, **kwargs))
            return out
        return operate(computed, *args, **kwargs)

    def computed(*args: Any, **kwargs: Any) -> Any:
        kwargs = {key: value for key, value in kwargs.items() if not (key == "out" and value is None)}
        if name not in MOVES and any(low(x) for x in (*args, *kwargs.values())):
            if name in NO_BFLOAT16:
                raise TypeError(f"cupy.{name} does not support bfloat16")
            return narrow(function(*widened(args), **widened(kwargs)), kwargs.get("dtype"))
        return function(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__module__ = "cupy"
    if signature is not None:
        call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def _silent(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return function(*args, **kwargs)

    return call


def into(out: ndarray, value: ndarray) -> None:
    """The ``out`` argument of a function."""
    change(lambda host, value: np.copyto(host, value, casting="unsafe"), out, value)


def low(x: Any) -> bool:
    if isinstance(x, tuple | list):
        return any(low(y) for y in x)
    return isinstance(x, np.ndarray | np.generic) and x.dtype == BFLOAT16


def widened(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: widened(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(widened(x) for x in tree)
    return tree.astype(np.float32) if low(tree) else tree


def narrow(tree: Any, dtype: Any) -> Any:
    if isinstance(tree, tuple | list):
        return type(tree)(narrow(x, dtype) for x in tree)
    wanted = dtype is not None and np.dtype(dtype) != BFLOAT16
    is_float = isinstance(tree, np.ndarray | np.generic) and tree.dtype == np.float32
    return tree.astype(BFLOAT16) if is_float and not wanted else tree


def on_the_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that computes nothing: of dtypes and shapes alone."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*(x._host if isinstance(x, ndarray) else x for x in args), **kwargs)

    call.__name__ = getattr(function, "__name__", "")
    return call


def narrow_like(value: Any, operands: Any) -> Any:
    return narrow(value, None) if any(low(x) for x in operands) else value
