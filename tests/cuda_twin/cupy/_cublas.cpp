// The C interface of cuBLAS, as far as the plug-in calls it. The arithmetic is done by NumPy, through a callback.
#include <cstdint>
#include <cstring>

struct Product {
    void *handle;
    int transposed_a, transposed_b;
    int64_t m, n, k;
    double alpha, beta;
    const void *a, *b;
    void *c;
    int type_a, type_b, type_c;
    int64_t lda, ldb, ldc, step_a, step_b, step_c, batch;
    int compute;
};

static int (*callback)(const Product *) = nullptr;
static int (*note)(int what, void *handle, void *pointer, size_t size) = nullptr;

static double number(const void *pointer, int compute) {
    if (compute == 70) {
        double x;
        std::memcpy(&x, pointer, sizeof x);
        return x;
    }
    float x;
    std::memcpy(&x, pointer, sizeof x);
    return x;
}

extern "C" {
void twin_register(int (*product)(const Product *), int (*other)(int, void *, void *, size_t)) {
    callback = product;
    note = other;
}

int cublasCreate_v2(void **handle) {
    static intptr_t count = 0;
    *handle = reinterpret_cast<void *>(++count);
    return note(0, *handle, nullptr, 0);
}

int cublasDestroy_v2(void *handle) { return note(3, handle, nullptr, 0); }

int cublasSetStream_v2(void *handle, void *stream) { return note(1, handle, stream, 0); }

int cublasSetMathMode(void *handle, int mode) { return note(4, handle, nullptr, mode); }

int cublasGetMathMode(void *handle, int *mode) { return note(5, handle, mode, 0); }

int cublasSetWorkspace_v2(void *handle, void *memory, size_t size) { return note(2, handle, memory, size); }

int cublasGemmStridedBatchedEx_64(void *handle, int ta, int tb, int64_t m, int64_t n, int64_t k, const void *alpha,
                                  const void *a, int type_a, int64_t lda, int64_t step_a, const void *b, int type_b,
                                  int64_t ldb, int64_t step_b, const void *beta, void *c, int type_c, int64_t ldc,
                                  int64_t step_c, int64_t batch, int compute, int) {
    Product product = {handle, ta, tb, m, n, k, number(alpha, compute), number(beta, compute), a, b, c,
                       type_a, type_b, type_c, lda, ldb, ldc, step_a, step_b, step_c, batch, compute};
    return callback(&product);
}

int cublasGemmEx_64(void *handle, int ta, int tb, int64_t m, int64_t n, int64_t k, const void *alpha, const void *a,
                    int type_a, int64_t lda, const void *b, int type_b, int64_t ldb, const void *beta, void *c,
                    int type_c, int64_t ldc, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx_64(handle, ta, tb, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c,
                                         type_c, ldc, 0, 1, compute, algorithm);
}
}
