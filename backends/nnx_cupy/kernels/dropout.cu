// Dropout by the words of nnx.random, bit for bit: Threefry-2x32 with 13 rounds. A thread makes the two words of a block.

struct Words {
    unsigned x0, x1;
};

__device__ inline void round(Words& w, int by) {
    w.x0 += w.x1;
    w.x1 = (w.x1 << by | w.x1 >> (32 - by)) ^ w.x0;
}

__device__ inline void four_rounds(Words& w, int a, int b, int c, int d) {
    round(w, a);
    round(w, b);
    round(w, c);
    round(w, d);
}

__device__ inline Words words_of(unsigned block, unsigned step, unsigned a, unsigned b) {
    unsigned c = a ^ b ^ 0x1bd11bda;
    Words w = {block + a, step + b};
    four_rounds(w, 13, 15, 26, 6);
    w.x0 += b;
    w.x1 += c + 1;
    four_rounds(w, 17, 29, 16, 24);
    w.x0 += c;
    w.x1 += a + 2;
    four_rounds(w, 13, 15, 26, 6);
    w.x0 += a;
    w.x1 += b + 3;
    round(w, 17);
    return w;
}

struct alignas(2 * sizeof(T)) Pair {
    T first, second;
};

// mask = keep ? scale : 0 and y = x mask. What is kept has a word that is, as a signed number, at least `least`.
extern "C" __global__ void dropout_forward(const T* x, const int* key, const int* step, T* y, T* mask, long long n,
                                           long long least, double scale) {
    unsigned k0 = key[0], k1 = key[1], count = step[0];
    C factor = load(store((C)scale));
    bool pairs = (((unsigned long long)x | (unsigned long long)y | (unsigned long long)mask) % sizeof(Pair)) == 0;
    GRID_LOOP(block, n / 2 + n % 2) {
        Words w = words_of((unsigned)block, count, k0, k1);
        C a = (int)w.x0 >= least ? factor : 0, b = (int)w.x1 >= least ? factor : 0;
        index_t i = 2 * block;
        if (pairs && i + 1 < (index_t)n) {
            Pair in = ((const Pair*)x)[block];
            ((Pair*)mask)[block] = {store(a), store(b)};
            ((Pair*)y)[block] = {store(load(in.first) * a), store(load(in.second) * b)};
        } else {
            mask[i] = store(a);
            y[i] = store(load(x[i]) * a);
            if (i + 1 < (index_t)n) {
                mask[i + 1] = store(b);
                y[i + 1] = store(load(x[i + 1]) * b);
            }
        }
    }
}

extern "C" __global__ void dropout_x(const T* g, const T* mask, T* y, long long n) {
    map(n, [](C a, C b) { return a * b; }, y, g, mask);
}
