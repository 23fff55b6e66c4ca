// Columns of a matrix. A block has `width` columns side by side (a power of two up to 32) in one of the parts of
// `height` rows that the matrix is cut into. Its threads stand in lines, one thread for each column; a line takes every
// so many-th row of the part, LINES rows of its own at a time.

#define LINES 8

struct Tile {
    index_t column, first, last, part;
    int line, lines;
    bool inside;  // there is such a column
};

__device__ inline Tile tile_of(long long rows, long long columns, long long width, long long height) {
    Tile t;
    int across = (int)((columns + width - 1) / width);
    t.part = (index_t)(blockIdx.x / across);
    t.column = (index_t)(blockIdx.x % across) * (index_t)width + (index_t)(threadIdx.x % (int)width);
    t.first = t.part * (index_t)height;
    t.last = t.first + (index_t)height < (index_t)rows ? t.first + (index_t)height : (index_t)rows;
    t.line = threadIdx.x / (int)width;
    t.lines = blockDim.x / (int)width;
    t.inside = t.column < (index_t)columns;
    return t;
}

// The rows of a line.
#define LINE_LOOP(i, t)                                                                            \
    _Pragma("unroll 4") for (index_t i = (t).first + (t).line; i < (t).last; i += (t).lines)

// The sum over lines, for every thread of a column. All threads of the block must come here.
__device__ inline C lines_sum(C x, int width) {
    __shared__ C parts[1024];
    __syncthreads();  // the parts of a former call have been read
    parts[threadIdx.x] = x;
    for (int k = blockDim.x / 2; k >= width; k /= 2) {
        __syncthreads();
        if (threadIdx.x < k) parts[threadIdx.x] += parts[threadIdx.x + k];
    }
    __syncthreads();
    return parts[threadIdx.x % width];
}

// The sums of g and, if there is a `normal`, of g normal over the rows of a part, for every thread of a column.
__device__ inline void part_sums(const T* g, const C* normal, Tile t, index_t columns, int width, C* plain,
                                 C* product) {
    C a = 0, b = 0;
    if (t.inside) {
        for (index_t i = t.first + t.line; i < t.last; i += LINES * t.lines) {
            C u = 0, v = 0;
#pragma unroll
            for (int k = 0; k < LINES; k++) {
                index_t row = i + k * t.lines;
                if (row < t.last) {
                    C d = load(g[row * columns + t.column]);
                    u += d;
                    if (normal) v += d * normal[row * columns + t.column];
                }
            }
            a += u;
            b += v;
        }
    }
    *plain = lines_sum(a, width);
    *product = normal ? lines_sum(b, width) : C(0);
}
