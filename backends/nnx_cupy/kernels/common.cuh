// What all kernels share. The loader has put before this: T, the type in which arrays are stored; C, the type in which
// they are computed with (float for the low types and for float, double for double); index_t, which counts elements.

// ---- Types

__device__ inline float load(__half x) { return __half2float(x); }
__device__ inline float load(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float load(float x) { return x; }
__device__ inline double load(double x) { return x; }

template <typename S>
__device__ inline S store_as(C x);
template <>
__device__ inline __half store_as<__half>(C x) { return __float2half_rn((float)x); }
template <>
__device__ inline __nv_bfloat16 store_as<__nv_bfloat16>(C x) { return __float2bfloat16_rn((float)x); }
template <>
__device__ inline float store_as<float>(C x) { return (float)x; }
template <>
__device__ inline double store_as<double>(C x) { return x; }

__device__ inline T store(C x) { return store_as<T>(x); }

#define INF ((C)__longlong_as_double(0x7ff0000000000000LL))
#define NOT_A_NUMBER ((C)__longlong_as_double(0x7ff8000000000000LL))

// ---- Loops

// Each thread of the grid takes the elements i, i + threads of the grid, ..., below n.
#define GRID_LOOP(i, n)                                                                            \
    for (index_t i = (index_t)blockIdx.x * (index_t)blockDim.x + (index_t)threadIdx.x,             \
                 i##_end = (index_t)(n);                                                           \
         i < i##_end; i += (index_t)gridDim.x * (index_t)blockDim.x)

// Each thread of a block takes the elements i, i + threads of the block, ..., below n.
#define BLOCK_LOOP(i, n)                                                                           \
    for (index_t i = (index_t)threadIdx.x, i##_end = (index_t)(n); i < i##_end; i += (index_t)blockDim.x)

// ---- Reductions: every thread gets the result. The order depends on the number of threads alone.

#define WARP 32
#define FULL 0xffffffffu

template <typename V>
__device__ inline V larger(V a, V b) { return a > b || a != a ? a : b; }  // NaN is larger than any number

template <typename V>
__device__ inline V warp_sum(V x) {
    for (int k = WARP / 2; k > 0; k /= 2) x += __shfl_xor_sync(FULL, x, k);
    return x;
}

template <typename V>
__device__ inline V warp_max(V x) {
    for (int k = WARP / 2; k > 0; k /= 2) x = larger(x, __shfl_xor_sync(FULL, x, k));
    return x;
}

// Of all threads of a block, whose number is a multiple of 32, up to 1024. Every one of them must come here.
template <typename V>
__device__ inline V block_sum(V x) {
    __shared__ V parts[WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_sum(x);
    if (warps == 1) return x;
    __syncthreads();  // the parts of a former call have been read
    if (lane == 0) parts[warp] = x;
    __syncthreads();
    return warp_sum(lane < warps ? parts[lane] : V(0));
}

template <typename V>
__device__ inline V block_max(V x) {
    __shared__ V parts[WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_max(x);
    if (warps == 1) return x;
    __syncthreads();
    if (lane == 0) parts[warp] = x;
    __syncthreads();
    return warp_max(parts[lane < warps ? lane : 0]);
}
