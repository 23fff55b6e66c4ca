"""``cupy.linalg``."""

from __future__ import annotations

import functools as _functools

import numpy as _np

import cupy as _cupy
from cupy import _state
from cupy._operate import operate as _operate

_cupy._fill(globals(), _cupy._api["cupy.linalg"], _np.linalg)
matmul = _cupy.matmul


def _complex(x):
    return x.astype(_np.result_type(x.dtype, _np.complex64))


def eig(a):
    """Complex always, which NumPy's are where they must be."""
    return tuple(map(_complex, _operate(_np.linalg.eig, a)))


def eigvals(a):
    return _complex(_operate(_np.linalg.eigvals, a))


def _refused(function):
    """While a stream captures."""

    @_functools.wraps(function)
    def call(*args, **kwargs):
        _state.refuse("cuSOLVER")
        return function(*args, **kwargs)

    return call


_REFUSED = (
    "cholesky det eig eigh eigvals eigvalsh inv lstsq matrix_rank pinv qr slogdet solve svd tensorinv tensorsolve"
)
for _name in _REFUSED.split():
    if _name in globals():
        globals()[_name] = _refused(globals()[_name])
