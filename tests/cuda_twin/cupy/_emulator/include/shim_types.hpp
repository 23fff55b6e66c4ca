// The low types, as bits; vectors.

#pragma once

#include <cstdint>
#include <cstring>

using uint = unsigned int;
using ushort = unsigned short;
using uchar = unsigned char;

struct __half {
    unsigned short bits;
};
struct __nv_bfloat16 {
    unsigned short bits;
};
using half = __half;
using nv_bfloat16 = __nv_bfloat16;

namespace twin {

template <typename To, typename From>
inline To bits(From x) {
    static_assert(sizeof(To) == sizeof(From));
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}

// To the nearest, ties to even.
inline unsigned short half_bits(float x) {
    uint32_t u = bits<uint32_t>(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return sign | 0x7fff;   // NaN
    if (a >= 0x477ff000) return sign | 0x7c00;  // beyond what rounds to 65504
    if (a < 0x33000001) return sign;            // to zero
    uint32_t exponent = a >> 23, mantissa = (a & 0x7fffff) | 0x800000;
    uint32_t shift = exponent < 113 ? 126 - exponent : 13;  // subnormal, or normal
    uint32_t kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), middle = 1u << (shift - 1);
    kept += rest > middle || (rest == middle && (kept & 1));
    return sign | (exponent < 113 ? kept : kept + ((exponent - 113) << 10));
}

inline float half_value(unsigned short h) {
    uint32_t sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    if (exponent == 31) return bits<float>(sign | 0x7f800000 | mantissa << 13);
    if (exponent) return bits<float>(sign | (exponent + 112) << 23 | mantissa << 13);
    if (!mantissa) return bits<float>(sign);
    exponent = 113;
    while (!(mantissa & 0x400)) mantissa <<= 1, exponent--;
    return bits<float>(sign | exponent << 23 | (mantissa & 0x3ff) << 13);
}

inline unsigned short bfloat16_bits(float x) {
    uint32_t u = bits<uint32_t>(x);
    if ((u & 0x7fffffff) > 0x7f800000) return 0x7fff;
    return (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

}  // namespace twin

inline float __half2float(__half x) { return twin::half_value(x.bits); }
inline __half __float2half_rn(float x) { return {twin::half_bits(x)}; }
inline __half __float2half(float x) { return {twin::half_bits(x)}; }
inline float __bfloat162float(__nv_bfloat16 x) { return twin::bits<float>((uint32_t)x.bits << 16); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {twin::bfloat16_bits(x)}; }
inline __nv_bfloat16 __float2bfloat16(float x) { return {twin::bfloat16_bits(x)}; }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline __half __ushort_as_half(unsigned short x) { return {x}; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) { return {x}; }

#define TWIN_VECTOR(type, name)                                                                    \
    struct alignas(2 * sizeof(type)) name##2 {                                                     \
        type x, y;                                                                                 \
    };                                                                                             \
    struct alignas(4 * sizeof(type) > 16 ? 16 : 4 * sizeof(type)) name##4 {                        \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                               \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

TWIN_VECTOR(int, int)
TWIN_VECTOR(unsigned int, uint)
TWIN_VECTOR(float, float)
TWIN_VECTOR(double, double)
TWIN_VECTOR(short, short)
TWIN_VECTOR(unsigned short, ushort)
TWIN_VECTOR(unsigned char, uchar)
TWIN_VECTOR(long long, longlong)
#undef TWIN_VECTOR
