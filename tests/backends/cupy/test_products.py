"""Matrix products by cuBLAS's C interface: with a GPU, or with the twin's cuBLAS, which checks what it is given."""

from __future__ import annotations

import ctypes
import gc
import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx

ml_dtypes = pytest.importorskip("ml_dtypes")

cupy = pytest.importorskip("cupy")
blas = pytest.importorskip("nnx_cupy.blas")


@pytest.fixture(autouse=True, scope="module")
def gpu(flags):
    flag = next((flag for flag in flags if flag.startswith("cuda")), None)
    if flag is None:
        pytest.skip("no GPU, and no twin of CuPy")
    with cupy.cuda.Device(nnx.device(flag).native.id):
        yield nnx.device(flag).namespace


RNG = np.random.default_rng(0)
LAYOUTS = ["C", "F", "rows apart", "columns apart", "upside down"]


def laid_out(host, layout):
    """On the GPU, with the strides that it would have on the host."""
    x = cupy.asarray(host)
    return {
        "C": lambda: x,
        "F": lambda: cupy.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2),
        "rows apart": lambda: cupy.repeat(x, 3, axis=-2)[..., ::3, :],
        "columns apart": lambda: cupy.repeat(x, 2, axis=-1)[..., ::2],
        "upside down": lambda: cupy.ascontiguousarray(x[..., ::-1, :])[..., ::-1, :],
    }[layout]()


def close(found, expected, dtype):
    eps = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(
        cupy.asnumpy(found).astype("float64"),
        expected,
        rtol=8 * eps,
        atol=8 * eps * max(1, np.abs(expected).max(initial=0)),
    )


@pytest.mark.parametrize(("first", "second"), [*itertools.product(LAYOUTS, LAYOUTS)])
@pytest.mark.parametrize("shape", [(4, 5, 3), (1, 5, 3), (4, 1, 3), (4, 5, 1), (1, 1, 1), (64, 33, 70)])
def test_layouts(first, second, shape):
    m, k, n = shape
    a, b = RNG.standard_normal((m, k)), RNG.standard_normal((k, n))
    close(blas.product(laid_out(a, first), laid_out(b, second)), a @ b, np.float64)


def test_batches_that_are_read_backwards_or_again():
    a, b = RNG.standard_normal((3, 4, 5)), RNG.standard_normal((3, 5, 2))
    x, y = cupy.asarray(a), cupy.asarray(b)
    close(blas.product(x[::-1], y), a[::-1] @ b, np.float64)
    close(blas.product(x, y[::-1]), a @ b[::-1], np.float64)
    close(blas.product(cupy.broadcast_to(x[:1], x.shape), y), a[:1] @ b, np.float64)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_dtypes(dtype, batch):
    a, b = (RNG.standard_normal((*batch, *shape)).astype(dtype) for shape in [(6, 5), (5, 7)])
    c = blas.product(cupy.asarray(a), cupy.asarray(b))
    assert c.dtype == dtype
    close(c, a.astype("float64") @ b.astype("float64"), dtype)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_low_factors_are_added_up_in_float32(dtype):
    """4096 ones are 4096, and not the 2048 or 256 at which the type itself stops counting."""
    ones = cupy.ones((2, 4097), dtype)
    c = blas.product(ones, ones.T, cupy.zeros((2, 2), np.float32))
    np.testing.assert_array_equal(cupy.asnumpy(c), np.full((2, 2), 4097))


def test_adding_to_what_is_there():
    a, b, c = RNG.standard_normal((4, 5)), RNG.standard_normal((5, 3)), RNG.standard_normal((4, 3))
    out = cupy.asarray(c)
    assert blas.product(cupy.asarray(a), cupy.asarray(b), out, accumulate=True) is out
    close(out, a @ b + c, np.float64)
    blas.product(cupy.asarray(a), cupy.asarray(b), out)
    close(out, a @ b, np.float64)


def test_empty_products():
    out = cupy.ones((2, 3))
    assert not blas.product(cupy.ones((2, 0)), cupy.ones((0, 3)), out).any()
    assert blas.product(cupy.ones((2, 0)), cupy.ones((0, 3)), cupy.ones((2, 3)), accumulate=True).all()
    assert blas.product(cupy.ones((0, 2)), cupy.ones((2, 3))).shape == (0, 3)
    assert blas.product(cupy.ones((0, 2, 2)), cupy.ones((0, 2, 3))).shape == (0, 2, 3)


def test_tf32_is_for_its_block_alone():
    a, b = (np.float32(1 + 2.0**-12) * np.ones(shape, "float32") for shape in [(8, 16), (16, 8)])
    exact = blas.product(cupy.asarray(a), cupy.asarray(b))
    with blas.tf32():
        rounded = blas.product(cupy.asarray(a), cupy.asarray(b))
        wide = blas.product(cupy.asarray(a.astype("float64")), cupy.asarray(b.astype("float64")))
    assert float(exact[0, 0]) > 16
    assert float(rounded[0, 0]) == 16
    assert float(wide[0, 0]) > 16
    np.testing.assert_array_equal(cupy.asnumpy(blas.product(cupy.asarray(a), cupy.asarray(b))), cupy.asnumpy(exact))


SHAPES = st.lists(st.integers(0, 3), max_size=2).map(tuple)


@given(data=st.data(), m=st.integers(0, 4), k=st.integers(0, 4), n=st.integers(0, 4))
def test_matmul_is_that_of_the_standard(gpu, data, m, k, n):
    leading = data.draw(SHAPES)
    first = data.draw(st.sampled_from([(k,), (m, k), (*leading, m, k), (*(1 for _ in leading), m, k)]))
    second = data.draw(st.sampled_from([(k,), (k, n), (*leading, k, n), (*leading[1:], k, n)]))
    a, b = RNG.standard_normal(first), RNG.standard_normal(second)
    expected = a @ b
    found = gpu.matmul(cupy.asarray(a), cupy.asarray(b))
    assert found.shape == expected.shape
    close(found, expected, np.float64)


def test_what_does_not_fit(gpu):
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 3\) do not fit a matrix product: 3, 2"):
        gpu.matmul(cupy.ones((2, 3)), cupy.ones((2, 3)))
    with pytest.raises(ValueError, match="do not fit"):
        gpu.tensordot(cupy.ones((2, 3)), cupy.ones((2, 3)), axes=1)
    with pytest.raises(ValueError, match="do not fit"):
        gpu.vecdot(cupy.ones((2, 3)), cupy.ones((2, 2)))


@pytest.mark.parametrize("axes", [0, 1, 2, ((0, 2), (1, 0)), ((-1,), (-3,)), ((), ())])
def test_tensordot(gpu, axes):
    a, b = RNG.standard_normal((2, 3, 2)), RNG.standard_normal((2, 2, 3) if axes != 2 else (3, 2, 4))
    close(gpu.tensordot(cupy.asarray(a), cupy.asarray(b), axes=axes), np.tensordot(a, b, axes=axes), np.float64)


@pytest.mark.parametrize("count", [1, 8, 9, 65, 80])
def test_many_arrays_are_joined(gpu, count):
    arrays = [RNG.standard_normal((2, 3)) for _ in range(count)]
    there = [cupy.asarray(a) for a in arrays]
    for axis in (0, 1, -1):
        np.testing.assert_array_equal(cupy.asnumpy(gpu.concat(there, axis=axis)), np.concatenate(arrays, axis=axis))
        np.testing.assert_array_equal(cupy.asnumpy(gpu.stack(there, axis=axis)), np.stack(arrays, axis=axis))
    np.testing.assert_array_equal(cupy.asnumpy(gpu.concat(there, axis=None)), np.concatenate(arrays, axis=None))
    assert gpu.concat([cupy.ones(1, np.int32), cupy.ones(1, np.float64)]).dtype == np.float64


def test_an_error_of_cublas_says_which(monkeypatch):
    monkeypatch.setattr(blas, "_DEFAULT", -1)
    monkeypatch.setitem(blas.TYPES, "float64", 999)
    with pytest.raises(RuntimeError, match=r"cuBLAS failed at a matrix product: .* \(status \d+\)"):
        blas.product(cupy.ones((2, 2)), cupy.ones((2, 2)))


def test_low_types_are_added_in_float32_throughout():
    """cuBLAS may add the parts of a long sum in the type of the result, unless it is told not to."""
    blas.product(cupy.ones((2, 2), np.float16), cupy.ones((2, 2), np.float16))
    handle = blas._handles.by_device[cupy.cuda.runtime.getDevice()].value
    mode = ctypes.c_int()
    assert blas._library().cublasGetMathMode(handle, ctypes.byref(mode)) == 0
    assert mode.value == 16  # CUBLAS_DEFAULT_MATH and CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION


def test_a_handle_is_destroyed_on_its_gpu(monkeypatch):
    destroyed = []
    library = blas._library()
    monkeypatch.setattr(
        library, "cublasDestroy_v2", lambda handle: destroyed.append(cupy.cuda.runtime.getDevice()), raising=True
    )

    def work():
        for device in range(cupy.cuda.runtime.getDeviceCount()):
            with cupy.cuda.Device(device):
                blas.product(cupy.ones((2, 2)), cupy.ones((2, 2)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    gc.collect()
    assert sorted(destroyed) == list(range(cupy.cuda.runtime.getDeviceCount()))


@pytest.mark.parametrize("status", [1, 3])
@pytest.mark.parametrize("times", [1, 2])
def test_a_handle_gets_memory_that_the_pool_holds(monkeypatch, status, times):
    library = blas._library()
    create, calls, freed = library.cublasCreate_v2, [], []

    def scarce(handle):
        calls.append(handle)
        return status if len(calls) <= times else create(handle)

    class Pool:
        def free_all_blocks(self):
            freed.append(len(calls))

    monkeypatch.setattr(library, "cublasCreate_v2", scarce)
    monkeypatch.setattr(cupy, "get_default_memory_pool", Pool)
    if times == 2:
        with pytest.raises(RuntimeError, match="cuBLAS failed at making a handle"):
            blas._Handle(cupy.cuda.runtime.getDevice())
    else:
        assert blas._Handle(cupy.cuda.runtime.getDevice()).value.value
    assert freed == [1]
    assert len(calls) == 2


def test_each_thread_has_a_handle():
    device = cupy.cuda.runtime.getDevice()
    blas.product(cupy.ones((2, 2)), cupy.ones((2, 2)))
    mine, theirs = blas._handles.by_device[device].value.value, []

    def work():
        with cupy.cuda.Device(device):
            blas.product(cupy.ones((2, 2)), cupy.ones((2, 2)))
            theirs.append(blas._handles.by_device[device].value.value)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert isinstance(blas._handles.by_device[device].value, ctypes.c_void_p)
    assert theirs != [mine]
    if hasattr(cupy, "twin"):
        from cupy import _cublas

        gc.collect()
        assert mine in _cublas.HANDLE_STREAMS
        assert theirs[0] not in _cublas.HANDLE_STREAMS  # its thread has ended
