"""PyTorch tensors: the flags ``torch``, ``torch:cuda:0``, ``torch:mps`` and what else torch knows.

Without a device, ``torch`` is the CPU. The device ``meta``, which holds shapes and no values, is
accepted by name. torch's own defaults (dtype, device, gradients) are left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from array_api_compat import is_torch_array

from nnx._errors import DeviceError, DTypeError
from nnx._typing import Kernel, Memory, Precision


class TorchBackend:
    """The library ``torch``, through ``array_api_compat.torch``."""

    name = "torch"
    flag = "torch"
    extra = "torch"
    views = True
    one_device = False
    defers = True
    activate = None
    prefetch = None
    capture = None
    graph = None

    def kernels(self, which: str) -> Mapping[str, Kernel]:
        return {}

    def kernels_from(self, which: str) -> str:
        return ""

    def load(self) -> Any:
        import array_api_compat.torch

        return array_api_compat.torch

    def version(self) -> str:
        import torch

        return torch.__version__

    def owns(self, array: Any) -> bool:
        return is_torch_array(array)

    def devices(self) -> Sequence[str]:
        import torch

        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None:
            return ["cpu"]
        return ["cpu", *(f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count()))]

    def device(self, name: str | None) -> Any:
        import torch

        try:  # a tensor knows its device in full: "cuda:0" for "cuda"
            return torch.empty(0, device="cpu" if name is None else name).device
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            known = ", ".join(f"torch:{device}" for device in self.devices())
            raise DeviceError(f"torch cannot use the device {name!r}; there are {known} (torch: {reason})") from error

    def device_of(self, array: Any) -> Any:
        return array.device

    def device_name(self, device: Any) -> str:
        return str(device)

    def from_host(self, array: Any, device: Any) -> Any:
        import torch

        # torch takes no foreign byte order and no negative strides, and warns of read-only memory.
        host = np.asarray(array, dtype=array.dtype.newbyteorder("="))
        if not (host.flags.writeable and host.flags.c_contiguous):
            host = host.copy(order="C")
        try:
            return torch.from_numpy(host).to(device)
        except TypeError as error:
            raise DTypeError(
                f"torch has no dtype {host.dtype} on {str(device)!r}: convert first, e.g. "
                f"nnx.asarray(x, dtype='float32') ({error})"
            ) from error

    def to_host(self, array: Any) -> Any:
        if array.device.type == "meta":
            raise DeviceError("a tensor on 'meta' has a shape and no values: make it on another device")
        try:
            host = array.numpy(force=True)
        except TypeError as error:
            raise DTypeError(f"NumPy has no dtype {array.dtype}: convert first, e.g. to float32") from error
        return host.copy() if array.device.type == "cpu" else host

    def readable(self, array: Any) -> bool:
        import torch

        return array.device.type == "cpu" and not torch.compiler.is_compiling()

    def precision(self, name: str) -> Precision:
        import torch

        return Precision(None, _tf32) if name == "tf32" else Precision(getattr(torch, name), None)

    def synchronize(self, device: Any) -> None:
        import torch

        if device.type not in ("cpu", "meta"):
            torch.accelerator.synchronize(device)

    def memory(self, device: Any) -> Memory | None:
        import torch

        return Memory(*torch.cuda.mem_get_info(device)) if device.type == "cuda" else None


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    """Let products on CUDA round to TF32. The switch is the process's: other threads share it."""
    import torch

    library: Any = torch.backends  # its annotations lack `mkldnn.matmul`
    cuda, cpu = library.cuda.matmul, library.mkldnn.matmul
    before, before_cpu = cuda.fp32_precision, cpu.fp32_precision
    if before == "tf32":
        yield
        return
    said = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # torch has an old switch and a new one, and raises where they differ
    cpu.fp32_precision = before_cpu
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(said)
        cuda.fp32_precision, cpu.fp32_precision = before, before_cpu


backend = TorchBackend()
