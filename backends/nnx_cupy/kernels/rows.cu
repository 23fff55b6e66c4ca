// Reading rows by their numbers, and the adjoint, which adds the rows that were read twice. Sums are made in the order
// of a stable sort by number, in pieces of SPAN rows, so that they depend on no launch, and long ones are shared out.
//
// LABEL is the type of the numbers. Those below 0 count from the end; what then is out of range adds nothing, and reads
// NaN.

#ifndef LABEL
#define LABEL long long
#endif
#define SPAN 16  // rows that a thread adds: their loads are under way at the same time
#define LANES 8  // threads that share out the pieces of a long sum

// The row of `table` rows that a number means; `table` itself if there is none.
__device__ inline index_t row_of(LABEL label, long long table) {
    long long row = (long long)label;
    if (row < 0) row += table;
    return (index_t)(row < 0 || row >= table ? table : row);
}

// Number e of an array of rows of `width` numbers, each row with a table of its own: its row among those of all tables;
// `none` if there is no such row.
__device__ inline index_t key_of(const LABEL* labels, index_t e, index_t width, index_t table, index_t none) {
    const index_t row = row_of(labels[e], table);
    return row == table ? none : e < width ? row : e / width * table + row;  // mostly there is one table: no division
}

extern "C" __global__ void make_keys(const LABEL* __restrict__ labels, index_t* __restrict__ keys, long long count,
                                     long long width, long long table, long long none) {
    GRID_LOOP(e, count) keys[e] = key_of(labels, e, width, table, none);
}

// The keys, and the places of a stable sort by them: a warp counts the keys that come before its own. For few keys: the
// work grows with their square.
extern "C" __global__ void rank_keys(const LABEL* __restrict__ labels, index_t* __restrict__ keys,
                                     long long* __restrict__ order, long long count_, long long width_,
                                     long long table_, long long none_) {
    const index_t count = count_, width = width_, table = table_, none = none_;
    const index_t warps = (index_t)gridDim.x * (index_t)blockDim.x / WARP, lane = threadIdx.x % WARP;
    for (index_t e = ((index_t)blockIdx.x * (index_t)blockDim.x + (index_t)threadIdx.x) / WARP; e < count; e += warps) {
        const index_t key = key_of(labels, e, width, table, none);
        int before = 0;
        for (index_t i = lane; i < count; i += WARP) {
            const index_t other = key_of(labels, i, width, table, none);
            before += other < key || (other == key && i < e);
        }
        before = warp_sum(before);
        if (lane == 0) {
            keys[e] = key;
            order[before] = e;
        }
    }
}

// Thread (x, y) of a block adds feature x of the SPAN rows of piece y. Runs of one key that lie within a piece are
// written where they belong. Of others the first piece writes to parts[piece][1], the later ones to parts[piece][0].
extern "C" __global__ void add_rows(const T* __restrict__ g, const index_t* __restrict__ keys,
                                    const long long* __restrict__ order, T* __restrict__ sums, C* __restrict__ parts,
                                    long long count_, long long features_, long long none_) {
    const index_t count = count_, features = features_, none = none_;
    const index_t piece = (index_t)blockIdx.x * (index_t)blockDim.y + (index_t)threadIdx.y, first = piece * SPAN;
    if (first >= count) return;

    index_t rows[SPAN], key[SPAN + 1];  // -1, which is no key, stands beyond the last row
#pragma unroll
    for (int i = 0; i < SPAN; ++i) rows[i] = first + i < count ? (index_t)order[first + i] : -1;
#pragma unroll
    for (int i = 0; i < SPAN; ++i) key[i] = rows[i] < 0 ? -1 : keys[rows[i]];
    key[SPAN] = first + SPAN < count ? keys[order[first + SPAN]] : -1;
    const bool continued = first > 0 && keys[order[first - 1]] == key[0];

    for (index_t f = (index_t)blockIdx.y * (index_t)blockDim.x + (index_t)threadIdx.x; f < features;
         f += (index_t)gridDim.y * (index_t)blockDim.x) {
        C values[SPAN];
#pragma unroll
        for (int i = 0; i < SPAN; ++i) values[i] = rows[i] < 0 ? C(0) : load(g[rows[i] * features + f]);
        C sum = 0;
        bool begun = !continued;
#pragma unroll
        for (int i = 0; i < SPAN; ++i) {
            sum += values[i];
            const bool last = key[i + 1] != key[i];
            if (!last && i + 1 < SPAN) continue;
            if (key[i] >= 0 && key[i] < none) {
                if (begun && last)
                    sums[key[i] * features + f] = store(sum);
                else
                    parts[(2 * piece + begun) * features + f] = sum;
            }
            sum = 0;
            begun = true;
        }
    }
}

// For each piece in which a run begins that goes on beyond it: the sum of the run's parts.
extern "C" __global__ void join_rows(const index_t* __restrict__ keys, const long long* __restrict__ order,
                                     T* __restrict__ sums, const C* __restrict__ parts, long long count_,
                                     long long features_, long long none_) {
    __shared__ C shared[LANES][WARP];
    const index_t count = count_, features = features_, none = none_, piece = blockIdx.x, first = piece * SPAN;
    const int x = threadIdx.x, y = threadIdx.y;
    const index_t key = keys[order[first + SPAN - 1]];
    if (key == none || keys[order[first + SPAN]] != key) return;                                   // ends here
    if (keys[order[first]] == key && first > 0 && keys[order[first - 1]] == key) return;  // has begun before

    for (index_t start = (index_t)blockIdx.y * WARP; start < features; start += (index_t)gridDim.y * WARP) {
        const index_t f = start + x;
        C sum = 0;
        if (f < features) {
            if (y == 0) sum = parts[(2 * piece + 1) * features + f];
            for (index_t next = piece + 1 + y; next * SPAN < count && keys[order[next * SPAN]] == key; next += LANES)
                sum += parts[2 * next * features + f];
        }
        shared[y][x] = sum;
        __syncthreads();
        if (y == 0 && f < features) {
            for (int lane = 1; lane < LANES; ++lane) sum += shared[lane][x];
            sums[key * features + f] = store(sum);
        }
        __syncthreads();
    }
}

// gather_x where rows are short: each number that is the first of its kind in its row adds up those that follow it.
extern "C" __global__ void add_elements(const T* __restrict__ g, const LABEL* __restrict__ labels, T* __restrict__ sums,
                                        long long count, long long width_, long long table_) {
    const index_t width = width_, table = table_;
    GRID_LOOP(e, count) {
        const index_t row = e / width, start = row * width, number = row_of(labels[e], table);
        if (number == table) continue;
        bool first = true;
        for (index_t i = start; i < e && first; ++i) first = row_of(labels[i], table) != number;
        if (!first) continue;
        C sum = load(g[e]);
        for (index_t i = e + 1; i < start + width; ++i)
            if (row_of(labels[i], table) == number) sum += load(g[i]);
        sums[row * table + number] = store(sum);
    }
}

extern "C" __global__ void gather_elements(const T* __restrict__ x, const LABEL* __restrict__ labels, T* __restrict__ y,
                                           long long count, long long width_, long long table_) {
    const index_t width = width_, table = table_;
    GRID_LOOP(e, count) {
        const index_t row = e / width, number = row_of(labels[e], table);
        y[e] = number == table ? store(NOT_A_NUMBER) : x[row * table + number];
    }
}
