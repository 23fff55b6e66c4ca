"""The emulator that runs CUDA kernels on the host: what it computes, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

ml_dtypes = pytest.importorskip("ml_dtypes")

emulator = pytest.importorskip("cupy._emulator", reason="needs the twin of CuPy: PYTHONPATH=tests/cuda_twin")
cupy = pytest.importorskip("cupy")
CompileException, KernelError = emulator.CompileException, emulator.KernelError

HEADERS = "#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n"


def kernel(parameters, body, name="kernel", before=""):
    code = f'{HEADERS}{before}\nextern "C" __global__ void {name}({parameters}) {{\n{body}\n}}'
    return cupy.RawModule(code=code, options=("-std=c++17",)).get_function(name)


def test_threads_blocks_and_three_axes():
    y = cupy.zeros((2, 3, 4, 5), dtype=np.int32)
    where = "((blockIdx.y * gridDim.x + blockIdx.x) * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x"
    kernel("int* y", f"y[{where}] = 1000 * blockIdx.y + 100 * blockIdx.x + 10 * threadIdx.y + threadIdx.x;")(
        (3, 2), (5, 4), (y,)
    )
    at = np.indices((2, 3, 4, 5))
    np.testing.assert_array_equal(cupy.asnumpy(y), 1000 * at[0] + 100 * at[1] + 10 * at[2] + at[3])


def test_a_barrier_separates_writes_from_reads():
    x = cupy.asarray(np.arange(192, dtype=np.float32))
    reverse = kernel(
        "const float* x, float* y",
        "__shared__ float part[64]; int t = threadIdx.x, first = 64 * blockIdx.x;"
        "for (int k = 0; k < 3; k++) { part[t] = x[first + t] + k; __syncthreads();"
        "y[first + t] = part[63 - t]; __syncthreads(); }",
    )
    y = cupy.zeros_like(x)
    reverse((3,), (64,), (x, y))
    np.testing.assert_array_equal(cupy.asnumpy(y), np.arange(192).reshape(3, 64)[:, ::-1].reshape(-1) + 2)


def test_warp_functions():
    y = cupy.zeros((6, 64), dtype=np.int32)
    kernel(
        "int* y",
        "int t = threadIdx.x; int* z = y + t;"
        "z[0] = __shfl_xor_sync(~0u, t, 5); z[64] = __shfl_up_sync(~0u, t, 3); z[128] = __shfl_down_sync(~0u, t, 3, 8);"
        "z[192] = __shfl_sync(~0u, t, 9, 8); z[256] = __ballot_sync(~0u, t % 3 == 0); __syncwarp();"
        "z[320] = __any_sync(~0u, t == 40) + 2 * __all_sync(~0u, t < 40) + 4 * __syncthreads_count(t % 2);",
    )((1,), (64,), (y,))
    t = np.arange(64)
    lane = t % 32
    votes = [sum(1 << k for k in range(32) if (first + k) % 3 == 0) for first in (0, 32)]
    expected = [
        t ^ 5,
        np.where(lane < 3, t, t - 3),
        np.where(t % 8 < 5, t + 3, t),
        t // 8 * 8 + 1,
        np.repeat(np.asarray(votes, np.uint32).view(np.int32), 32),
        np.repeat([2, 1], 32) + 4 * 32,
    ]
    np.testing.assert_array_equal(cupy.asnumpy(y), expected)


@pytest.mark.parametrize(("name", "dtype", "load"), [
    ("__half", np.dtype("float16"), "__half2float"),
    ("__nv_bfloat16", np.dtype(ml_dtypes.bfloat16), "__bfloat162float"),
])  # fmt: skip
def test_every_number_of_16_bits(name, dtype, load):
    x = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    y = cupy.zeros(1 << 16, dtype=np.float32)
    kernel(f"const {name}* x, float* y", f"int i = blockIdx.x * blockDim.x + threadIdx.x; y[i] = {load}(x[i]);")(
        (256,), (256,), (cupy.asarray(x), y)
    )
    np.testing.assert_array_equal(cupy.asnumpy(y), x.astype(np.float32))


@pytest.mark.parametrize(("name", "dtype", "store"), [
    ("__half", np.dtype("float16"), "__float2half_rn"),
    ("__nv_bfloat16", np.dtype(ml_dtypes.bfloat16), "__float2bfloat16_rn"),
])  # fmt: skip
def test_rounding_to_16_bits(name, dtype, store):
    """Random floats of all sizes, each number of 16 bits, the middles between them, and their neighbours."""
    rng = np.random.default_rng(0)
    each = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(np.float32)
    each = np.sort(each[np.isfinite(each)])
    middle = ((each[:-1].astype("float64") + each[1:]) / 2).astype(np.float32)
    some = rng.integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
    beside = [np.nextafter(middle, np.float32(towards)) for towards in (np.inf, -np.inf)]
    x = np.concatenate([each, middle, *beside, some, np.asarray([np.nan], np.float32)])
    x = x[np.isnan(x) | (np.abs(x) >= np.finfo(np.float32).tiny) | (x == 0)]  # CuPy has smaller ones flushed
    y = cupy.zeros(x.size, dtype=dtype)
    kernel(
        f"const float* x, {name}* y, long long n",
        f"int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) y[i] = {store}(x[i]);",
    )((-(-x.size // 256),), (256,), (cupy.asarray(x), y, x.size))
    with np.errstate(all="ignore"):
        expected = x.astype(dtype)
    np.testing.assert_array_equal(cupy.asnumpy(y).astype(np.float32), expected.astype(np.float32))


REFUSED = {
    "a barrier that some threads pass by": ("if (threadIdx.x < 3) __syncthreads();", "3 of 64 threads"),
    "two barriers at once": ("if (threadIdx.x < 3) __syncthreads(); else __syncthreads();", "wait at two barriers"),
    "a warp that lost a thread": ("if (threadIdx.x) __shfl_xor_sync(~0u, 1, 1);", "which waits for 0xffffffff"),
    "a mask that lacks the thread": ("__syncwarp(1u);", "lacks it"),
    "a lane that takes no part": ("if (threadIdx.x < 2) __shfl_sync(3u, 1, 5);", "lane 5, which takes no part"),
    "an index of shared memory": ("__shared__ int s[8]; s[n] = 1;", "an index outside its array"),
    "a sum that overflows": ("y[0] = (int)n + 2147483600;", "a signed sum overflows"),
    "a product that overflows": ("y[0] = (int)n * 2147483600;", "a signed product overflows"),
    "a division by zero": ("y[0] = 1 / ((int)n - 64);", "a division by zero"),
    "an address for vectors": ("y[0] = ((int4*)(y + 1))->x;", "misaligned"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_gpu_could_do_right_is_refused(case):
    body, message = REFUSED[case]
    y = cupy.zeros(64, dtype=np.int32)
    broken = kernel("int* y, long long n", body)
    with pytest.raises(KernelError, match=message):
        broken((2,), (64,), (y, 64))
    kernel("int* y", "y[threadIdx.x] = 1;")((1,), (64,), (y,))  # and the next launch is as good as new
    assert cupy.asnumpy(y).sum() == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 2.0, True), "takes 4 arguments, got 3"),
        ((0, 1.0, 2.0, True), "argument 1 is of C[+][+] type 'q'"),
        ((0, 1, 2, True), "argument 2 is of C[+][+] type 'd'"),
        ((0, 1, 2.0, 1), "argument 3 is of C[+][+] type '[?]'"),
        ((7, 1, 2.0, True), "argument 0 is of C[+][+] type 'Pf'"),
        ((np.zeros(1, np.float32), 1, 2.0, True), "argument 0 is of C[+][+] type 'Pf'"),
        ((0, np.int32(1), 2.0, True), "argument 1 is of C[+][+] type 'q'"),
    ],
)
def test_arguments_are_of_the_types_of_the_parameters(arguments, message):
    with pytest.raises((KernelError, TypeError), match=message):
        kernel("float* y, long long n, double a, bool b", "")((1,), (1,), arguments)


def test_an_array_of_another_dtype_is_refused():
    with pytest.raises(KernelError, match="type 'Pf', and of Python ndarray float64"):
        kernel("float* y", "")((1,), (1,), (cupy.zeros(3, dtype=np.float64),))


def test_sizes_that_no_gpu_has_are_refused():
    nothing = kernel("int* y", "")
    for grid, block in [((1,), (1025,)), ((1,), (32, 32, 2)), ((1 << 31,), (1,)), ((1, 70_000), (1,))]:
        with pytest.raises(KernelError, match="no GPU takes"):
            nothing(grid, block, (0,))
    with pytest.raises(TypeError, match="tuple"):
        nothing(1, (1,), (0,))
    with pytest.raises(KernelError, match="dynamic shared memory"):
        nothing((1,), (1,), (0,), shared_mem=4)


def test_a_structure_is_passed_by_value():
    pair = np.zeros(1, [("pointer", np.int64), ("number", np.float64)])
    x = cupy.asarray(np.asarray([2.0, 3.0]))
    pair["pointer"], pair["number"] = x.data.ptr, 7
    add = kernel(
        "Pair p, double* y", "*y = p.pointer[1] + p.number;", before="struct Pair { double* pointer, number; };"
    )
    y = cupy.zeros((), dtype=np.float64)
    add((1,), (1,), (pair, y))
    assert float(y) == 10
    with pytest.raises(KernelError, match="type 'S16'"):
        add((1,), (1,), (pair["number"], y))


def test_shared_memory_is_garbage_at_first():
    y = cupy.zeros(2, dtype=np.float32)
    kernel("float* y", "__shared__ float s[4]; y[blockIdx.x] = s[1]; s[1] = 5;")((2,), (1,), (y,))
    assert np.isnan(cupy.asnumpy(y)).all()


def test_small_numbers_are_flushed_as_cupy_has_it():
    tiny = np.float32(1e-39)
    for kind, expected in (("float", 0.0), ("double", 2 * float(tiny))):
        y = cupy.asarray(np.asarray([tiny], kind if kind == "double" else "float32"))
        kernel(f"{kind}* y", "y[0] = y[0] * 2;")((1,), (1,), (y,))
        assert float(y[0]) == expected


def test_guards(monkeypatch):
    monkeypatch.setenv("CUPY_TWIN_GUARD", "1")
    y, z = cupy.zeros(8, dtype=np.float32), cupy.zeros(8, dtype=np.float32)
    fill = kernel("float* y, const float* z, long long at", "y[at] = z[0] + 1;")
    fill((1,), (1,), (y, y[3:], 7))
    assert cupy.asnumpy(y).tolist() == [0.0] * 7 + [1.0]
    for at, side in ((8, "beyond"), (-1, "before")):
        with pytest.raises(AssertionError, match=f"wrote {side} an array of 32 bytes"):
            fill((1,), (1,), (y, z, at))
    copy = kernel("float* y, const float* z", "y[0] = z[8];")
    copy((1,), (1,), (y, z))
    assert np.isnan(float(y[0]))


def test_order_is_what_a_gpu_likes(monkeypatch):
    """A kernel whose blocks or threads do not wait for one another is found out by the other order."""
    last = kernel("int* y", "y[0] = 1000 * blockIdx.x + threadIdx.x;")
    found = []
    for order in ("", "reverse"):
        monkeypatch.setenv("CUPY_TWIN_ORDER", order)
        y = cupy.zeros(1, dtype=np.int32)
        last((2,), (4,), (y,))
        found.append(int(y[0]))
    assert found[0] >= 1000 > found[1]


def test_a_source_that_does_not_compile():
    with pytest.raises(CompileException, match="nonsense"):
        kernel("int* y", "nonsense;")


def test_a_kernel_that_is_not_there():
    with pytest.raises(KeyError, match="no kernel 'other'; there are kernel"):
        cupy.RawModule(code='extern "C" __global__ void kernel(int* y) {}').get_function("other")
