"""The plug-in of NumPy; what all plug-ins share is tested in tests/test_backend.py."""

from __future__ import annotations

import numpy as np
import pytest

from nnx._errors import DeviceError
from nnx_numpy import backend
from nnx_numpy.kernels import KERNELS


def test_host_arrays_are_its_own():
    x = np.zeros(3)
    assert backend.from_host(x, "cpu") is x
    assert backend.owns(x)
    assert backend.owns(np.float32(1))
    assert not backend.owns([1.0])


def test_a_view_writes_through():
    x = backend.from_host(np.zeros(4), "cpu")
    x[1:3][0] = 5
    assert backend.views
    assert x[1] == 5


def test_there_is_one_device():
    assert backend.devices() == ("cpu",)
    with pytest.raises(DeviceError, match="NumPy has one device, 'cpu', and no 'gpu'"):
        backend.device("gpu")


def test_values_can_be_read_at_once():
    assert backend.readable(np.zeros(3))
    assert backend.memory("cpu") is None
    backend.synchronize("cpu")


def test_kernels_are_the_table_of_the_module():
    assert backend.kernels("native") is KERNELS
    assert all(callable(kernel) for kernel in KERNELS.values())


def test_version():
    assert backend.version() == np.__version__
