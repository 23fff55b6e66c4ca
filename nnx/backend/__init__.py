"""The registry: a device flag answers a device, and an array answers its namespace.

``registry`` has flags, devices and plug-ins; ``library`` what an array's type tells of it;
``kernels`` which of a backend's kernels are used;
``transfer`` the two doors between host and device; ``activation`` makes a device current, where a library has one.
"""

from nnx.backend.activation import activating, activation, due
from nnx.backend.kernels import choice, kernels_told
from nnx.backend.library import (
    Library,
    activators,
    device_of,
    dtype_kind,
    is_array,
    is_float,
    is_low,
    itemsize,
    kernels_of,
    library_of,
    namespace_of,
    native_device,
    readable,
    register_stand_in,
    register_wrapper,
)
from nnx.backend.registry import (
    ENTRY_POINT_GROUP,
    HOST,
    Device,
    default_device,
    device,
    entry_points,
    load_backend,
    load_namespace,
)
from nnx.backend.transfer import asarray, low_dtype, named_dtype, to_numpy

__all__ = [
    "ENTRY_POINT_GROUP",
    "HOST",
    "Device",
    "Library",
    "activating",
    "activation",
    "activators",
    "asarray",
    "choice",
    "default_device",
    "device",
    "device_of",
    "dtype_kind",
    "due",
    "entry_points",
    "is_array",
    "is_float",
    "is_low",
    "itemsize",
    "kernels_of",
    "kernels_told",
    "library_of",
    "load_backend",
    "load_namespace",
    "low_dtype",
    "named_dtype",
    "namespace_of",
    "native_device",
    "readable",
    "register_stand_in",
    "register_wrapper",
    "to_numpy",
]
