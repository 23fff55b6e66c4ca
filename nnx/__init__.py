"""Neural networks written once, against the Array API standard.

The same model trains on NumPy arrays on a CPU, on CuPy arrays on a CUDA GPU, and on arrays of any
other library that implements the standard. From the ground up:

``backend``
    turns a device flag into a device, and an array into its namespace
``tape``, ``vjps``
    record what functions of the standard do, and know their derivatives
``grad``, ``random``, ``init``
    gradients of functions and models; random numbers that agree on every backend
``derivatives``, ``custom``, ``recompute``
    other derivatives of any order; adjoints of the user's own; memory saved by computing twice
``ops``
    what the standard lacks, each with its adjoints
``module``, ``layers``, ``losses``, ``metrics``, ``optim``, ``data``
    models and what they are trained with
``regularizers``, ``constraints``, ``preprocessing``
    what keeps weights small, and what brings data into shape
``train``, ``sanity``, ``interop``, ``testing``
    the training loop; checks before it; files of weights; checks of gradients and of backends
"""

from nnx import constraints, data, init, losses, metrics, ops, optim, preprocessing, regularizers, testing
from nnx._errors import (
    ArgumentError,
    BackendUnavailableError,
    DeviceError,
    DifferentiationError,
    DTypeError,
    LabelError,
    MissingRuleError,
    MixedLibrariesError,
    NnxError,
    NonFiniteLossError,
    OutOfMemoryError,
    ShapeError,
    StateError,
    UndeclaredStateError,
)
from nnx.backend import Device, asarray, default_device, device, namespace_of, to_numpy
from nnx.capture import capture
from nnx.custom import custom_vjp
from nnx.derivatives import hessian, hvp, jacobian, jvp
from nnx.grad import grad, stop_gradient, value_and_grad, vjp
from nnx.interop import load_weights, save_weights
from nnx.layers import (
    GRU,
    LSTM,
    RNN,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool2d,
    LayerNorm,
    Linear,
    Maxout,
    MaxPool2d,
    PReLU,
    Sequential,
)
from nnx.module import Buffer, Module, Parameter
from nnx.ops import (
    celu,
    elu,
    gelu,
    glu,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    tanh,
)
from nnx.random import Generator, seed
from nnx.recompute import remat
from nnx.sanity import SanityReport, sanity_check
from nnx.summary import Summary, summary
from nnx.train import History, Trainer
from nnx.vjps import differentiable

__version__ = "0.1.0.dev0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "ArgumentError",
    "AvgPool2d",
    "BackendUnavailableError",
    "BatchNorm",
    "Buffer",
    "Conv2d",
    "DTypeError",
    "Device",
    "DeviceError",
    "DifferentiationError",
    "Dropout",
    "Embedding",
    "Flatten",
    "Generator",
    "GlobalAvgPool2d",
    "History",
    "LabelError",
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "Maxout",
    "MissingRuleError",
    "MixedLibrariesError",
    "Module",
    "NnxError",
    "NonFiniteLossError",
    "OutOfMemoryError",
    "PReLU",
    "Parameter",
    "SanityReport",
    "Sequential",
    "ShapeError",
    "StateError",
    "Summary",
    "Trainer",
    "UndeclaredStateError",
    "asarray",
    "capture",
    "celu",
    "constraints",
    "custom_vjp",
    "data",
    "default_device",
    "device",
    "differentiable",
    "elu",
    "gelu",
    "glu",
    "grad",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "hessian",
    "hvp",
    "init",
    "jacobian",
    "jvp",
    "leaky_relu",
    "load_weights",
    "log_sigmoid",
    "log_softmax",
    "losses",
    "metrics",
    "mish",
    "namespace_of",
    "ops",
    "optim",
    "prelu",
    "preprocessing",
    "regularizers",
    "relu",
    "relu6",
    "remat",
    "sanity_check",
    "save_weights",
    "seed",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "stop_gradient",
    "summary",
    "tanh",
    "testing",
    "to_numpy",
    "value_and_grad",
    "vjp",
]
