"""What the standard lacks: each file has forwards and their adjoints."""

from nnx.ops.activation import gelu, leaky_relu, relu, sigmoid, tanh
from nnx.ops.dropout import dropout
from nnx.ops.erf import erf
from nnx.ops.linear import linear
from nnx.ops.softmax import log_softmax, softmax, softmax_cross_entropy

__all__ = [
    "dropout",
    "erf",
    "gelu",
    "leaky_relu",
    "linear",
    "log_softmax",
    "relu",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "tanh",
]
