// Cross-entropy of softmax with class ids: of each row of logits the loss ln sum(exp(z)) - z[label], and its slope
// softmax(z) - one_hot(label). A label out of range makes the loss NaN, and no element of the slope is its own.
//
// With `mean`, slopes are multiplied by 1 / rows, and losses are added: the only block divides their sum by the number
// of rows, one of several leaves it to `mean_of`.

#ifndef LABEL
#define LABEL int
#endif

__device__ inline C loss_of(const T* z, long long label, long long columns, C top, C total) {
    return label >= 0 && label < columns ? log(total) - (load(z[label]) - top) : NOT_A_NUMBER;
}

// `sum` is of the losses that this thread has found.
__device__ inline void add_losses(C sum, C* partial, T* loss, long long rows) {
    sum = block_sum(sum);
    if (threadIdx.x > 0) return;
    if (gridDim.x == 1)
        loss[0] = store(sum / (C)rows);
    else
        partial[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
cross_entropy(const T* logits, const LABEL* labels, T* slope, T* loss, C* partial, long long rows, long long columns,
              bool mean) {
    C share = mean ? 1 / (C)rows : C(1), sum = 0;
    ROW_LOOP(row, rows) {
        bool here = row < (index_t)rows;
        int n = here ? (int)columns : 0;
        index_t start = row * (index_t)columns;
        long long label = here ? (long long)labels[row] : -1;
        C v[ITEMS], top = -INF, total = 0;
        ITEM_LOOP(k, j) {
            v[k] = j < n ? load(logits[start + j]) : -INF;
            top = larger(top, v[k]);
        }
        top = team_max(top);
        ITEM_LOOP(k, j) {
            v[k] = exp(v[k] - top);
            total += v[k];
        }
        total = team_sum(total);
        C factor = 1 / total;
        ITEM_LOOP(k, j) if (j < n) slope[start + j] = store((v[k] * factor - (j == label ? C(1) : C(0))) * share);
        if (here && threadIdx.x % LANES == 0) {
            C own = loss_of(logits + start, label, columns, top, total);
            if (mean)
                sum += own;
            else
                loss[row] = store(own);
        }
    }
    if (mean) add_losses(sum, partial, loss, rows);
}

extern "C" __global__ void __launch_bounds__(LONG_THREADS)
cross_entropy_long(const T* __restrict__ logits, const LABEL* __restrict__ labels, T* __restrict__ slope,
                   T* __restrict__ loss, C* __restrict__ partial, long long rows, long long columns, bool mean) {
    C share = mean ? 1 / (C)rows : C(1), sum = 0;
    for (index_t row = blockIdx.x; row < (index_t)rows; row += gridDim.x) {
        const T* __restrict__ z = logits + row * (index_t)columns;
        T* __restrict__ s = slope + row * (index_t)columns;
        long long label = (long long)labels[row];
        C top, total;
        online(z, (index_t)columns, &top, &total);
        C factor = 1 / total;
        LONG_LOOP(j, columns) s[j] = store((exp(load(z[j]) - top) * factor - (j == label ? C(1) : C(0))) * share);
        if (threadIdx.x == 0) {
            C own = loss_of(z, label, columns, top, total);
            if (mean)
                sum += own;
            else
                loss[row] = store(own);
        }
    }
    if (mean) add_losses(sum, partial, loss, rows);
}

// By one block.
extern "C" __global__ void __launch_bounds__(LONG_THREADS)
mean_of(const C* partial, T* loss, long long parts, long long rows) {
    C sum = 0;
    LONG_LOOP(i, parts) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) loss[0] = store(sum / (C)rows);
}
