// Windows that slide over images (batch, height, width, channels); channels are counted in vectors. The numbers are
// those of `Windows` in nnx/ops/_window.py.

struct Windows {
    index_t height, width, channels, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, before_h, before_w;
    index_t out_h, out_w;
};

#define WINDOWS                                                                                                     \
    long long height, long long width, long long channels, long long kernel_h, long long kernel_w,                  \
        long long stride_h, long long stride_w, long long dilation_h, long long dilation_w, long long before_h,     \
        long long before_w, long long out_h, long long out_w
#define MAKE_WINDOWS                                                                                                \
    {(index_t)height,     (index_t)width,      (index_t)channels, (index_t)kernel_h, (index_t)kernel_w,             \
     (index_t)stride_h,   (index_t)stride_w,   (index_t)dilation_h, (index_t)dilation_w, (index_t)before_h,         \
     (index_t)before_w,   (index_t)out_h,      (index_t)out_w}

// From first to last along an axis; nothing if first > last.
struct Span {
    index_t first, last;
};

// The elements of x between the first and the last tap of a window.
__device__ inline Span elements(index_t window, index_t kernel, index_t stride, index_t before, index_t size) {
    const index_t start = window * stride - before, stop = start + kernel;
    return {start < 0 ? 0 : start, (stop < size ? stop : size) - 1};
}

// The windows between whose first and last tap an element lies, `place` after the first tap of the first window.
__device__ inline Span readers(index_t place, index_t kernel, index_t stride, index_t dilation, index_t out) {
    const index_t earliest = place - (kernel - 1) * dilation;
    const index_t first = earliest <= 0 ? 0 : stride == 1 ? earliest : (earliest + stride - 1) / stride;
    const index_t last = place < 0 ? -1 : stride == 1 ? place : place / stride;
    return {first, last < out ? last : out - 1};
}

// Where vector e of an array of shape (batch, lines, columns, channels) lies.
struct Place {
    index_t n, line, column, channel;
};

__device__ inline Place place(index_t e, index_t lines, index_t columns, index_t channels) {
    const index_t pixel = e / channels, above = pixel / columns, n = above / lines;
    return {n, above - n * lines, pixel - above * columns, e - pixel * channels};
}

__device__ inline index_t pixel(const Windows& w, index_t n, index_t line, index_t column, index_t channel) {
    return ((n * w.height + line) * w.width + column) * w.channels + channel;
}
