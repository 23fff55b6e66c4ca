// Activations and their adjoints, one pass each. A NaN stays one: comparisons are so written that it falls through.

__device__ inline C between(C x, C low, C high) { return x < low ? low : x > high ? high : x; }
__device__ inline C sigmoid(C x) { return 1 / (1 + exp(-x)); }  // 0 where exp overflows
__device__ inline C softplus(C x) { return (x < 0 ? 0 : x) + log1p(exp(-abs(x))); }

#define FORWARD(name, parameters, value)                                                           \
    extern "C" __global__ void name##_forward(const T* x_, T* y_, long long n parameters) {        \
        map(n, [=](C x) { return (C)(value); }, y_, x_);                                           \
    }

// x is what the rule asks for: the argument of the activation, or its value.
#define ADJOINT(name, parameters, value)                                                           \
    extern "C" __global__ void name##_x(const T* g_, const T* x_, T* y_, long long n parameters) { \
        map(n, [=](C g, C x) { return (C)(value); }, y_, g_, x_);                                  \
    }

#define NONE
#define ONE , double a
#define TWO , double a, double b
#define FLAG , bool approximate
