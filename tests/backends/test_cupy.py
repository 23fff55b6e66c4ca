"""The plug-in of CuPy: what it says where there is no CuPy, no driver and no GPU.

CuPy and the driver are stood in for, so that every machine tests every case. The tests of tests/backends/cupy and of
tests/test_backend.py run on the real ones where there is a GPU.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import array_api_compat
import numpy as np
import pytest

from nnx._errors import BackendUnavailableError, DeviceError
from nnx.backend import Device, device
from nnx_cupy import backend
from nnx_cupy.namespace import Guarded


class Runtime:
    """The CUDA runtime with ``count`` GPUs, or with an ``error`` from its C function."""

    def __init__(self, count, driver=13000, built=13020, error=None):
        self.count, self.driver, self.built, self.error = count, driver, built, error

    def getDeviceCount(self):
        if not self.count:
            raise RuntimeError(self.error or "cudaErrorNoDevice: no CUDA-capable device is detected")
        return self.count

    def driverGetVersion(self):
        if self.error:
            raise RuntimeError(self.error)
        return self.driver

    def runtimeGetVersion(self):
        return self.built


class FakeDevice:
    """``cupy.cuda.Device``, which cannot be hashed."""

    def __init__(self, id):
        self.id = id
        self.waited = 0

    def __eq__(self, other):
        return self.id == other.id

    __hash__ = None

    def synchronize(self):
        self.waited += 1


@pytest.fixture
def install(monkeypatch):
    def install(runtime):
        cuda = SimpleNamespace(runtime=runtime, is_available=lambda: runtime.count > 0, Device=FakeDevice)
        linalg = SimpleNamespace(__name__="cupy.linalg", __doc__="")
        fft = SimpleNamespace(__name__="cupy.fft", __doc__="", fftfreq=np.fft.fftfreq, rfftfreq=np.fft.rfftfreq)
        cupy = SimpleNamespace(__version__="14.2.0", __name__="cupy", __doc__="", cuda=cuda, linalg=linalg, fft=fft)
        monkeypatch.setattr("nnx_cupy.namespace._made", [])  # of the real one: others hold it
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setitem(sys.modules, "array_api_compat.cupy", cupy)
        monkeypatch.setattr(array_api_compat, "cupy", cupy, raising=False)

    return install


class TestWithoutAGpu:
    def test_without_cupy(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cupy", None)  # `import cupy` then raises ModuleNotFoundError
        monkeypatch.delitem(sys.modules, "array_api_compat.cupy", raising=False)
        with pytest.raises(BackendUnavailableError, match=r"CuPy is not installed.*\[cuda13\].*\[cuda12\]") as caught:
            device("cuda")
        assert str(caught.value).startswith("CuPy")

    def test_with_a_cupy_that_does_not_load(self, monkeypatch, tmp_path):
        banner = "raise ImportError('=====\\n many lines\\n=====') from ImportError('libcublas.so.12: cannot open')"
        (tmp_path / "cupy.py").write_text(banner)
        monkeypatch.syspath_prepend(tmp_path)
        for name in [n for n in sys.modules if n.partition(".")[0] == "cupy" or n.startswith("array_api_compat.cupy")]:
            monkeypatch.delitem(sys.modules, name)
        with pytest.raises(BackendUnavailableError, match=r"fails to load: libcublas.so.12: cannot open; reinstall"):
            device("cuda")

    @pytest.mark.parametrize("flag", ["cuda", "cuda:0", "cuda:1", "cupy"])
    def test_without_a_driver(self, install, flag):
        install(Runtime(0, driver=0))
        with pytest.raises(
            BackendUnavailableError, match=r"^CuPy cannot run: no NVIDIA driver is found; install one, or"
        ):
            device(flag)

    def test_with_a_driver_that_is_too_old(self, install):
        install(Runtime(0, driver=12040))
        with pytest.raises(
            BackendUnavailableError, match=r"of CUDA 12.4 .* for CUDA 13.2; update .*nnx-array\[cuda12\]"
        ):
            device("cuda")

    def test_with_a_driver_that_finds_no_gpu(self, install, monkeypatch):
        install(Runtime(0))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        with pytest.raises(BackendUnavailableError, match=r"finds no GPU; check `nvidia-smi`, or use the .* 'cpu'$"):
            device("cuda")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        with pytest.raises(BackendUnavailableError, match=r"\(CUDA_VISIBLE_DEVICES is ''\)"):
            device("cuda")

    def test_with_a_driver_that_does_not_answer(self, install):
        install(Runtime(0, error="cudaErrorUnknown: unknown error"))
        with pytest.raises(
            BackendUnavailableError, match=r"does not answer \(cudaErrorUnknown: unknown error\); check"
        ):
            device("cuda")

    def test_auto_is_the_cpu(self, install):
        install(Runtime(0, driver=0))
        assert str(device("auto")) == "cpu"

    def test_the_real_one(self):
        cupy = pytest.importorskip("cupy")
        if cupy.cuda.is_available():
            pytest.skip("there is a GPU")
        with pytest.raises(BackendUnavailableError, match="CuPy cannot run: "):
            device("cuda")
        assert str(device("auto")) == "cpu"


class TestWithTwoGpus:
    @pytest.fixture(autouse=True)
    def two(self, install, monkeypatch):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        install(Runtime(2))

    def test_flags(self):
        assert [str(device(flag)) for flag in ("cuda", "cuda:0", "cupy:1", "cuda:1", "auto")] == [
            "cuda:0",
            "cuda:0",
            "cuda:1",
            "cuda:1",
            "cuda:0",
        ]
        assert backend.devices() == ["0", "1"]

    @pytest.mark.parametrize("name", ["2", "7", "-1", "x", "", "0.0"])
    def test_an_index_that_is_not_there(self, name):
        with pytest.raises(DeviceError, match=f"no CUDA device '{name}': there are 2 GPUs: cuda:0 to cuda:1"):
            device(f"cuda:{name}")

    def test_one_gpu_is_named_alone(self, install, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
        install(Runtime(1))
        with pytest.raises(DeviceError, match=r"there is 1 GPU: cuda:0 \(CUDA_VISIBLE_DEVICES is '3'\)"):
            device("cuda:3")

    def test_an_unhashable_device_does(self):
        assert {device("cuda:1"): "second"}[device("cupy:1")] == "second"
        assert device("cuda:0") != device("cuda:1")
        assert hash(Device(backend, FakeDevice(1))) == hash(device("cuda:1"))

    def test_the_functions_are_guarded_where_there_are_several(self, install):
        assert isinstance(backend.load(), Guarded)
        assert backend.load() is backend.load()
        install(Runtime(1))
        assert not isinstance(backend.load(), Guarded)
        assert backend.load() is backend.load()

    def test_synchronize(self):
        second = device("cuda:1").native
        backend.synchronize(second)
        assert second.waited == 1
        assert backend.version() == "14.2.0"
