"""What the standard lacks: each file has forwards and their adjoints."""

from nnx.ops.conv import conv2d
from nnx.ops.dropout import dropout
from nnx.ops.embedding import embedding
from nnx.ops.erf import erf
from nnx.ops.gated import gelu, glu, hard_swish, mish, silu
from nnx.ops.gather import gather
from nnx.ops.linear import linear, linear_relu
from nnx.ops.norm import batch_norm, layer_norm
from nnx.ops.penalty import sum_abs, sum_squares
from nnx.ops.pool import avg_pool2d, max_pool2d
from nnx.ops.rectifier import celu, elu, leaky_relu, prelu, relu, relu6, selu
from nnx.ops.recurrent import gru, lstm, rnn
from nnx.ops.sigmoidal import hard_sigmoid, hard_tanh, log_cosh, log_sigmoid, sigmoid, softplus, softsign, tanh
from nnx.ops.softmax import log_softmax, softmax, softmax_cross_entropy

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "celu",
    "conv2d",
    "dropout",
    "elu",
    "embedding",
    "erf",
    "gather",
    "gelu",
    "glu",
    "gru",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "layer_norm",
    "leaky_relu",
    "linear",
    "linear_relu",
    "log_cosh",
    "log_sigmoid",
    "log_softmax",
    "lstm",
    "max_pool2d",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "rnn",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "softsign",
    "sum_abs",
    "sum_squares",
    "tanh",
]
