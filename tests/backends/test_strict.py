"""The plug-in of array-api-strict; what all plug-ins share is tested in tests/test_backend.py."""

from __future__ import annotations

import numpy as np
import pytest

from nnx._errors import DeviceError, DTypeError
from nnx.backend import asarray, device, to_numpy
from nnx_strict import DEVICES, backend

strict = pytest.importorskip("array_api_strict")


def test_its_default_is_no_host_memory():
    x = asarray([1.0], device="strict")
    assert x.device == strict.Device("device1")
    with pytest.raises(RuntimeError, match="Can't"):
        np.asarray(x)


def test_every_device_has_a_name():
    for native in strict.__array_namespace_info__().devices():
        assert backend.device(backend.device_name(native)) == native
    assert {backend.device(name) for name in DEVICES} <= set(strict.__array_namespace_info__().devices())


@pytest.mark.parametrize("flag", [f"strict:{name}" for name in DEVICES])
def test_arrays_come_and_go_on_every_device(flag):
    x = np.arange(3, dtype=np.float32)
    y = asarray(x, device=flag)
    assert y.device == device(flag).native
    y[0] = 5  # a copy, so that the host array stays as it is
    np.testing.assert_array_equal(to_numpy(y), [5, 1, 2])
    np.testing.assert_array_equal(x, [0, 1, 2])


def test_a_dtype_that_the_device_lacks():
    with pytest.raises(DTypeError, match="no dtype float64 on 'no_float64': convert first"):
        asarray(np.zeros(2), device="strict:no_float64")
    with pytest.raises(DTypeError, match="no dtype float16 on 'device1'"):
        asarray(np.zeros(2, dtype=np.float16), device="strict")


def test_a_device_that_is_not_there():
    with pytest.raises(DeviceError, match="no device 'gpu'; there are strict:device1, strict:device2"):
        backend.device("gpu")


def test_the_rest():
    x = asarray([1.0], device="strict")
    assert backend.owns(x)
    assert not backend.owns(np.zeros(1))
    assert backend.readable(x)
    assert backend.memory(x.device) is None
    assert backend.version() == strict.__version__
    backend.synchronize(x.device)
