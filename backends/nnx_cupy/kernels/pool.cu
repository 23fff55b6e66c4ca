// Pooling. The adjoints gather: each element asks the windows that it lies in.

// Whether y stands in its window, whose elements are hs and ws, before the place `at`, row by row.
__device__ inline bool stands_before(const Vector* x, int v, C y, const Windows& w, const Place& at, Span hs, Span ws) {
    for (index_t h = hs.first; h <= at.line; ++h)
        for (index_t k = ws.first; k <= (h == at.line ? at.column - 1 : ws.last); ++k)
            if (load(x[pixel(w, at.n, h, k, at.channel)].v[v]) == y) return true;
    return false;
}

extern "C" __global__ void max_pool(const Vector* __restrict__ x, Vector* __restrict__ y, long long count, WINDOWS) {
    const Windows w = MAKE_WINDOWS;
    GRID_LOOP(e, count) {
        const Place at = place(e, w.out_h, w.out_w, w.channels);
        const Span hs = elements(at.line, w.kernel_h, w.stride_h, w.before_h, w.height);
        const Span ws = elements(at.column, w.kernel_w, w.stride_w, w.before_w, w.width);
        Values top = filled(-INF);
        for (index_t h = hs.first; h <= hs.last; ++h)
            for (index_t k = ws.first; k <= ws.last; ++k) {
                const Vector read = x[pixel(w, at.n, h, k, at.channel)];
                for (int v = 0; v < VECTOR; ++v) top.v[v] = larger(load(read.v[v]), top.v[v]);
            }
        y[e] = stored(top);
    }
}

// The first element that equals y gets the gradient. As in the reference, padding is -infinity and an element like
// others, and where y is NaN, which nothing equals, it is the last that gets it.
extern "C" __global__ void max_pool_x(const Vector* __restrict__ g, const Vector* __restrict__ x,
                                      const Vector* __restrict__ y, Vector* __restrict__ gradient, long long count,
                                      WINDOWS) {
    const Windows w = MAKE_WINDOWS;
    GRID_LOOP(e, count) {
        const Place at = place(e, w.height, w.width, w.channels);
        const Span ps = readers(at.line + w.before_h, w.kernel_h, w.stride_h, 1, w.out_h);
        const Span qs = readers(at.column + w.before_w, w.kernel_w, w.stride_w, 1, w.out_w);
        const Vector own = x[e];
        Values sum = filled(0);
        for (index_t p = ps.first; p <= ps.last; ++p)
            for (index_t q = qs.first; q <= qs.last; ++q) {
                const index_t window = ((at.n * w.out_h + p) * w.out_w + q) * w.channels + at.channel;
                const index_t i = at.line + w.before_h - p * w.stride_h, j = at.column + w.before_w - q * w.stride_w;
                const Span hs = elements(p, w.kernel_h, w.stride_h, w.before_h, w.height);
                const Span ws = elements(q, w.kernel_w, w.stride_w, w.before_w, w.width);
                const Vector tops = y[window];
                for (int v = 0; v < VECTOR; ++v) {
                    const C top = load(tops.v[v]);
                    bool hit;
                    if (top != top)
                        hit = i == w.kernel_h - 1 && j == w.kernel_w - 1;
                    else if (top == -INF)  // all are equal: the first, be it padding
                        hit = i == 0 && j == 0;
                    else
                        hit = load(own.v[v]) == top && !stands_before(x, v, top, w, at, hs, ws);
                    if (hit) sum.v[v] += load(g[window].v[v]);
                }
            }
        gradient[e] = stored(sum);
    }
}

// One over the number of elements of a window: `all` of the kernel, or those in x alone.
__device__ inline C share(bool all, const Windows& w, Span hs, Span ws) {
    return C(1) / (C)(all ? w.kernel_h * w.kernel_w : (hs.last - hs.first + 1) * (ws.last - ws.first + 1));
}

extern "C" __global__ void avg_pool(const Vector* __restrict__ x, Vector* __restrict__ y, long long count, bool all,
                                    WINDOWS) {
    const Windows w = MAKE_WINDOWS;
    GRID_LOOP(e, count) {
        const Place at = place(e, w.out_h, w.out_w, w.channels);
        const Span hs = elements(at.line, w.kernel_h, w.stride_h, w.before_h, w.height);
        const Span ws = elements(at.column, w.kernel_w, w.stride_w, w.before_w, w.width);
        Values sum = filled(0);
        for (index_t h = hs.first; h <= hs.last; ++h)
            for (index_t k = ws.first; k <= ws.last; ++k) add(sum, x[pixel(w, at.n, h, k, at.channel)]);
        const C part = share(all, w, hs, ws);
        for (int v = 0; v < VECTOR; ++v) sum.v[v] *= part;
        y[e] = stored(sum);
    }
}

extern "C" __global__ void avg_pool_x(const Vector* __restrict__ g, Vector* __restrict__ gradient, long long count,
                                      bool all, WINDOWS) {
    const Windows w = MAKE_WINDOWS;
    GRID_LOOP(e, count) {
        const Place at = place(e, w.height, w.width, w.channels);
        const Span ps = readers(at.line + w.before_h, w.kernel_h, w.stride_h, 1, w.out_h);
        const Span qs = readers(at.column + w.before_w, w.kernel_w, w.stride_w, 1, w.out_w);
        Values sum = filled(0);
        for (index_t p = ps.first; p <= ps.last; ++p)
            for (index_t q = qs.first; q <= qs.last; ++q) {
                const Span hs = elements(p, w.kernel_h, w.stride_h, w.before_h, w.height);
                const Span ws = elements(q, w.kernel_w, w.stride_w, w.before_w, w.width);
                const C part = share(all, w, hs, ws);
                const Vector read = g[((at.n * w.out_h + p) * w.out_w + q) * w.channels + at.channel];
                for (int v = 0; v < VECTOR; ++v) sum.v[v] += load(read.v[v]) * part;
            }
        gradient[e] = stored(sum);
    }
}
