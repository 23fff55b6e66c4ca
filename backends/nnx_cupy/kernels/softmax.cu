// Softmax along the rows of a matrix, its logarithm, and the adjoints of both.
// A row that is -inf throughout is NaN, as is one with NaN or +inf in it.

extern "C" __global__ void __launch_bounds__(THREADS)
softmax(const T* x, T* y, long long rows, long long columns, bool logarithm) {
    ROW_LOOP(row, rows) {
        int n = row < (index_t)rows ? (int)columns : 0;
        index_t start = row * (index_t)columns;
        C v[ITEMS], top = -INF, total = 0;
        ITEM_LOOP(k, j) {
            v[k] = j < n ? load(x[start + j]) : -INF;
            top = larger(top, v[k]);
        }
        top = team_max(top);
        ITEM_LOOP(k, j) {
            C e = exp(v[k] - top);
            total += e;
            v[k] = logarithm ? v[k] - top : e;
        }
        total = team_sum(total);
        C shift = logarithm ? log(total) : 0, factor = 1 / total;
        ITEM_LOOP(k, j) if (j < n) y[start + j] = store(logarithm ? v[k] - shift : v[k] * factor);
    }
}

// G - softmax sum(G) of a logarithm y; else G y - sum(G y) y.
extern "C" __global__ void __launch_bounds__(THREADS)
softmax_adjoint(const T* g, const T* y, T* result, long long rows, long long columns, bool logarithm) {
    ROW_LOOP(row, rows) {
        int n = row < (index_t)rows ? (int)columns : 0;
        index_t start = row * (index_t)columns;
        C a[ITEMS], p[ITEMS], total = 0;
        ITEM_LOOP(k, j) {
            a[k] = j < n ? load(g[start + j]) : 0;
            p[k] = j < n ? load(y[start + j]) : 0;
            if (!logarithm) a[k] *= p[k];
            total += a[k];
        }
        total = team_sum(total);
        ITEM_LOOP(k, j) if (j < n) result[start + j] = store(a[k] - total * (logarithm ? exp(p[k]) : p[k]));
    }
}

// Rows of any length, a block for each.

extern "C" __global__ void __launch_bounds__(LONG_THREADS)
softmax_long(const T* __restrict__ x, T* __restrict__ y, long long rows, long long columns, bool logarithm) {
    for (index_t row = blockIdx.x; row < (index_t)rows; row += gridDim.x) {
        index_t start = row * (index_t)columns;
        C top, total;
        online(x + start, (index_t)columns, &top, &total);
        C shift = logarithm ? log(total) : 0, factor = 1 / total;
        LONG_LOOP(j, columns) {
            C v = load(x[start + j]) - top;
            y[start + j] = store(logarithm ? v - shift : exp(v) * factor);
        }
    }
}

extern "C" __global__ void __launch_bounds__(LONG_THREADS)
softmax_adjoint_long(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ result, long long rows,
                     long long columns, bool logarithm) {
    for (index_t row = blockIdx.x; row < (index_t)rows; row += gridDim.x) {
        index_t start = row * (index_t)columns;
        C total = 0;
        LONG_LOOP(j, columns) total += load(g[start + j]) * (logarithm ? C(1) : load(y[start + j]));
        total = block_sum(total);
        LONG_LOOP(j, columns) {
            C a = load(g[start + j]), p = load(y[start + j]);
            result[start + j] = store(logarithm ? a - total * exp(p) : a * p - total * p);
        }
    }
}
