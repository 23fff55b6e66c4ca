// CUDA C++ for a host compiler: what kernels are written in, over the runtime of this folder.

#pragma once

#include <link.h>

#include <cfloat>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include "runtime.hpp"
#include "shim_types.hpp"

// __global__ is defined by what calls the compiler.
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __CUDA_ARCH__ 900
#define __CUDACC__ 1

// Shared memory is memory of the one thread that runs a whole block; all of a module lies in one piece, and is filled
// with NaN before each block.
#define __shared__ static thread_local

#define CUDART_INF_F __builtin_inff()
#define CUDART_INF __builtin_inf()

// ---- Barriers and warp functions

#define __syncthreads() ((void)twin_barrier(__COUNTER__, __LINE__, 0))
#define __syncthreads_count(vote) twin_barrier(__COUNTER__, __LINE__, (vote) != 0)
#define __syncthreads_or(vote) (twin_barrier(__COUNTER__, __LINE__, (vote) != 0) != 0)
#define __syncthreads_and(vote) (twin_barrier(__COUNTER__, __LINE__, (vote) == 0) == 0)
#define __syncwarp(...) twin::sync_warp(__COUNTER__, __LINE__ __VA_OPT__(,) __VA_ARGS__)
#define __shfl_sync(...) twin::shuffle<0>(__COUNTER__, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) twin::shuffle<1>(__COUNTER__, __LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) twin::shuffle<2>(__COUNTER__, __LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) twin::shuffle<3>(__COUNTER__, __LINE__, __VA_ARGS__)
#define __ballot_sync(mask, vote) twin::ballot(__COUNTER__, __LINE__, mask, vote)
#define __any_sync(mask, vote) (twin::ballot(__COUNTER__, __LINE__, mask, vote) != 0)
#define __all_sync(mask, vote) (twin::ballot(__COUNTER__, __LINE__, mask, !(vote)) == 0)

namespace twin {

inline void sync_warp(int site, int line, unsigned mask = ~0u) {
    twin_exchange all;
    twin_warp(site, line, mask, 0, &all);
}

inline unsigned ballot(int site, int line, unsigned mask, int vote) {
    twin_exchange all;
    twin_warp(site, line, mask, vote != 0, &all);
    unsigned yes = 0;
    for (int k = 0; k < 32; k++)
        if (all.took_part >> k & 1 && all.values[k]) yes |= 1u << k;
    return yes;
}

template <int kind, typename V>
inline V shuffle(int site, int line, unsigned mask, V value, unsigned by, int width = 32) {
    static_assert(sizeof(V) <= 8);
    twin_exchange all;
    unsigned long long word = 0;
    memcpy(&word, &value, sizeof value);
    twin_warp(site, line, mask, word, &all);
    int lane = all.lane, first = lane / width * width, from;
    if (kind == 0) from = first + by % width;
    if (kind == 1) from = lane - (int)by;
    if (kind == 2) from = lane + (int)by;
    if (kind == 3) from = lane ^ (int)by;
    if (from < first && kind == 1) from = lane;
    if (from >= first + width && kind != 1) from = lane;
    if (!(all.took_part >> from & 1)) {
        twin_fail("line %d: lane %d reads the value of lane %d, which takes no part", line, lane, from);
        twin_stop();
    }
    memcpy(&value, &all.values[from], sizeof value);
    return value;
}

// ---- Launches

template <typename A>
constexpr char letter() {
    using V = std::remove_cv_t<A>;
    if (std::is_same_v<V, bool>) return '?';
    if (std::is_same_v<V, __half>) return 'e';
    if (std::is_same_v<V, __nv_bfloat16>) return 'E';
    if (std::is_same_v<V, float>) return 'f';
    if (std::is_same_v<V, double>) return 'd';
    if (std::is_void_v<V>) return 'V';
    if constexpr (std::is_integral_v<V>) return sizeof(V) == 1 ? 'b' : sizeof(V) == 2 ? 'h' : sizeof(V) == 4 ? 'i' : 'q';
    return 'S';
}

template <typename A>
void describe(char*& out) {
    if constexpr (std::is_pointer_v<A>) {
        *out++ = 'P';
        *out++ = letter<std::remove_pointer_t<A>>();
    } else {
        *out++ = letter<A>();
        if (letter<A>() == 'S') out += sprintf(out, "%zu", sizeof(A));
    }
    *out++ = ' ';
}

template <typename... A>
const char* types(void (*)(A...)) {
    static char text[16 * sizeof...(A) + 1];
    char* out = text;
    (describe<A>(out), ...);
    *out = 0;
    return text;
}

template <typename F>
struct Call {
    F* function;
    void** arguments;
};

template <typename... A, size_t... I>
void call_with(void (*f)(A...), void** arguments, std::index_sequence<I...>) {
    f(*(std::remove_const_t<A>*)arguments[I]...);
}

template <typename... A>
void call(void* packed) {
    auto* c = (Call<void(A...)>*)packed;
    call_with(c->function, c->arguments, std::index_sequence_for<A...>());
}

static thread_local volatile char anchor;  // so that there is memory of the thread, and it has been made

struct Region {
    void* begin = nullptr;
    size_t size = 0;
};

static int find_shared(dl_phdr_info* info, size_t, void* out) {
    bool mine = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        auto& header = info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + header.p_vaddr, here = (uintptr_t)&find_shared;
        mine |= header.p_type == PT_LOAD && here >= start && here < start + header.p_memsz;
    }
    for (int i = 0; mine && i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS) *(Region*)out = {info->dlpi_tls_data, info->dlpi_phdr[i].p_memsz};
    return mine;
}

template <typename... A>
int launch(void (*f)(A...), void** arguments, const unsigned* dims, int flush, int reverse) {
    anchor = 1;
    Region shared;
    dl_iterate_phdr(find_shared, &shared);
    Call<void(A...)> packed{f, arguments};
    return twin_run(call<A...>, &packed, dims, shared.begin, shared.size, flush, reverse);
}

}  // namespace twin

// ---- What the compiler's checks report (-fsanitize=...): the launch ends with a message

namespace twin {
struct Place {
    const char* file;
    unsigned line, column;
};
}  // namespace twin

#define TWIN_CHECK(name, what)                                                                     \
    extern "C" __attribute__((visibility("hidden"), used)) inline void __ubsan_handle_##name(      \
        twin::Place* place, ...) {                                                                 \
        twin_fail("%s:%u: %s", place->file, place->line, what);                                    \
        twin_stop();                                                                               \
    }

TWIN_CHECK(type_mismatch_v1, "an address that is misaligned for its type")
TWIN_CHECK(out_of_bounds, "an index outside its array")
TWIN_CHECK(add_overflow, "a signed sum overflows")
TWIN_CHECK(sub_overflow, "a signed difference overflows")
TWIN_CHECK(mul_overflow, "a signed product overflows")
TWIN_CHECK(negate_overflow, "a signed negation overflows")
TWIN_CHECK(divrem_overflow, "a division by zero, or one that overflows")
TWIN_CHECK(shift_out_of_bounds, "a shift by more than the bits of its type, or of a negative number")

#include "shim_functions.hpp"
