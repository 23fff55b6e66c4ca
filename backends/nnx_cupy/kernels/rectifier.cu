// The functions of nnx/ops/rectifier.py.

#define SELU_SCALE (C)1.0507009873554805
#define SELU_ALPHA (C)1.6732632423543772

FORWARD(relu, NONE, x < 0 ? 0 : x)
FORWARD(relu6, NONE, between(x, 0, 6))
FORWARD(leaky_relu, ONE, x > 0 ? x : (C)a * x)
FORWARD(elu, ONE, x > 0 ? x : (C)a * expm1(x))
FORWARD(selu, NONE, SELU_SCALE * (x > 0 ? x : SELU_ALPHA * expm1(x)))
FORWARD(celu, ONE, x > 0 ? x : (C)a * expm1(x / (C)a))

ADJOINT(relu, NONE, x > 0 ? g : 0)
ADJOINT(relu6, NONE, x > 0 && x < 6 ? g : 0)
ADJOINT(leaky_relu, ONE, x > 0 ? g : (C)a * g)
ADJOINT(elu, ONE, x > 0 ? g : g * (C)a * exp(x))
ADJOINT(selu, NONE, SELU_SCALE * g * (x > 0 ? 1 : SELU_ALPHA * exp(x)))
ADJOINT(celu, ONE, x > 0 ? g : g * exp(x / (C)a))
