"""The methods of ``ndarray`` that are no functions of the same name."""

from __future__ import annotations

from typing import Any

import numpy as np

from cupy import _state
from cupy._array import ndarray
from cupy._operate import change, fresh_array, operate


class Methods:
    """Copied into ``ndarray``."""

    T = property(lambda self: operate(lambda x: x.T, self))
    mT = property(lambda self: operate(lambda x: x.mT, self))
    flat = property(lambda self: self.ravel())

    @property
    def real(self) -> ndarray:
        return operate(lambda x: x.real, self)

    @real.setter
    def real(self, value: Any) -> None:
        self.real[...] = value

    @property
    def imag(self) -> ndarray:
        return operate(lambda x: x.imag if x.dtype.kind == "c" else np.zeros_like(x), self)

    @imag.setter
    def imag(self, value: Any) -> None:
        self.imag[...] = value

    def astype(
        self, dtype: Any, order: str = "K", casting: str | None = None, subok: Any = None, copy: bool = True
    ) -> ndarray:
        dtype = np.dtype(dtype)
        if not copy and self.dtype == dtype:
            return self
        return operate(lambda x: x.astype(dtype, order=order, casting=casting or "unsafe", copy=True), self)

    def copy(self, order: str = "C") -> ndarray:
        if self._device != _state.local.device:  # from one GPU to another, which CuPy can do
            _state.forbid("a copy from another device")
            return fresh_array(self._host.copy(order))
        return operate(lambda x: x.copy(order), self)

    def view(self, dtype: Any = None, array_class: Any = None) -> ndarray:
        return ndarray._over(self._host.view() if dtype is None else self._host.view(dtype), self._lease)

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> ndarray:
        wanted = shape[0] if len(shape) == 1 else shape
        return operate(lambda x: np.reshape(x, wanted, order=order, copy=copy), self)

    def transpose(self, *axes: Any) -> ndarray:
        return operate(lambda x: x.transpose(*axes), self)

    def flatten(self, order: str = "C") -> ndarray:
        return operate(lambda x: x.flatten(order), self)

    def fill(self, value: Any) -> None:
        if isinstance(value, np.ndarray):
            if value.ndim:
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            value = value.item()
        change(lambda x: x.fill(value), self)

    def sort(self, axis: int = -1, kind: Any = None) -> None:
        change(lambda x: x.sort(axis=axis, kind="stable"), self)

    def tofile(self, *args: Any) -> None:
        self.get().tofile(*args)

    def reduced_view(self, dtype: Any = None) -> ndarray:
        return self.ravel() if self._host.flags.c_contiguous else self
