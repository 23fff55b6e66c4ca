"""The plug-in of JAX; what all plug-ins share is tested in tests/test_backend.py."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from nnx._errors import DeviceError, DTypeError
from nnx.backend import asarray, device, namespace_of, to_numpy
from nnx_jax import backend

jax = pytest.importorskip("jax")

REMEDY = r"jax.config.update\('jax_enable_x64', True\)"


@pytest.fixture(autouse=True)
def as_installed():
    """JAX without 64-bit types, as it is before ``tests/conftest.py`` switches them on."""
    with jax.enable_x64(False):
        yield


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_wide_floats_are_not_narrowed_without_a_word(dtype):
    x = np.zeros(2, dtype=dtype)
    with pytest.raises(DTypeError, match=rf"JAX would turn {dtype} into .*: convert it to .* first, or .*{REMEDY}"):
        asarray(x, device="jax")
    with jax.enable_x64(True):
        assert asarray(x, device="jax").dtype == dtype


def test_wide_floats_that_were_asked_for_are_not_narrowed_either():
    with pytest.raises(DTypeError, match=REMEDY):
        asarray([1.0], device="jax", dtype="float64")


@pytest.mark.parametrize(("wide", "narrow"), [("int64", "int32"), ("uint64", "uint32")])
def test_wide_integers_that_fit_are_narrowed(wide, narrow):
    bounds = np.iinfo(narrow)
    x = np.asarray([bounds.min, 0, bounds.max], dtype=wide)
    y = asarray(x, device="jax")
    assert y.dtype == narrow
    np.testing.assert_array_equal(to_numpy(y), x)
    assert asarray(np.zeros((0, 3), dtype=wide), device="jax").shape == (0, 3)
    with jax.enable_x64(True):
        assert asarray(x, device="jax").dtype == wide


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
def test_wide_integers_that_do_not_fit_raise(value):
    with pytest.raises(DTypeError, match=rf"int64 into int32, and some values do not fit: .*{REMEDY}"):
        asarray(np.asarray([0, value]), device="jax")


def test_a_dtype_that_jax_lacks():
    with pytest.raises(DTypeError, match="JAX has no dtype complex256: convert first"):
        asarray(np.zeros(2, dtype=np.clongdouble), device="jax")


def test_bfloat16_comes_back_as_it_is():
    x = jax.numpy.ones(2, dtype="bfloat16")
    assert str(to_numpy(x).dtype) == "bfloat16"


@pytest.mark.parametrize("name", ["gpu:64", "cpu:9", "cpu:", "nothing", ""])
def test_a_device_that_is_not_there(name):
    with pytest.raises(DeviceError, match=rf"JAX has no device '{name}' here; there are .*jax:cpu:0"):
        backend.device(name)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, lambda f: jax.grad(lambda x: f(x).sum())])
def test_a_traced_array_has_a_namespace_and_no_place(transform):
    seen = []

    def function(x):
        seen.append((backend.owns(x), backend.device_of(x), backend.readable(x), namespace_of(x, x)))
        return x

    transform(function)(jax.numpy.ones(3))
    assert seen == [(True, None, False, jax.numpy)]


def test_a_concrete_array_on_the_cpu_is_readable():
    x = asarray([1.0], device="jax:cpu")
    assert backend.readable(x)
    assert backend.device_of(x) == backend.device("cpu")


def test_synchronize_waits_for_all_that_is_under_way():
    x = asarray(np.ones((400, 400), dtype=np.float32), device="jax:cpu")
    for _ in range(20):
        x = x @ x / 400
    backend.synchronize(device("jax:cpu").native)
    assert x.is_ready()


def test_memory_is_what_jax_tells():
    class Told:
        def memory_stats(self):
            return {"bytes_limit": 100, "bytes_in_use": 30}

    assert backend.memory(Told()) == (70, 100)
    assert backend.memory(backend.device("cpu")) is None


def test_several_devices():
    code = """if True:
        import jax, numpy as np
        from nnx.backend import asarray, device, device_of, load_backend, namespace_of, to_numpy
        backend = load_backend("jax")
        assert backend.devices() == ["cpu:0", "cpu:1"], backend.devices()
        one, two = device("jax:cpu:0"), device("jax:cpu:1")
        a, b = asarray([1.0], device=one), asarray([1.0], device=two)
        assert (device_of(a), device_of(b)) == (one, two)
        try:
            namespace_of(a, b)
        except ValueError as error:
            print(error)
        everywhere = jax.device_put(np.arange(4.0, dtype="float32"), jax.sharding.NamedSharding(
            jax.make_mesh((2,), ("x",)), jax.sharding.PartitionSpec("x")))
        assert backend.device_of(everywhere) is None
        assert namespace_of(everywhere, a) is jax.numpy
        assert to_numpy(everywhere).tolist() == [0, 1, 2, 3]
    """
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "two devices, jax:cpu:0 and jax:cpu:1" in done.stdout
