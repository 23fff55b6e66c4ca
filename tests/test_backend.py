"""Device flags, default devices, namespaces, and the two doors between host and device."""

from __future__ import annotations

import asyncio
import importlib.metadata
import subprocess
import sys
import threading
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import array_api_compat
import numpy as np
import pytest

from nnx._errors import (
    BackendUnavailableError,
    DeviceError,
    DifferentiationError,
    DTypeError,
    MixedLibrariesError,
)
from nnx.backend import (
    asarray,
    default_device,
    device,
    device_of,
    is_array,
    library,
    library_of,
    namespace_of,
    registry,
    to_numpy,
)
from nnx.tape.node import CONSTANT, Node
from nnx.tape.tracked import Tracked

LAZY = (
    *("nnx_numpy", "nnx_cupy", "nnx_torch", "nnx_jax", "nnx_strict"),
    *("cupy", "torch", "jax", "array_api_strict", "array_api_compat.numpy"),
)
"""What is not imported before it is needed."""


@pytest.fixture(autouse=True)
def no_default(monkeypatch):
    monkeypatch.delenv("NNX_DEVICE", raising=False)
    monkeypatch.setattr(registry, "_process", [])


def available(flag):
    """The device of a flag; a skip where its library is not installed, or has no GPU to run on."""
    library = {"strict": "array_api_strict", "cpu": "numpy", "cuda": "cupy"}.get(name := flag.partition(":")[0], name)
    pytest.importorskip(library)
    try:
        return device(flag)
    except BackendUnavailableError as error:
        if name != "cuda":
            raise
        pytest.skip(str(error))


@pytest.fixture(params=["cpu", "strict", "torch", "jax", "cuda"])
def place(request):
    return available(request.param)


@pytest.fixture(params=["strict", "torch", "jax", "cuda"])
def other(request):
    """A device whose arrays are not NumPy's."""
    return available(request.param)


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


class TestFlags:
    def test_a_device_prints_as_its_flag_and_is_found_by_it(self, place):
        assert device(str(place)) == place
        assert hash(device(str(place))) == hash(place)
        assert repr(place) == f"nnx.Device({str(place)!r})"

    @pytest.mark.parametrize(
        ("flag", "text"), [("cpu", "cpu"), ("numpy", "cpu"), ("cpu:0", "cpu"), ("numpy:cpu", "cpu")]
    )
    def test_numpy_prints_as_cpu(self, flag, text):
        assert str(device(flag)) == text

    def test_a_device_is_its_own_flag(self):
        assert device(device("cpu")) is not None
        here = device("cpu")
        assert device(here) is here

    def test_every_device_of_a_backend_is_found_by_name(self, place):
        backend = place.backend
        for name in backend.devices():
            native = backend.device(name)
            assert backend.device_name(native) == name
            assert backend.device(backend.device_name(native)) == native
        assert backend.device(None) == backend.device(backend.devices()[0])

    def test_the_two_flags_of_a_plug_in_are_one_backend(self):
        assert registry.load_backend("cpu") is registry.load_backend("numpy")
        assert registry.load_backend("cuda") is registry.load_backend("cupy")

    @pytest.mark.parametrize("flag", ["tortch", "CPU", "", ":0"])
    def test_an_unknown_flag_names_the_known_ones(self, flag):
        with pytest.raises(
            DeviceError, match=f"unknown device flag '{flag.partition(':')[0]}'.* cpu, cuda, cupy, jax,"
        ):
            device(flag)

    @pytest.mark.parametrize("flag", ["cpu:1", "cpu:", "strict:device9", "torch:nowhere", "jax:gpu:64", "jax:cpu:7"])
    def test_an_unknown_device_names_what_came(self, flag):
        available(flag.partition(":")[0])
        with pytest.raises(DeviceError, match=repr(flag.partition(":")[2])):
            device(flag)

    @pytest.mark.parametrize("flag", [0, b"cpu", ["cpu"]])
    def test_a_flag_of_another_type(self, flag):
        with pytest.raises(DeviceError, match="a device flag is a string"):
            device(flag)

    def test_auto_is_the_cpu_where_no_gpu_answers(self, monkeypatch):
        def no_gpu(self, name):
            raise BackendUnavailableError("no GPU")

        cupy = registry.load_backend("cuda")
        monkeypatch.setattr(type(cupy), "load", lambda self: None)
        monkeypatch.setattr(type(cupy), "device", no_gpu)
        assert str(device("auto")) == "cpu"

    def test_a_library_without_an_extra_is_installed_by_its_own_package(self, monkeypatch):
        def load(self):
            raise ImportError("half of it is gone")

        monkeypatch.setattr(type(registry.load_backend("cpu")), "load", load)
        with pytest.raises(BackendUnavailableError, match="half of it is gone; reinstall the package it comes from"):
            device("cpu")

    def test_auto_is_cuda_where_a_gpu_answers(self, monkeypatch):
        cupy = registry.load_backend("cuda")
        monkeypatch.setattr(type(cupy), "load", lambda self: None)
        monkeypatch.setattr(type(cupy), "device", lambda self, name: SimpleNamespace(id=0))
        assert str(device("auto")) == "cuda:0"

    def test_a_missing_library_says_what_to_install(self, monkeypatch):
        def load(self):
            raise ModuleNotFoundError("No module named 'torch'")

        monkeypatch.setattr(type(registry.load_backend("torch")), "load", load)
        with pytest.raises(
            BackendUnavailableError, match=r"'torch' cannot load: No module.* `pip install 'nnx-array\[torch\]'`"
        ):
            device("torch")

    def test_a_broken_library_is_to_be_reinstalled(self, monkeypatch):
        def load(self):
            raise RuntimeError("numpy.dtype size changed")

        monkeypatch.setattr(type(registry.load_backend("torch")), "load", load)
        with pytest.raises(BackendUnavailableError, match="size changed; reinstall it"):
            device("torch")

    def test_plug_ins_are_loaded_when_they_are_asked_for(self):
        start = "import sys; from nnx.backend import asarray, entry_points, namespace_of; "
        listing = f"print(*sorted({set(LAZY)} & set(sys.modules)))"
        assert run(start + "assert 'torch' in entry_points(); " + listing) == []
        assert run(start + "namespace_of(asarray([1.0, 2.0], device='cpu')); " + listing) == [
            "array_api_compat.numpy",
            "nnx_numpy",
        ]

    @pytest.mark.parametrize("plugin", [name for name in LAZY if name.startswith("nnx_")])
    def test_a_plug_in_does_not_import_its_library(self, plugin):
        assert run(f"import sys, {plugin}; print(*sorted({set(LAZY)} & set(sys.modules)))") == [plugin]


class TestPlugIns:
    """Entry points that fail. One that works, and is found by installing it: backends/test_readme.py."""

    @pytest.fixture
    def install(self, monkeypatch):
        def install(**plugins):
            points = {**registry.entry_points(), **plugins}
            monkeypatch.setattr(registry, "entry_points", lambda: points)
            monkeypatch.setattr(library, "entry_points", lambda: points)
            registry.load_backend.cache_clear()

        yield install
        monkeypatch.undo()
        registry.load_backend.cache_clear()

    @pytest.mark.parametrize("error", [ImportError("no such thing"), SyntaxError("nonsense"), ZeroDivisionError("?")])
    def test_one_that_fails_to_load_says_why(self, install, error):
        def load():
            raise error

        install(broken=SimpleNamespace(value="broken:backend", load=load))
        with pytest.raises(
            BackendUnavailableError, match=r"'broken' \(broken:backend\) fails to load: .*Error"
        ) as caught:
            device("broken")
        assert str(error) in str(caught.value)

    def test_the_first_of_two_of_one_name_is_meant(self, monkeypatch):
        points = [
            EntryPoint("same", value, registry.ENTRY_POINT_GROUP) for value in ("first:backend", "second:backend")
        ]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: points)
        assert registry.entry_points.__wrapped__()["same"].value == "first:backend"

    def test_one_that_lacks_parts_says_which(self, install):
        half = SimpleNamespace(
            name="half", flag="half", extra="", views=False, one_device=True, defers=True, load=lambda: None
        )
        install(half=SimpleNamespace(value="half:backend", load=lambda: half))
        with pytest.raises(BackendUnavailableError, match=r"lacks .*devices.*from_host.*memory: update"):
            device("half")

    def test_a_broken_one_does_not_disturb_the_arrays_of_others(self, install):
        def load():
            raise ImportError

        install(aaa=SimpleNamespace(value="aaa:backend", load=load))
        assert library._owner(SimpleNamespace()) is None
        assert library._owner(np.zeros(2)).name == "numpy"


class TestDefaultDevice:
    @pytest.fixture(autouse=True)
    def several_devices(self):
        available("strict")

    def test_it_is_the_cpu(self):
        assert str(device()) == "cpu"

    def test_the_environment_sets_it(self, monkeypatch):
        monkeypatch.setenv("NNX_DEVICE", "strict:device2")
        assert str(device()) == "strict:device2"
        assert device_of(asarray([1.0])) == device("strict:device2")

    def test_a_wrong_environment_is_named(self, monkeypatch):
        monkeypatch.setenv("NNX_DEVICE", "tortch")
        with pytest.raises(DeviceError, match=r"unknown device flag 'tortch'.*variable NNX_DEVICE"):
            device()

    def test_an_empty_environment_is_none(self, monkeypatch):
        monkeypatch.setenv("NNX_DEVICE", "")
        assert str(device()) == "cpu"

    def test_a_call_holds_until_the_next_one(self, monkeypatch):
        monkeypatch.setenv("NNX_DEVICE", "cpu")
        default_device("strict")
        assert str(device()) == "strict:device1"
        default_device("strict:device2")
        assert str(device()) == "strict:device2"

    def test_a_call_holds_in_other_threads(self):
        default_device("strict")
        assert in_thread(lambda: str(device())) == "strict:device1"

    def test_blocks_nest(self):
        default_device("strict:no_float64")
        with default_device("strict:device1") as outer:
            assert device() == outer
            with default_device("cpu"):
                assert str(device()) == "cpu"
                with default_device("strict:device2"):
                    assert str(device()) == "strict:device2"
                assert str(device()) == "cpu"
            assert device() == outer
        assert str(device()) == "strict:no_float64"

    def test_a_block_takes_itself_back_after_an_exception(self):
        with pytest.raises(ZeroDivisionError), default_device("strict"):
            raise ZeroDivisionError
        assert str(device()) == "cpu"

    def test_a_wrong_flag_changes_nothing(self):
        with pytest.raises(DeviceError):
            default_device("tortch")
        assert str(device()) == "cpu"

    def test_a_block_does_not_reach_other_threads(self):
        with default_device("strict"):
            assert in_thread(lambda: str(device())) == "cpu"

    def test_a_call_inside_a_block_holds_after_it(self):
        with default_device("strict:device1"):
            default_device("strict:device2")
            assert str(device()) == "strict:device1"
        assert str(device()) == "strict:device2"

    def test_one_object_can_be_entered_again(self):
        block = default_device("strict")
        for _ in range(2):
            with block, block:
                assert str(device()) == "strict:device1"
            assert str(device()) == "cpu"

    def test_blocks_of_two_threads_that_overlap_leave_nothing_behind(self):
        one, two = default_device("strict:device1"), default_device("strict:device2")  # both heads, then both bodies
        with one:
            pass
        with two:
            pass
        assert str(device()) == "cpu"

    def test_tasks_each_see_their_own(self):
        async def work(flag):
            with default_device(flag):
                await asyncio.sleep(0)
                return str(device())

        async def both():
            return await asyncio.gather(work("strict:device1"), work("strict:device2"))

        assert asyncio.run(both()) == ["strict:device1", "strict:device2"]
        assert str(device()) == "cpu"

    def test_threads_each_see_their_own(self):
        barrier = threading.Barrier(3)

        def work(flag):
            with default_device(flag):
                barrier.wait(10)
                return str(device())

        flags = ["strict:device1", "strict:device2", "cpu"]
        found = {}
        threads = [threading.Thread(target=lambda f=f: found.setdefault(f, work(f))) for f in flags]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {flag: flag for flag in flags}
        assert str(device()) == "cpu"


def in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


class TestNamespaceOf:
    def test_it_is_the_namespace_of_the_compatibility_layer(self, place):
        x = asarray([1.0, 2.0], device=place)
        theirs = array_api_compat.array_namespace(x)
        assert namespace_of(x) is place.namespace
        # with several GPUs each function is guarded
        assert place.namespace is theirs or type(place.namespace).__name__ == "Guarded"
        assert place.namespace.__name__ == theirs.__name__
        assert namespace_of(None, 2.0, x, 1, True, x) is place.namespace

    def test_a_numpy_scalar_is_an_array(self):
        assert namespace_of(np.float32(1), np.zeros(2)) is device("cpu").namespace

    def test_without_an_array(self):
        with pytest.raises(MixedLibrariesError, match="at least one array, got NoneType, float"):
            namespace_of(None, 1.0)

    @pytest.mark.parametrize("x", [[1.0, 2.0], "text", object()])
    def test_what_is_no_array(self, x):
        with pytest.raises(MixedLibrariesError, match=rf"got {type(x).__name__}: make one with nnx.asarray"):
            namespace_of(x)

    def test_two_libraries_are_named_with_the_remedy(self, other):
        a, b = asarray([1.0], device="cpu"), asarray([1.0], device=other)
        with pytest.raises(MixedLibrariesError) as caught:
            namespace_of(a, b)
        text = str(caught.value)
        assert f"numpy and {other.backend.name}" in text
        assert f"bring both to 'cpu' or {str(other)!r}" in text
        assert "nnx.asarray(x, device=...)" in text
        assert "model.to(...)" in text
        assert namespace_of(asarray(b, device="cpu"), a) is device("cpu").namespace

    @pytest.mark.parametrize(("one", "two"), [("strict:device1", "strict:device2"), ("torch:cpu", "torch:meta")])
    def test_two_devices_are_named_with_the_remedy(self, one, two):
        a, b = asarray([1.0], device=available(one)), asarray([1.0], device=available(two))
        with pytest.raises(DeviceError) as caught:
            namespace_of(a, None, b)
        assert f"two devices, {one} and {two}" in str(caught.value)
        assert f"bring both to {one!r} or {two!r}, data with nnx.asarray(x, device=...)" in str(caught.value)

    def test_a_library_without_a_plug_in(self):
        x = Foreign(np.asarray([1.0, 2.0]))
        assert namespace_of(x) is FOREIGN
        assert library_of(x).backend is None
        with pytest.raises(BackendUnavailableError, match="no backend plug-in is installed for arrays of foreign"):
            device_of(x)
        with pytest.raises(MixedLibrariesError, match="foreign and numpy"):
            namespace_of(x, np.zeros(2))

    def test_its_arrays_come_in_by_dlpack(self, place):
        x = Foreign(np.asarray([1.5, 2.5], dtype=np.float32))
        y = asarray(x, device=place)
        assert namespace_of(y) is place.namespace
        np.testing.assert_array_equal(to_numpy(y), x.array)
        assert not np.shares_memory(to_numpy(x), x.array)


FOREIGN = SimpleNamespace(__name__="foreign")


def test_what_is_an_array():
    assert all(map(is_array, (np.ones(2), np.float32(1))))
    assert not any(map(is_array, (np.float32, np.dtype("float32"), 1.0, [1.0], None)))


class Foreign:
    """An array of a library that nnx has never heard of."""

    def __init__(self, array):
        self.array = array

    def __array_namespace__(self, *, api_version=None):
        return FOREIGN

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128".split()


class TestDoors:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(), (0,), (0, 3), (5,), (2, 3, 4)])
    def test_a_round_trip_keeps_values_dtype_and_device(self, place, dtype, shape):
        x = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
        y = asarray(x, device=place)
        xp = namespace_of(y)
        assert y.shape == shape
        assert y.dtype == getattr(xp, dtype)
        assert device_of(y) == place
        back = to_numpy(y)
        assert type(back) is np.ndarray
        assert back.dtype == dtype
        assert back.shape == shape
        np.testing.assert_array_equal(back, x)

    @pytest.mark.parametrize(
        "change",
        [
            lambda x: x.T,
            lambda x: x[::-1],
            lambda x: x[:, ::2],
            lambda x: np.broadcast_to(x[0], (5, 6)),
            lambda x: x.astype(">f4"),
            lambda x: x[1, 2],
            np.asfortranarray,
        ],
        ids=["transposed", "reversed", "strided", "broadcast", "big-endian", "scalar", "fortran"],
    )
    @pytest.mark.parametrize("read_only", [False, True])
    def test_host_arrays_of_every_layout(self, place, change, read_only):
        x = np.arange(24, dtype=np.float32).reshape(4, 6)
        x.flags.writeable = not read_only
        x = change(x)
        y = asarray(x, device=place)
        np.testing.assert_array_equal(to_numpy(y), x)
        assert device_of(y) == place
        total = namespace_of(y).sum(y)  # the array can be computed with
        assert float(total) == float(x.sum())

    def test_the_result_of_to_numpy_is_its_own(self, place):
        y = asarray(np.zeros(3, dtype=np.float32), device=place)
        back = to_numpy(y)
        back[:] = 7
        np.testing.assert_array_equal(to_numpy(y), np.zeros(3))

    @pytest.mark.parametrize("flag", ["jax", "strict", "cuda"])
    def test_arrays_that_are_not_host_memory_do_not_share_it(self, flag):
        room = np.zeros(4096 + 64, dtype=np.float32)
        start = -room.ctypes.data % 256 // 4  # JAX shares memory that is well aligned
        x = room[start : start + 4096]
        y = asarray(x, device=available(flag))
        x[:] = 7
        np.testing.assert_array_equal(to_numpy(y), np.zeros(4096))

    def test_an_array_that_is_there_comes_back_as_it_is(self, place):
        y = asarray(np.ones((2, 2), dtype=np.float32), device=place)
        assert asarray(y, device=place) is y
        assert asarray(y, device=place, dtype="float32") is y

    def test_from_any_library_to_any_other(self, place, other):
        x = np.asarray([[1.5, -2.0], [0.0, 3.0]], dtype=np.float32)
        y = asarray(asarray(x, device=other), device=place)
        assert device_of(y) == place
        np.testing.assert_array_equal(to_numpy(y), x)

    @pytest.mark.parametrize(
        ("x", "dtype"),
        [(1.5, "float32"), ([1.0, 2.0], "float32"), ([[True, False]], "bool"), (1j, "complex64"), ([], "float32")],
    )
    def test_python_numbers_become_the_default_type(self, place, x, dtype):
        y = asarray(x, device=place)
        assert str(to_numpy(y).dtype) == dtype
        np.testing.assert_array_equal(to_numpy(y), np.asarray(x, dtype=dtype))

    @pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "bool"])
    def test_dtype_converts_host_data_of_a_wider_type(self, place, dtype):
        x = np.asarray([0.0, 1.0, 2.0])
        y = asarray(x, device=place, dtype=dtype)
        assert y.dtype == getattr(namespace_of(y), dtype)
        np.testing.assert_array_equal(to_numpy(y), x.astype(dtype))

    def test_dtype_converts_on_the_device(self, place):
        y = asarray(asarray([0.0, 1.0, 2.0], device=place), device=place, dtype="int32")
        assert device_of(y) == place
        assert y.dtype == namespace_of(y).int32

    @pytest.mark.parametrize("dtype", ["float", "double", "matmul", np.float32, 3])
    def test_a_wrong_dtype(self, dtype):
        with pytest.raises(DTypeError, match="such as 'float32', not"):
            asarray([1.0], dtype=dtype)

    @pytest.mark.parametrize(
        "x", ["text", ["a", "b"], [None], np.asarray(["2020-01-01"], "datetime64[D]"), np.zeros(2, [("a", "f4")])]
    )
    def test_what_has_no_numbers(self, place, x):
        with pytest.raises(DTypeError, match="expected numbers or booleans, got dtype"):
            asarray(x, device=place)

    def test_to_numpy_of_what_is_no_array(self):
        with pytest.raises(MixedLibrariesError, match="got list"):
            to_numpy([1.0])


class TestTracked:
    @pytest.fixture
    def raw(self):
        return asarray([1.0, 2.0], device=available("strict"))

    @pytest.fixture
    def xp(self, raw):
        from nnx.tape.namespace import DifferentiableNamespace, Table

        return DifferentiableNamespace(namespace_of(raw), Table(rules={}))

    def test_it_stays_on_its_device(self, raw, xp):
        x = Tracked(raw, xp, Node(1, xp.raw))
        assert asarray(x, device="strict") is x
        for device_ in ("cpu", "strict:device2"):
            with pytest.raises(DifferentiationError, match="would drop its gradient"):
                asarray(x, device=device_)
        with pytest.raises(DifferentiationError, match=r"to_numpy\(\) of a tracked array of shape \(2,\)"):
            to_numpy(x)

    def test_a_constant_has_no_gradient_to_lose(self, raw, xp):
        x = Tracked(raw, xp, CONSTANT)
        np.testing.assert_array_equal(to_numpy(x), [1.0, 2.0])
        np.testing.assert_array_equal(asarray(x, device="cpu"), [1.0, 2.0])
