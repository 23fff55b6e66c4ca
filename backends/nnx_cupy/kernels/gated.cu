// The functions of nnx/ops/gated.py.

// Phi(x), the distribution function of the normal law, and its derivative; or the usual approximation of both.
__device__ inline C phi(C x, bool approximate, C* slope) {
    const C c = (C)0.7978845608028653559, a = (C)0.044715;  // sqrt(2 / pi)
    if (approximate) {
        C t = tanh(c * (x + a * x * x * x));
        *slope = (C)0.5 * (1 - t * t) * c * (1 + 3 * a * x * x);
        return (C)0.5 * (1 + t);
    }
    *slope = exp((C)-0.5 * x * x) * (C)0.3989422804014326779;  // 1 / sqrt(2 pi)
    return (C)0.5 * (1 + erf(x * (C)0.7071067811865475244));
}

__device__ inline C gelu(C x, bool approximate) {
    C slope;
    return x * phi(x, approximate, &slope);
}

__device__ inline C gelu_slope(C x, bool approximate) {
    C slope, p = phi(x, approximate, &slope);
    return p + x * slope;
}

__device__ inline C silu_slope(C x) {
    C s = sigmoid(x);
    return s * (1 + x * (1 - s));
}

__device__ inline C mish_slope(C x) {
    C t = tanh(softplus(x));
    return t + x * (1 - t * t) * sigmoid(x);
}

FORWARD(gelu, FLAG, gelu(x, approximate))
FORWARD(silu, NONE, x * sigmoid(x))
FORWARD(mish, NONE, x * tanh(softplus(x)))
FORWARD(hard_swish, NONE, x * between(x + 3, 0, 6) / 6)

ADJOINT(gelu, FLAG, g * gelu_slope(x, approximate))
ADJOINT(silu, NONE, g * silu_slope(x))
ADJOINT(mish, NONE, g * mish_slope(x))
ADJOINT(hard_swish, NONE, x > -3 ? g * (x < 3 ? x / 3 + (C)0.5 : 1) : 0)
