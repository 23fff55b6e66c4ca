// Elements side by side that a thread reads and writes at once: VECTOR of them, up to 16 bytes. Arrays of vectors lie
// at multiples of their size, and are counted in vectors.

#ifndef VECTOR
#define VECTOR 1
#endif

struct alignas(VECTOR * sizeof(T)) Vector {
    T v[VECTOR];
};

// As many numbers in the type that is computed with.
struct Values {
    C v[VECTOR];
};

__device__ inline Values filled(C x) {
    Values values;
    for (int k = 0; k < VECTOR; ++k) values.v[k] = x;
    return values;
}

__device__ inline Vector stored(const Values& values) {
    Vector vector;
    for (int k = 0; k < VECTOR; ++k) vector.v[k] = store(values.v[k]);
    return vector;
}

// By value: of a reference, the compiler would load one element after the other.
__device__ inline void add(Values& sum, const Vector vector) {
    for (int k = 0; k < VECTOR; ++k) sum.v[k] += load(vector.v[k]);
}
