// Normalisation of columns: normal = (x - mean) / sqrt(var + eps), y = normal * weight + bias; and its adjoint by x.
// Where a part has all rows, one kernel does it all. Else `moments_of_parts` and `moments_of_all` take the statistics,
// and the sums of the adjoint are those of norm_sums.cu.
//
// All is computed beside a pivot, the first element of the column: differences of numbers that are far from zero and
// near each other are exact, and so a large mean costs no digits.

#ifndef WEIGHT
#define WEIGHT T
#endif

__device__ inline C or_one(const WEIGHT* weight, index_t j) { return weight ? load(weight[j]) : C(1); }
__device__ inline C or_zero(const WEIGHT* bias, index_t j) { return bias ? load(bias[j]) : C(0); }

// ---- Statistics

// How many numbers there are, their mean beside the pivot, and the sum of their squared deviations from it.
struct Moments {
    C count, mean, squares;
};

// Of two sets together (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
// variances", 1979).
__device__ inline Moments both(Moments a, Moments b) {
    if (b.count == 0) return a;
    if (a.count == 0) return b;
    C count = a.count + b.count, apart = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * (a.count * share)};
}

// Of all lines, for every thread of a column. All threads of the block must come here.
__device__ inline Moments lines_moments(Moments m, int width) {
    __shared__ C count[1024], mean[1024], squares[1024];
    int i = threadIdx.x;
    for (int k = blockDim.x; k >= width; k /= 2) {
        if (k < blockDim.x) {
            __syncthreads();
            if (i < k) m = both(m, {count[i + k], mean[i + k], squares[i + k]});
        }
        if (i < k) count[i] = m.count, mean[i] = m.mean, squares[i] = m.squares;
    }
    __syncthreads();
    i %= width;
    return {count[i], mean[i], squares[i]};
}

// Of the rows of a line, some at a time.
__device__ inline Moments line_moments(const T* x, Tile t, index_t columns) {
    Moments m = {0, 0, 0};
    if (!t.inside) return m;
    C pivot = load(x[t.column]);
    for (index_t i = t.first + t.line; i < t.last; i += LINES * t.lines) {
        C v[LINES], sum = 0, squares = 0;
        int n = 0;
#pragma unroll
        for (int k = 0; k < LINES; k++) {
            index_t r = i + k * t.lines;
            v[k] = r < t.last ? load(x[r * columns + t.column]) - pivot : C(0);
            n += r < t.last;
            sum += v[k];
        }
        C mean = sum / n;
#pragma unroll
        for (int k = 0; k < LINES; k++) {
            C d = v[k] - mean;
            squares += k < n ? d * d : C(0);
        }
        m = both(m, {(C)n, mean, squares});
    }
    return m;
}

__device__ inline C inverse_of(C var, double eps) { return 1 / sqrt(var + (C)eps); }

extern "C" __global__ void __launch_bounds__(1024)
moments_of_parts(const T* x, C* means, C* squares, long long rows, long long columns, long long width,
                 long long height) {
    Tile t = tile_of(rows, columns, width, height);
    Moments m = lines_moments(line_moments(x, t, (index_t)columns), width);
    if (!t.inside || t.line > 0) return;
    means[t.part * (index_t)columns + t.column] = m.mean;
    squares[t.part * (index_t)columns + t.column] = m.squares;
}

// Of all parts. After the means of parts comes that of all.
extern "C" __global__ void __launch_bounds__(1024)
moments_of_all(const T* x, C* means, const C* squares, C* mean, C* var, C* inverse, long long parts, long long rows,
               long long columns, long long width, long long height, double eps) {
    Tile t = tile_of(parts, columns, width, parts);
    Moments m = {0, 0, 0};
    if (t.inside) {
        LINE_LOOP(i, t) {
            index_t at = i * (index_t)columns + t.column, left = (index_t)rows - i * (index_t)height;
            m = both(m, {(C)(left < (index_t)height ? left : (index_t)height), means[at], squares[at]});
        }
    }
    m = lines_moments(m, width);
    if (!t.inside || t.line > 0) return;
    means[(index_t)parts * (index_t)columns + t.column] = m.mean;
    mean[t.column] = load(x[t.column]) + m.mean;
    var[t.column] = m.squares / (C)rows;
    inverse[t.column] = inverse_of(m.squares / (C)rows, eps);
}

// ---- Results

__device__ inline void normalise(const T* __restrict__ x, C mean, C inverse, const WEIGHT* weight, const WEIGHT* bias,
                                 T* __restrict__ y, C* __restrict__ normal, Tile t, index_t columns) {
    if (!t.inside) return;
    C pivot = load(x[t.column]), scale = or_one(weight, t.column), shift = or_zero(bias, t.column);
    LINE_LOOP(i, t) {
        index_t at = i * columns + t.column;
        C z = (load(x[at]) - pivot - mean) * inverse;
        normal[at] = z;
        y[at] = store(z * scale + shift);
    }
}

// One part: statistics and results.
extern "C" __global__ void __launch_bounds__(1024)
batch_norm(const T* x, const WEIGHT* weight, const WEIGHT* bias, T* y, C* normal, C* mean, C* var, C* inverse,
           long long rows, long long columns, long long width, double eps) {
    Tile t = tile_of(rows, columns, width, rows);
    Moments m = lines_moments(line_moments(x, t, (index_t)columns), width);
    C factor = inverse_of(m.squares / (C)rows, eps);
    if (t.inside && t.line == 0) {
        mean[t.column] = load(x[t.column]) + m.mean;
        var[t.column] = m.squares / (C)rows;
        inverse[t.column] = factor;
    }
    normalise(x, m.mean, factor, weight, bias, y, normal, t, (index_t)columns);
}

extern "C" __global__ void __launch_bounds__(1024)
batch_norm_apply(const T* x, const C* means, const C* inverse, const WEIGHT* weight, const WEIGHT* bias, T* y,
                 C* normal, long long parts, long long rows, long long columns, long long width, long long height) {
    Tile t = tile_of(rows, columns, width, height);
    if (!t.inside) return;
    C mean = means[(index_t)parts * (index_t)columns + t.column];
    normalise(x, mean, inverse[t.column], weight, bias, y, normal, t, (index_t)columns);
}

// (G - mean(G) - normal mean(G normal)) inverse, where G = g weight.
__device__ inline void adjoint(const T* __restrict__ g, const C* __restrict__ normal, C inverse, C weight, C plain,
                               C product, T* __restrict__ result, Tile t, index_t rows, index_t columns) {
    C factor = inverse * weight, first = plain / (C)rows, second = product / (C)rows;
    LINE_LOOP(i, t) {
        index_t at = i * columns + t.column;
        result[at] = store((load(g[at]) - first - normal[at] * second) * factor);
    }
}

// One part: the sums of g and of g normal, and the result.
extern "C" __global__ void __launch_bounds__(1024)
batch_norm_adjoint(const T* g, const C* normal, const C* inverse, const WEIGHT* weight, C* plain, C* product, T* result,
                   long long rows, long long columns, long long width) {
    Tile t = tile_of(rows, columns, width, rows);
    C a, b;
    part_sums(g, normal, t, (index_t)columns, width, &a, &b);
    if (!t.inside) return;
    if (t.line == 0) plain[t.column] = a, product[t.column] = b;
    adjoint(g, normal, inverse[t.column], or_one(weight, t.column), a, b, result, t, (index_t)rows, (index_t)columns);
}

extern "C" __global__ void __launch_bounds__(1024)
batch_norm_adjoint_apply(const T* g, const C* normal, const C* inverse, const WEIGHT* weight, const C* plain,
                         const C* product, T* result, long long rows, long long columns, long long width,
                         long long height) {
    Tile t = tile_of(rows, columns, width, height);
    if (t.inside)
        adjoint(g, normal, inverse[t.column], or_one(weight, t.column), plain[t.column], product[t.column], result, t,
                (index_t)rows, (index_t)columns);
}
