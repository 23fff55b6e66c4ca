"""CuPy arrays on CUDA GPUs: the flags ``cuda`` and ``cupy``.

CuPy imports without a driver and fails at the first array, from deep inside. So the GPUs are counted
before anything else is asked of it, and what is missing is said in one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from array_api_compat import is_cupy_array

from nnx._errors import BackendUnavailableError
from nnx._typing import Kernel, Memory, Precision
from nnx_cupy import devices, namespace
from nnx_cupy.current import Activation, activate
from nnx_cupy.memory import memory


class CuPyBackend:
    """The library ``cupy``, through ``array_api_compat.cupy``. A device is named by its number."""

    name = "cupy"
    flag = "cuda"
    extra = "cuda13"
    views = True
    one_device = False
    defers = True
    capture = "replay"

    @property
    def graph(self) -> Any:
        from nnx_cupy.graph import Graph

        return Graph

    def kernels(self, which: str) -> Mapping[str, Kernel]:
        from nnx_cupy import kernels

        return kernels.native() if which == "native" else kernels.families()

    def kernels_from(self, which: str) -> str:
        return f"cupy {self.version()}" if which == "native" else f"CUDA C++, compiled by cupy {self.version()}"

    def load(self) -> Any:
        try:
            import array_api_compat.cupy
        except ModuleNotFoundError as error:
            if error.name != "cupy":
                raise
            raise BackendUnavailableError(
                "CuPy is not installed: `pip install 'nnx-array[cuda13]'` for a driver of CUDA 13, "
                "'nnx-array[cuda12]' for one of CUDA 12 (`nvidia-smi` shows which)"
            ) from error
        except ImportError as error:
            cause = error.__cause__ or error  # CuPy wraps the reason in a banner of many lines
            raise BackendUnavailableError(
                f"CuPy is installed and fails to load: {cause}; reinstall it with `pip install --force-reinstall "
                "'nnx-array[cuda13]'`, or 'nnx-array[cuda12]' for a driver of CUDA 12"
            ) from error
        return namespace.of(array_api_compat.cupy)

    def version(self) -> str:
        import cupy

        return str(cupy.__version__)

    def owns(self, array: Any) -> bool:
        return is_cupy_array(array)

    def devices(self) -> Sequence[str]:
        return [str(i) for i in range(devices.count())]

    def device(self, name: str | None) -> Any:
        return devices.find(name)

    def device_of(self, array: Any) -> Any:
        return array.device

    def device_name(self, device: Any) -> str:
        return str(device.id)

    def from_host(self, array: Any, device: Any) -> Any:
        from nnx_cupy import transfer

        with Activation(device.id):
            return transfer.from_host(array)

    def to_host(self, array: Any) -> Any:
        from nnx_cupy import transfer

        with Activation(array.device.id):
            return transfer.to_host(array)

    def activate(self, at: Any) -> Activation | None:
        return activate(at)

    def prefetch(self, wanted: Iterator[Sequence[tuple[Any, Any]]], device: Any) -> Iterator[list[Any]]:
        from nnx_cupy import feed

        return feed.prefetch(wanted, device)

    def readable(self, array: Any) -> bool:
        return False

    def precision(self, name: str) -> Precision:
        import numpy

        if name == "tf32":
            from nnx_cupy.blas import tf32

            return Precision(None, tf32)
        if name == "float16":
            return Precision(numpy.dtype("float16"), None)
        try:
            import ml_dtypes
        except ImportError as error:
            raise BackendUnavailableError(
                "bfloat16 on CuPy is a dtype of ml_dtypes: install it with `pip install ml_dtypes`"
            ) from error
        return Precision(numpy.dtype(ml_dtypes.bfloat16), None)

    def synchronize(self, device: Any) -> None:
        device.synchronize()

    def memory(self, device: Any) -> Memory | None:
        return memory(device.id)


backend = CuPyBackend()
