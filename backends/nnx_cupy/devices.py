"""The GPUs at hand, or the reason why there are none."""

from __future__ import annotations

import os
from typing import Any

from nnx._errors import BackendUnavailableError, DeviceError


def count() -> int:
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


def find(name: str | None) -> Any:
    """The ``cupy.cuda.Device`` of that number; ``DeviceError`` if there is none."""
    import cupy

    there = count()
    if name is not None and not (name.isdecimal() and int(name) < there):
        gpus = "is 1 GPU: cuda:0" if there == 1 else f"are {there} GPUs: cuda:0 to cuda:{there - 1}"
        raise DeviceError(f"no CUDA device {name!r}: there {gpus}{_visible()}")
    return cupy.cuda.Device(int(name or 0))


def _cuda(version: int) -> str:
    """12040 -> ``"12.4"``."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _visible() -> str:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if chosen is None else f" (CUDA_VISIBLE_DEVICES is {chosen!r})"
