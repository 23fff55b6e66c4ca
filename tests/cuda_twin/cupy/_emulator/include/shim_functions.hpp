// Functions of the device.

#pragma once

#define TWIN_EXTREMES(type)                                                                        \
    inline type min(type a, type b) { return a < b ? a : b; }                                      \
    inline type max(type a, type b) { return a > b ? a : b; }
TWIN_EXTREMES(int)
TWIN_EXTREMES(unsigned int)
TWIN_EXTREMES(long)
TWIN_EXTREMES(unsigned long)
TWIN_EXTREMES(long long)
TWIN_EXTREMES(unsigned long long)
#undef TWIN_EXTREMES
inline float min(float a, float b) { return fminf(a, b); }  // a NaN gives way, as on a GPU
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

using std::abs;
using std::ceil;
using std::erf;
using std::exp;
using std::exp2;
using std::expm1;
using std::fabs;
using std::floor;
using std::fma;
using std::fmax;
using std::fmin;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::log;
using std::log1p;
using std::log2;
using std::pow;
using std::rint;
using std::round;
using std::sinh;
using std::sqrt;
using std::tanh;
using std::trunc;

inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline float rsqrt(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float normcdff(float x) { return 0.5f * erfcf(x * -0.70710678118654752f); }
inline double normcdf(double x) { return 0.5 * erfc(x * -0.70710678118654752); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1 / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1 / sqrtf(x); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }

inline int __float_as_int(float x) { return twin::bits<int>(x); }
inline unsigned __float_as_uint(float x) { return twin::bits<unsigned>(x); }
inline float __int_as_float(int x) { return twin::bits<float>(x); }
inline float __uint_as_float(unsigned x) { return twin::bits<float>(x); }
inline long long __double_as_longlong(double x) { return twin::bits<long long>(x); }
inline double __longlong_as_double(long long x) { return twin::bits<double>(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __mulhi(int a, int b) { return (long long)a * b >> 32; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
    return ((unsigned long long)high << 32 | low) << (by & 31) >> 32;
}

template <typename V>
inline V __ldg(const V* p) { return *p; }
template <typename V>
inline V __ldcs(const V* p) { return *p; }
template <typename V>
inline V __ldcg(const V* p) { return *p; }
template <typename V>
inline void __stcs(V* p, V x) { *p = x; }

inline void __threadfence() {}
inline void __threadfence_block() {}

// Of integers alone: sums of floats whose order nobody knows are not to be had.
#define TWIN_ATOMICS(type)                                                                         \
    inline type atomicAdd(type* p, type x) { type old = *p; *p = old + x; return old; }            \
    inline type atomicMax(type* p, type x) { type old = *p; if (x > old) *p = x; return old; }     \
    inline type atomicMin(type* p, type x) { type old = *p; if (x < old) *p = x; return old; }     \
    inline type atomicOr(type* p, type x) { type old = *p; *p = old | x; return old; }             \
    inline type atomicAnd(type* p, type x) { type old = *p; *p = old & x; return old; }            \
    inline type atomicExch(type* p, type x) { type old = *p; *p = x; return old; }                 \
    inline type atomicCAS(type* p, type is, type x) { type old = *p; if (old == is) *p = x; return old; }
TWIN_ATOMICS(int)
TWIN_ATOMICS(unsigned int)
TWIN_ATOMICS(unsigned long long)
#undef TWIN_ATOMICS
