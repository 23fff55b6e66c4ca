// Normalisation of rows: normal = (x - mean) / sqrt(var + eps), y = normal * weight + bias; and its adjoint by x.
//
// The mean is taken in two steps, the second of them over what is left beside the first, so that it has no less digits
// than the deviations from it where it is large against them.

#ifndef WEIGHT
#define WEIGHT T
#endif

__device__ inline C or_one(const WEIGHT* weight, index_t j) { return weight ? load(weight[j]) : C(1); }
__device__ inline C or_zero(const WEIGHT* bias, index_t j) { return bias ? load(bias[j]) : C(0); }

// 1 / sigma from the sums of d and d * d, d what is left of x beside a mean; and what of d belongs to the mean.
__device__ inline C inverse_of(C sum, C squares, long long columns, double eps, C* rest) {
    C share = sum / (C)columns;
    C var = larger(squares / (C)columns - share * share, C(0));  // rounding may take it below 0
    *rest = share;
    return 1 / sqrt(var + (C)eps);
}

extern "C" __global__ void __launch_bounds__(THREADS)
layer_norm(const T* x, const WEIGHT* weight, const WEIGHT* bias, T* y, C* normal, C* inverse, long long rows,
           long long columns, double eps) {
    ROW_LOOP(row, rows) {
        bool here = row < (index_t)rows;
        int n = here ? (int)columns : 0;
        index_t start = row * (index_t)columns;
        C v[ITEMS], sum = 0, squares = 0, rest;
        ITEM_LOOP(k, j) {
            v[k] = j < n ? load(x[start + j]) : C(0);
            sum += v[k];
        }
        C mean = team_sum(sum) / (C)columns;
        sum = 0;
        ITEM_LOOP(k, j) {
            v[k] = j < n ? v[k] - mean : C(0);
            sum += v[k];
            squares += v[k] * v[k];
        }
        sum = team_sum(sum);
        squares = team_sum(squares);
        C factor = inverse_of(sum, squares, columns, eps, &rest);
        ITEM_LOOP(k, j) if (j < n) {
            C z = (v[k] - rest) * factor;
            normal[start + j] = z;
            y[start + j] = store(z * or_one(weight, j) + or_zero(bias, j));
        }
        if (here && threadIdx.x % LANES == 0) inverse[row] = factor;
    }
}

// (G - mean(G) - normal mean(G normal)) inverse, where G = g weight.
extern "C" __global__ void __launch_bounds__(THREADS)
layer_norm_adjoint(const T* g, const C* normal, const C* inverse, const WEIGHT* weight, T* result, long long rows,
                   long long columns) {
    ROW_LOOP(row, rows) {
        int n = row < (index_t)rows ? (int)columns : 0;
        index_t start = row * (index_t)columns;
        C a[ITEMS], z[ITEMS], plain = 0, product = 0;
        ITEM_LOOP(k, j) {
            a[k] = j < n ? load(g[start + j]) * or_one(weight, j) : C(0);
            z[k] = j < n ? normal[start + j] : C(0);
            plain += a[k];
            product += a[k] * z[k];
        }
        plain = team_sum(plain) / (C)columns;
        product = team_sum(product) / (C)columns;
        C factor = n ? inverse[row] : C(0);
        ITEM_LOOP(k, j) if (j < n) result[start + j] = store((a[k] - plain - z[k] * product) * factor);
    }
}

// Rows of any length, a block for each: they are read three times, and two.

extern "C" __global__ void __launch_bounds__(LONG_THREADS)
layer_norm_long(const T* __restrict__ x, const WEIGHT* __restrict__ weight, const WEIGHT* __restrict__ bias,
                T* __restrict__ y, C* __restrict__ normal, C* __restrict__ inverse, long long rows,
                long long columns, double eps) {
    for (index_t row = blockIdx.x; row < (index_t)rows; row += gridDim.x) {
        index_t start = row * (index_t)columns;
        C sum = 0, squares = 0, rest;
        LONG_LOOP(j, columns) sum += load(x[start + j]);
        C mean = block_sum(sum) / (C)columns;
        sum = 0;
        LONG_LOOP(j, columns) {
            C d = load(x[start + j]) - mean;
            sum += d;
            squares += d * d;
        }
        sum = block_sum(sum);
        squares = block_sum(squares);
        C factor = inverse_of(sum, squares, columns, eps, &rest);
        LONG_LOOP(j, columns) {
            C z = (load(x[start + j]) - mean - rest) * factor;
            normal[start + j] = z;
            y[start + j] = store(z * or_one(weight, j) + or_zero(bias, j));
        }
        if (threadIdx.x == 0) inverse[row] = factor;
    }
}

extern "C" __global__ void __launch_bounds__(LONG_THREADS)
layer_norm_adjoint_long(const T* __restrict__ g, const C* __restrict__ normal, const C* __restrict__ inverse,
                        const WEIGHT* __restrict__ weight, T* __restrict__ result, long long rows,
                        long long columns) {
    for (index_t row = blockIdx.x; row < (index_t)rows; row += gridDim.x) {
        index_t start = row * (index_t)columns;
        C plain = 0, product = 0;
        LONG_LOOP(j, columns) {
            C a = load(g[start + j]) * or_one(weight, j);
            plain += a;
            product += a * normal[start + j];
        }
        plain = block_sum(plain) / (C)columns;
        product = block_sum(product) / (C)columns;
        C factor = inverse[row];
        LONG_LOOP(j, columns) {
            C a = load(g[start + j]) * or_one(weight, j);
            result[start + j] = store((a - plain - normal[start + j] * product) * factor);
        }
    }
}
