// The functions of nnx/ops/sigmoidal.py, and of nnx/ops/erf.py.

__device__ inline C log_cosh(C x) {
    C size = abs(x), near = sinh(size < 1 ? size : 1), far = exp(-size);
    return size < 1 ? (C)0.5 * log1p(near * near) : size + log1p(far * far) - (C)0.693147180559945309;
}

FORWARD(sigmoid, NONE, sigmoid(x))
FORWARD(tanh, NONE, tanh(x))
FORWARD(softplus, NONE, softplus(x))
FORWARD(log_sigmoid, NONE, -softplus(-x))
FORWARD(log_cosh, NONE, log_cosh(x))
FORWARD(softsign, NONE, x / (1 + abs(x)))
FORWARD(hard_sigmoid, NONE, between(x + 3, 0, 6) / 6)
FORWARD(hard_tanh, TWO, between(x, (C)a, (C)b))
FORWARD(erf, NONE, erf(x))

ADJOINT(sigmoid, NONE, g * x * (1 - x))
ADJOINT(tanh, NONE, g * (1 - x * x))
ADJOINT(softplus, NONE, -g * expm1(-x))
ADJOINT(log_sigmoid, NONE, -g * expm1(x))
ADJOINT(log_cosh, NONE, g * tanh(x))
ADJOINT(softsign, NONE, g / (1 + abs(x)) / (1 + abs(x)))
ADJOINT(hard_sigmoid, NONE, abs(x) < 3 ? g / 6 : 0)
ADJOINT(hard_tanh, TWO, x > (C)a && x < (C)b ? g : 0)
ADJOINT(erf, NONE, g * (C)1.128379167095512574 * exp(-x * x))
