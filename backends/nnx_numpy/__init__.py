"""NumPy arrays in host memory: the flags ``cpu`` and ``numpy``.

The reference for every other backend, and the one that holds host data for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from array_api_compat import is_numpy_array

from nnx._errors import DeviceError
from nnx._typing import Kernel, Memory, Precision


class NumPyBackend:
    """The library ``numpy``, through ``array_api_compat.numpy``."""

    name = "numpy"
    flag = "cpu"
    extra = ""
    views = True
    one_device = True
    defers = True
    activate = None
    prefetch = None
    capture = "replay"
    graph = None

    def kernels(self, which: str) -> Mapping[str, Kernel]:
        """Those of ``nnx_numpy.kernels``; at ``"best"`` with those of ``nnx_numpy.compiled``, if there is Numba."""
        from nnx_numpy.kernels import KERNELS

        if which == "native" or not find_spec("numba"):
            return KERNELS
        from nnx_numpy.compiled import table

        return table(KERNELS)

    def kernels_from(self, which: str) -> str:
        if which == "native":
            return f"numpy {self.version()}"
        try:
            return f"numba {version('numba')}"
        except PackageNotFoundError:
            return f"numpy {self.version()}; pip install 'nnx-array[fast]' for faster ones"

    def load(self) -> Any:
        import array_api_compat.numpy

        return array_api_compat.numpy

    def version(self) -> str:
        import numpy

        return numpy.__version__

    def owns(self, array: Any) -> bool:
        return is_numpy_array(array)

    def devices(self) -> Sequence[str]:
        return ("cpu",)

    def device(self, name: str | None) -> str:
        if name not in (None, "cpu", "0"):
            raise DeviceError(f"NumPy has one device, 'cpu', and no {name!r}: use the device flag 'cpu'")
        return "cpu"

    def device_of(self, array: Any) -> str:
        return "cpu"

    def device_name(self, device: str) -> str:
        return device

    def from_host(self, array: Any, device: str) -> Any:
        return array

    def to_host(self, array: Any) -> Any:
        import numpy

        return numpy.array(array)

    def readable(self, array: Any) -> bool:
        return True

    def precision(self, name: str) -> Precision | None:
        import numpy

        if name != "float16":  # bfloat16 is no dtype of NumPy's own
            return None
        return Precision(numpy.dtype("float16"), lambda: numpy.errstate(over="ignore", invalid="ignore"))

    def synchronize(self, device: str) -> None:
        return None

    def memory(self, device: str) -> Memory | None:
        return None


backend = NumPyBackend()
