// Convolution as matrix products: what the windows read as a matrix, and the adjoint of reading. Windows are numbered
// (image, line, column), and taps (i, j): element (window, tap, channel) of the matrix is what the window reads there.

// Writes rows of the matrix, from that of window `start` on. Each thread stays in one column, so that what divisions
// find out is found out once; side by side, threads write what lies side by side. There are as many threads as columns,
// at least.
extern "C" __global__ void im2col(const Vector* __restrict__ x, Vector* __restrict__ matrix, long long start,
                                  long long count, WINDOWS) {
    const Windows w = MAKE_WINDOWS;
    const index_t rows = (index_t)count, line = w.kernel_w * w.channels, columns = w.kernel_h * line;
    const index_t thread = (index_t)blockIdx.x * (index_t)blockDim.x + (index_t)threadIdx.x;
    const index_t step = (index_t)gridDim.x * (index_t)blockDim.x / columns;  // rows from one of a thread to its next
    index_t row = thread / columns;
    if (row >= step) return;  // threads that do not fill a row

    const index_t at = thread - row * columns, i = at / line, rest = at - i * line, j = rest / w.channels;
    const index_t down = i * w.dilation_h - w.before_h, right = j * w.dilation_w - w.before_w;
    const index_t channel = rest - j * w.channels;

    const index_t window = (index_t)start + row, lines = window / w.out_w, step_lines = step / w.out_w;
    index_t q = window - lines * w.out_w, n = lines / w.out_h, p = lines - n * w.out_h;
    const index_t step_q = step - step_lines * w.out_w, step_n = step_lines / w.out_h;
    const index_t step_p = step_lines - step_n * w.out_h;

    const Vector zero = stored(filled(0));
#pragma unroll 4
    for (; row < rows; row += step) {
        const index_t h = p * w.stride_h + down, k = q * w.stride_w + right;
        const bool inside = h >= 0 && h < w.height && k >= 0 && k < w.width;
        matrix[row * columns + at] = inside ? x[pixel(w, n, h, k, channel)] : zero;
        q += step_q;
        if (q >= w.out_w) q -= w.out_w, ++p;
        p += step_p;
        if (p >= w.out_h) p -= w.out_h, ++n;
        n += step_n;
    }
}

// Each of the `count` vectors of x gets the sum over the windows that read it. The lines of x and of windows may be
// some of those of an image: before_h is then the place of the first line after what the first of these windows reads
// first.
extern "C" __global__ void col2im(const Vector* __restrict__ matrix, Vector* __restrict__ x, long long count, WINDOWS) {
    const Windows w = MAKE_WINDOWS;
    GRID_LOOP(e, count) {
        const Place at = place(e, w.height, w.width, w.channels);
        const index_t h = at.line + w.before_h, k = at.column + w.before_w;
        const Span ps = readers(h, w.kernel_h, w.stride_h, w.dilation_h, w.out_h);
        const Span qs = readers(k, w.kernel_w, w.stride_w, w.dilation_w, w.out_w);
        Values sum = filled(0);
        for (index_t p = ps.first; p <= ps.last; ++p) {
            const index_t down = h - p * w.stride_h, i = w.dilation_h == 1 ? down : down / w.dilation_h;
            if (i * w.dilation_h != down) continue;  // between two taps
            const index_t line = (at.n * w.out_h + p) * w.out_w;
            for (index_t q = qs.first; q <= qs.last; ++q) {
                const index_t right = k - q * w.stride_w, j = w.dilation_w == 1 ? right : right / w.dilation_w;
                if (j * w.dilation_w != right) continue;
                add(sum, matrix[(((line + q) * w.kernel_h + i) * w.kernel_w + j) * w.channels + at.channel]);
            }
        }
        x[e] = stored(sum);
    }
}
