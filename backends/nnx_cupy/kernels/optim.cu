// Updates of the optimisers, over the flat buffers, and sums of squares. Gradients are read where they lie: a table, which
// is a parameter of the kernel by value, says where each of them is, and where in the buffers it belongs.

#define TABLE 200  // arrays of a table; the parameters of a kernel may have 4096 bytes
#define EACH 4     // elements of a thread in a tile
#define TILES 8    // tiles of a block that adds squares
#define TILE (EACH * (long long)blockDim.x)

struct Table {
    const T* arrays[TABLE];
    long long starts[TABLE + 1];  // in the buffers; after the last array, its end
};

// The elements of a thread in a tile of the buffers, and the gradient of each.
struct Mine {
    long long at[EACH];
    C g[EACH];
    bool is[EACH];  // whether there is such an element
};

// The tiles lie side by side from the first element of the table on, one for each block.
__device__ inline Mine gradients_of_tile(const Table& table, int count, long long tile) {
    Mine mine;
    long long first = table.starts[0] + tile * TILE;
    int low = 0, high = count;  // the array that the first element is in
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (table.starts[middle] <= first)
            low = middle;
        else
            high = middle;
    }
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        long long i = first + k * (long long)blockDim.x + threadIdx.x;
        mine.at[k] = i;
        mine.is[k] = i < table.starts[count];
        if (mine.is[k]) {
            while (i >= table.starts[low + 1]) low++;
            mine.g[k] = load(table.arrays[low][i - table.starts[low]]);
        }
    }
    return mine;
}

// A number that is an array of the device, or is passed.
__device__ inline C number(const T* array, double value) { return array ? load(*array) : (C)value; }

// (1 - beta) / (1 - beta^t), without cancellation
__device__ inline C mean_weight(double beta, double log_beta, C t) { return (C)(1 - beta) / -expm1((C)log_beta * t); }

extern "C" __global__ void adam_update(T* parameters, T* gradient_sum, T* square_sum, const int* step, const T* rate_array,
                                       double rate_value, const T* scale_array, double scale_value, double beta1,
                                       double beta2, double log_beta1, double log_beta2, double eps,
                                       double weight_decay, bool decoupled, long long count,
                                       const __grid_constant__ Table table) {
    C scale = number(scale_array, scale_value);
    if (scale < 0) return;  // the gradients are not finite
    C rate = number(rate_array, rate_value), t = (C)*step;
    C w1 = rate * mean_weight(beta1, log_beta1, t), w2 = mean_weight(beta2, log_beta2, t);
    C keep = decoupled ? 1 - rate * (C)weight_decay : C(1), penalty = decoupled ? C(0) : (C)weight_decay;
    Mine mine = gradients_of_tile(table, (int)count, blockIdx.x);
    C p[EACH], m[EACH], v[EACH];
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        if (mine.is[k]) {
            p[k] = load(parameters[mine.at[k]]);
            m[k] = load(gradient_sum[mine.at[k]]);
            v[k] = load(square_sum[mine.at[k]]);
        }
    }
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        if (mine.is[k]) {
            C g = scale * mine.g[k];
            if (penalty != 0) g += penalty * p[k];
            C mean = (C)beta1 * m[k] + g, square = (C)beta2 * v[k] + g * g;
            gradient_sum[mine.at[k]] = store(mean);
            square_sum[mine.at[k]] = store(square);
            parameters[mine.at[k]] = store(keep * p[k] - w1 * mean / (sqrt(w2 * square) + (C)eps));
        }
    }
}

extern "C" __global__ void sgd_update(T* parameters, T* velocity, const T* rate_array, double rate_value,
                                      const T* scale_array, double scale_value, double momentum, bool nesterov,
                                      double weight_decay, long long count, const __grid_constant__ Table table) {
    C scale = number(scale_array, scale_value);
    if (scale < 0) return;
    C rate = number(rate_array, rate_value), mu = (C)momentum, penalty = (C)weight_decay;
    Mine mine = gradients_of_tile(table, (int)count, blockIdx.x);
    C p[EACH], v[EACH];
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        if (mine.is[k]) {
            p[k] = load(parameters[mine.at[k]]);
            v[k] = velocity ? load(velocity[mine.at[k]]) : C(0);
        }
    }
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        if (mine.is[k]) {
            C g = scale * mine.g[k];
            if (penalty != 0) g += penalty * p[k];
            C direction = g;
            if (velocity) {
                v[k] = mu * v[k] + g;
                velocity[mine.at[k]] = store(v[k]);
                direction = nesterov ? g + mu * v[k] : v[k];
            }
            parameters[mine.at[k]] = store(p[k] - rate * direction);
        }
    }
}

// Of each block the sum of the squares of its tiles: TILES of them, one after the other.
extern "C" __global__ void squares_of_parts(C* parts, long long count, const __grid_constant__ Table table) {
    C sum = 0;
    for (int k = 0; k < TILES; k++) {
        Mine mine = gradients_of_tile(table, (int)count, blockIdx.x * (long long)TILES + k);
#pragma unroll
        for (int e = 0; e < EACH; e++)
            if (mine.is[e]) sum += mine.g[e] * mine.g[e];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

extern "C" __global__ void sum_of_parts(const C* parts, T* result, long long count) {
    C sum = 0;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) sum += parts[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *result = store(sum);
}
