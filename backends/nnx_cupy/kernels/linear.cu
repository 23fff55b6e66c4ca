// What goes round the matrix products of affine maps: the bias, the rectifier, and the sums of columns.

// y[i, j] += bias[j] if there is one, then max(., 0) if asked for; NaN stays. A run of elements is of one row.
extern "C" __global__ void add_bias(T* y, const T* bias, long long n, long long columns, bool rectify) {
    index_t width = (index_t)columns;
    if (width % RUN == 0 && aligned(y, bias)) {
        GRID_LOOP(i, n / RUN) {
            Run a = ((const Run*)y)[i], b = a;
            if (bias) b = ((const Run*)bias)[i % (width / RUN)];
#pragma unroll
            for (int k = 0; k < RUN; k++) {
                C sum = load(a.at[k]) + (bias ? load(b.at[k]) : 0);
                a.at[k] = store(rectify && sum < 0 ? C(0) : sum);
            }
            ((Run*)y)[i] = a;
        }
    } else {
        GRID_LOOP(i, n) {
            C sum = load(y[i]) + (bias ? load(bias[i % width]) : 0);
            y[i] = store(rectify && sum < 0 ? C(0) : sum);
        }
    }
}

// The sums of the columns of g, of all rows or of each part of them.
extern "C" __global__ void __launch_bounds__(1024)
column_sums(const T* g, T* sums, C* parts, long long rows, long long columns, long long width, long long height) {
    Tile t = tile_of(rows, columns, width, height);
    C sum, none;
    part_sums(g, (const C*)0, t, (index_t)columns, (int)width, &sum, &none);
    if (t.inside && t.line == 0) {
        if (parts)
            parts[t.part * (index_t)columns + t.column] = sum;
        else
            sums[t.column] = store(sum);
    }
}

// The sums of what column_sums has found in parts.
extern "C" __global__ void __launch_bounds__(1024)
sums_of_parts(const C* parts, T* sums, long long count, long long columns, long long width) {
    Tile t = tile_of(count, columns, width, count);
    C sum = 0;
    if (t.inside) {
        LINE_LOOP(i, t) { sum += parts[i * (index_t)columns + t.column]; }
    }
    sum = lines_sum(sum, (int)width);
    if (t.inside && t.line == 0) sums[t.column] = store(sum);
}
