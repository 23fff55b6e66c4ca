"""The plug-in of torch; what all plug-ins share is tested in tests/test_backend.py."""

from __future__ import annotations

import numpy as np
import pytest

from nnx._errors import DeviceError, DTypeError
from nnx.backend import asarray, device, to_numpy
from nnx_torch import backend

torch = pytest.importorskip("torch")
CPU = torch.device("cpu")


def test_defaults_of_torch_are_left_alone():
    before = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    x = asarray([1.0, 2.0], device="torch")
    assert not x.requires_grad
    assert (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()) == before


def test_a_writable_array_is_shared_and_a_read_only_one_is_copied():
    x = np.zeros(3)
    backend.from_host(x, CPU)[0] = 1
    assert x[0] == 1
    x.flags.writeable = False
    backend.from_host(x, CPU)[0] = 2  # torch would have written to it
    assert x[0] == 1


def test_a_view_writes_through():
    x = backend.from_host(np.zeros(4), CPU)
    x[1:3][0] = 5
    assert backend.views
    assert float(x[1]) == 5


def test_gradients_of_torch_are_left_behind():
    x = torch.ones(3, requires_grad=True)
    np.testing.assert_array_equal(to_numpy(x * 2), [2, 2, 2])


def test_lazy_conjugates_are_resolved():
    np.testing.assert_array_equal(to_numpy(torch.tensor([1 + 2j]).conj()), [1 - 2j])


def test_a_dtype_that_numpy_lacks():
    with pytest.raises(DTypeError, match=r"NumPy has no dtype torch.bfloat16: convert first"):
        to_numpy(torch.zeros(2, dtype=torch.bfloat16))


def test_a_dtype_that_torch_lacks():
    with pytest.raises(DTypeError, match="torch has no dtype complex256 on 'cpu': convert first"):
        asarray(np.zeros(2, dtype=np.clongdouble), device="torch")


def test_meta_has_shapes_alone():
    x = asarray(np.zeros((2, 3), dtype=np.float32), device="torch:meta")
    assert (tuple(x.shape), x.dtype, x.device.type) == ((2, 3), torch.float32, "meta")
    assert not backend.readable(x)
    with pytest.raises(DeviceError, match="'meta' has a shape and no values"):
        to_numpy(x)
    backend.synchronize(x.device)


def test_a_device_is_spelt_in_full():
    assert backend.device("cpu:0") == backend.device(None) == CPU
    assert str(device("torch:cpu:0")) == "torch:cpu"


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "", "cpu:x"])
def test_a_device_that_is_not_there(name):
    with pytest.raises(DeviceError, match=rf"torch cannot use the device '{name}'; there are torch:cpu") as caught:
        backend.device(name)
    assert "\n" not in str(caught.value)


def test_accelerators_are_listed_by_index(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("xpu"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert backend.devices() == ["cpu", "xpu:0", "xpu:1"]


def test_readable_unless_it_is_being_compiled(monkeypatch):
    x = torch.zeros(2)
    assert backend.readable(x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not backend.readable(x)


def test_owns_parameters_too():
    assert backend.owns(torch.nn.Parameter(torch.zeros(1)))
    assert not backend.owns(np.zeros(1))
    assert backend.version() == torch.__version__
    assert backend.memory(CPU) is None
