// Rows of a matrix, each worked on by a team of LANES threads: a power of two up to 32, so that a warp has one team or
// several, or else a whole block. In a short row each thread holds ITEMS elements, which are read once; a row too long
// for that is read again where it is needed again. A block has THREADS threads.

#ifndef LANES
#define LANES 32
#define ITEMS 1
#define THREADS 128
#endif
#define TEAMS (THREADS / LANES)

// The row of this thread's team, for all rows. The threads of a block stay together: a team without a row gets one
// past the end, and is told by `row < rows`.
#define ROW_LOOP(row, rows)                                                                        \
    for (index_t row = (index_t)blockIdx.x * TEAMS + threadIdx.x / LANES, row##_first = (index_t)blockIdx.x * TEAMS; \
         row##_first < (index_t)(rows);                                                            \
         row += (index_t)gridDim.x * TEAMS, row##_first += (index_t)gridDim.x * TEAMS)

// The elements j = lane + k * LANES of a short row, k < ITEMS; those from n on are to be left alone.
#define ITEM_LOOP(k, j)                                                                            \
    _Pragma("unroll") for (int k = 0, j = threadIdx.x % LANES; k < ITEMS; k++, j += LANES)

#if LANES > WARP
#if LANES != THREADS
#error "a team of more than a warp is a block"
#endif
__device__ inline C team_sum(C x) { return block_sum(x); }
__device__ inline C team_max(C x) { return block_max(x); }
#else
__device__ inline C team_sum(C x) {
    for (int k = LANES / 2; k > 0; k /= 2) x += __shfl_xor_sync(FULL, x, k);
    return x;
}
__device__ inline C team_max(C x) {
    for (int k = LANES / 2; k > 0; k /= 2) x = larger(x, __shfl_xor_sync(FULL, x, k));
    return x;
}
#endif

// ---- Rows of any length, a block of LONG_THREADS threads for each

#define LONG_THREADS 1024
#define CHUNK 4

// The elements of a long row that this thread has.
#define LONG_LOOP(j, n)                                                                            \
    _Pragma("unroll 4") for (index_t j = threadIdx.x; j < (index_t)(n); j += LONG_THREADS)

// The largest element of a row and the sum of exp(x - largest), in one pass: the sum so far is scaled when a larger
// element comes (Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867, 2018).
__device__ inline void online(const T* x, index_t n, C* largest, C* sum) {
    C top = -INF, total = 0;
    for (index_t j = threadIdx.x; j < n; j += CHUNK * LONG_THREADS) {
        C v[CHUNK], now = top;
#pragma unroll
        for (int k = 0; k < CHUNK; k++) {
            index_t i = j + k * LONG_THREADS;
            v[k] = i < n ? load(x[i]) : -INF;
            now = larger(now, v[k]);
        }
        if (now != top) total *= exp(top - now);
        top = now;
#pragma unroll
        for (int k = 0; k < CHUNK; k++) total += v[k] == -INF ? C(0) : exp(v[k] - top);  // -inf - -inf would be NaN
    }
    *largest = block_max(top);
    *sum = block_sum(top == *largest ? total : total * exp(top - *largest));
}
