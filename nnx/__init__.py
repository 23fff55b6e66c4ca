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
``train``, ``interop``, ``testing``
    the training loop; files of weights; checks of gradients and of backends
"""

from nnx import data, init, losses, metrics, ops, optim, testing
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
    ShapeError,
    StateError,
    UndeclaredStateError,
)
from nnx.backend import Device, asarray, default_device, device, namespace_of, to_numpy
from nnx.custom import custom_vjp
from nnx.derivatives import hessian, hvp, jacobian, jvp
from nnx.grad import grad, stop_gradient, value_and_grad, vjp
from nnx.interop import load_weights, save_weights
from nnx.layers import Dropout, Linear, Sequential
from nnx.module import Buffer, Module, Parameter
from nnx.ops import gelu, leaky_relu, relu, sigmoid, softmax, tanh
from nnx.random import Generator, seed
from nnx.recompute import remat
from nnx.summary import Summary, summary
from nnx.train import History, Trainer
from nnx.vjps import differentiable

__version__ = "0.1.0.dev0"

__all__ = [
    "ArgumentError",
    "BackendUnavailableError",
    "Buffer",
    "DTypeError",
    "Device",
    "DeviceError",
    "DifferentiationError",
    "Dropout",
    "Generator",
    "History",
    "LabelError",
    "Linear",
    "MissingRuleError",
    "MixedLibrariesError",
    "Module",
    "NnxError",
    "NonFiniteLossError",
    "Parameter",
    "Sequential",
    "ShapeError",
    "StateError",
    "Summary",
    "Trainer",
    "UndeclaredStateError",
    "asarray",
    "custom_vjp",
    "data",
    "default_device",
    "device",
    "differentiable",
    "gelu",
    "grad",
    "hessian",
    "hvp",
    "init",
    "jacobian",
    "jvp",
    "leaky_relu",
    "load_weights",
    "losses",
    "metrics",
    "namespace_of",
    "ops",
    "optim",
    "relu",
    "remat",
    "save_weights",
    "seed",
    "sigmoid",
    "softmax",
    "stop_gradient",
    "summary",
    "tanh",
    "testing",
    "to_numpy",
    "value_and_grad",
    "vjp",
]
