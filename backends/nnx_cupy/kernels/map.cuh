// Functions of numbers, over arrays of one size.

// As many elements side by side as a thread reads at once: 16 bytes.
struct alignas(16) Run {
    T at[16 / sizeof(T)];
};

#define RUN (16 / (int)sizeof(T))

template <typename... P>
__device__ inline bool aligned(P... pointers) {
    return (((unsigned long long)pointers | ...) % 16) == 0;
}

// y[i] = f(x[i], ...) for i < n, by the whole grid; y may be one of the inputs. In runs where the addresses allow it.
template <typename F, typename... X>
__device__ inline void map(long long n, F f, T* y, const X*... x) {
    index_t done = 0;
    if (aligned(y, x...)) {
        GRID_LOOP(i, n / RUN) {
            Run out;
            [&](auto... in) {
#pragma unroll
                for (int k = 0; k < RUN; k++) out.at[k] = store(f(load(in.at[k])...));
            }(((const Run*)x)[i]...);
            ((Run*)y)[i] = out;
        }
        done = (index_t)(n / RUN) * RUN;
    }
    GRID_LOOP(i, (index_t)n - done) { y[done + i] = store(f(load(x[done + i])...)); }
}
