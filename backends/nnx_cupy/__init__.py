"""CuPy arrays on CUDA GPUs: the flags ``cuda`` and ``cupy``.

CuPy imports without a driver and fails at the first array, from deep inside. So the GPUs are counted
before anything else is asked of it, and what is missing is said in one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from array_api_compat import is_cupy_array

from nnx._errors import BackendUnavailableError, DeviceError
from nnx._typing import Kernel, Memory


class CuPyBackend:
    """The library ``cupy``, through ``array_api_compat.cupy``. A device is named by its number."""

    name = "cupy"
    flag = "cuda"
    extra = "cuda13"
    views = True
    one_device = False
    defers = True
    capture = None

    def kernels(self, which: str) -> Mapping[str, Kernel]:
        return {}

    def kernels_from(self, which: str) -> str:
        return ""

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
        return array_api_compat.cupy

    def version(self) -> str:
        import cupy

        return str(cupy.__version__)

    def owns(self, array: Any) -> bool:
        return is_cupy_array(array)

    def devices(self) -> Sequence[str]:
        return [str(i) for i in range(_count())]

    def device(self, name: str | None) -> Any:
        import cupy

        count = _count()
        if name is not None and not (name.isdecimal() and int(name) < count):
            gpus = "is 1 GPU: cuda:0" if count == 1 else f"are {count} GPUs: cuda:0 to cuda:{count - 1}"
            raise DeviceError(f"no CUDA device {name!r}: there {gpus}{_visible()}")
        return cupy.cuda.Device(int(name or 0))

    def device_of(self, array: Any) -> Any:
        return array.device

    def device_name(self, device: Any) -> str:
        return str(device.id)

    def from_host(self, array: Any, device: Any) -> Any:
        # The copy is queued from a buffer of CuPy's own, so `array` may be changed at once, unless it
        # lies in pinned memory: who pins memory must leave it alone until the device has read it.
        import cupy

        with device:
            return cupy.asarray(array)

    def to_host(self, array: Any) -> Any:
        import cupy

        with array.device:
            return cupy.asnumpy(array)

    def readable(self, array: Any) -> bool:
        return False

    def synchronize(self, device: Any) -> None:
        device.synchronize()

    def memory(self, device: Any) -> Memory | None:
        import cupy

        with device:
            return Memory(*cupy.cuda.runtime.memGetInfo())


def _count() -> int:
    """The number of GPUs; ``BackendUnavailableError`` with the reason where there is none."""
    import cupy

    runtime = cupy.cuda.runtime
    try:
        if cupy.cuda.is_available():
            return int(runtime.getDeviceCount())
        driver = int(runtime.driverGetVersion())
        built = int(runtime.runtimeGetVersion())
    except Exception as error:
        reason = f"the CUDA driver does not answer ({error}); check it with `nvidia-smi`"
        raise BackendUnavailableError(f"CuPy cannot run: {reason}") from error
    if driver == 0:
        reason = "no NVIDIA driver is found; install one, or use the device flag 'cpu'"
    elif driver // 1000 < built // 1000:
        reason = (
            f"the driver is of CUDA {_cuda(driver)} and this CuPy is built for CUDA {_cuda(built)}; update the "
            f"driver, or `pip uninstall cupy-cuda{built // 1000}x` and `pip install 'nnx-array[cuda{driver // 1000}]'`"
        )
    else:
        reason = f"the driver finds no GPU; check `nvidia-smi`, or use the device flag 'cpu'{_visible()}"
    raise BackendUnavailableError(f"CuPy cannot run: {reason}")


def _cuda(version: int) -> str:
    """12040 -> ``"12.4"``."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _visible() -> str:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if chosen is None else f" (CUDA_VISIBLE_DEVICES is {chosen!r})"


backend = CuPyBackend()
