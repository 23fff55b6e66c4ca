"""JAX arrays: the flags ``jax``, ``jax:cpu``, ``jax:gpu:1``, ``jax:tpu`` and what else JAX knows.

Without a device, ``jax`` is the first one of JAX's preferred platform.

JAX has no 64-bit types until they are switched on, and narrows without a word. Here float64 and
complex128 are then an error. int64 and uint64 become int32 and uint32 where every value fits, because
labels and permutations come as int64 from the host; a value that does not fit is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from array_api_compat import is_jax_array

from nnx._errors import DeviceError, DTypeError
from nnx._typing import Kernel, Memory, Precision


class JaxBackend:
    """The library ``jax``, whose namespace is ``jax.numpy``."""

    name = "jax"
    flag = "jax"
    extra = "jax"
    views = False
    one_device = False
    defers = True
    graph = None
    activate = None
    prefetch = None

    def kernels(self, which: str) -> Mapping[str, Kernel]:
        return {}

    def kernels_from(self, which: str) -> str:
        return ""

    def capture(self, function: Callable[[Sequence[Any]], Sequence[Any]]) -> Any:
        """Compiled by XLA."""
        import jax

        return jax.jit(function)

    def load(self) -> Any:
        import jax.numpy

        return jax.numpy

    def version(self) -> str:
        import jax

        return jax.__version__

    def owns(self, array: Any) -> bool:
        return is_jax_array(array)

    def devices(self) -> Sequence[str]:
        import jax

        return list(dict.fromkeys(map(self.device_name, (*jax.local_devices(), *jax.local_devices(backend="cpu")))))

    def device(self, name: str | None) -> Any:
        import jax

        if name is None:
            return jax.local_devices()[0]
        platform, colon, number = name.partition(":")
        try:
            found = jax.local_devices(backend=platform) if platform else []
        except RuntimeError:  # no such platform here
            found = []
        for device in found:
            if not colon or number == str(device.id):
                return device
        known = ", ".join(f"jax:{device}" for device in self.devices())
        raise DeviceError(f"JAX has no device {name!r} here; there are {known}")

    def device_of(self, array: Any) -> Any:
        import jax

        device = getattr(array, "device", None)  # a tracer has none; an array on several has a sharding
        return device if isinstance(device, jax.Device) else None

    def device_name(self, device: Any) -> str:
        return f"{device.platform}:{device.id}"

    def from_host(self, array: Any, device: Any) -> Any:
        import jax

        # device_put may keep a NumPy array's memory, which its owner may change: hence a copy.
        host = np.array(array, dtype=array.dtype.newbyteorder("="))
        narrow = jax.dtypes.canonicalize_dtype(host.dtype)
        if narrow != host.dtype:
            host = _narrow(host, narrow)
        try:
            return jax.device_put(host, device)
        except TypeError as error:
            raise DTypeError(f"JAX has no dtype {host.dtype}: convert first, e.g. to float32") from error

    def to_host(self, array: Any) -> Any:
        return np.array(array)

    def readable(self, array: Any) -> bool:
        device = self.device_of(array)
        return device is not None and device.platform == "cpu"

    def precision(self, name: str) -> Precision:
        import jax

        if name == "tf32":
            return Precision(None, lambda: jax.default_matmul_precision("tensorfloat32"))
        return Precision(jax.numpy.dtype(name), None)

    def synchronize(self, device: Any) -> None:
        import jax

        for array in jax.live_arrays(device.platform):  # type: ignore[no-untyped-call]
            if device in array.devices():
                array.block_until_ready()

    def memory(self, device: Any) -> Memory | None:
        stats = device.memory_stats() or {}
        total = stats.get("bytes_limit")
        return None if total is None else Memory(total - stats.get("bytes_in_use", 0), total)


def _narrow(host: Any, dtype: Any) -> Any:
    """Convert 64-bit integers whose values fit; raise for all else that JAX would narrow."""
    remedy = "allow 64-bit types with `jax.config.update('jax_enable_x64', True)`, before any other use of JAX"
    if host.dtype.kind not in "iu":
        raise DTypeError(f"JAX would turn {host.dtype} into {dtype}: convert it to {dtype} first, or {remedy}")
    bounds = np.iinfo(dtype)
    if host.size and (host.min() < bounds.min or host.max() > bounds.max):
        raise DTypeError(f"JAX would turn {host.dtype} into {dtype}, and some values do not fit: {remedy}")
    return host.astype(dtype)


backend = JaxBackend()
