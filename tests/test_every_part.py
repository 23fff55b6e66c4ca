"""Every op, layer and loss goes through both checks of ``nnx.testing``: one that has no case here fails."""

from __future__ import annotations

import numpy as np
import pytest

import nnx
from nnx.random import Generator
from nnx.testing import check_backends, check_gradients

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 4))
X[0] = [-1.5, 0.25, 0.75, 2.0]  # no kink within reach of a finite difference
POSITIVE = np.abs(RNG.standard_normal((5, 4))) % 0.8 + 0.1
LABELS = np.asarray([0, 3, 1, 2, 2])
SIGNS = np.where(X * X[::-1] > 0.1, 1, -1)  # integers, since no difference of them makes sense
COLUMNS = np.asarray([[0, 1], [3, 3], [2, 0], [1, 2], [3, 0]])
WEIGHT, BIAS = RNG.standard_normal((4, 3)), RNG.standard_normal(3)
BIAS_4 = RNG.standard_normal(4)
IMAGES = RNG.permutation(2.0 * np.arange(2 * 5 * 6 * 2)).reshape(2, 5, 6, 2) / 100  # no two nearly equal, for maxima
KERNEL, KERNEL_BIAS = RNG.standard_normal((3, 2, 2, 3)), RNG.standard_normal(3)
SEQUENCES, STATE = RNG.standard_normal((2, 4, 3)), RNG.standard_normal((2, 3))
GATES = {n: (RNG.standard_normal((2, 4, 3 * n)), RNG.standard_normal((3, 3 * n))) for n in (1, 3, 4)}
KEY, STEP = np.asarray([7, -9], np.int32), np.asarray([3], np.int32)


def in_dtype_of(x, integers):
    return nnx.namespace_of(x).astype(integers, x.dtype)


OPS = {
    "avg_pool2d": (lambda x: nnx.ops.avg_pool2d(x, kernel_size=3, stride=2, padding=1), IMAGES),
    "batch_norm": (lambda *arrays: nnx.ops.batch_norm(*arrays)[0], X, BIAS_4, BIAS_4[::-1]),
    "celu": (nnx.celu, X),
    "conv2d": (
        lambda x, w, b: nnx.ops.conv2d(x, w, b, stride=(2, 1), padding=((1, 0), (1, 2)), dilation=(1, 2)),
        IMAGES,
        KERNEL,
        KERNEL_BIAS,
    ),
    "dropout": (lambda x, key, step: nnx.ops.dropout(x, key, step, rate=0.4), X, KEY, STEP),
    "elu": (nnx.elu, X),
    "embedding": (nnx.ops.embedding, X, LABELS),
    "erf": (nnx.ops.erf, X),
    "gather": (nnx.ops.gather, X, COLUMNS),
    "gelu": (nnx.gelu, X),
    "glu": (nnx.glu, X),
    "gru": (nnx.ops.gru, GATES[3][0], STATE, GATES[3][1], BIAS),
    "hard_sigmoid": (nnx.hard_sigmoid, X),
    "hard_swish": (nnx.hard_swish, X),
    "hard_tanh": (nnx.hard_tanh, X),
    "layer_norm": (nnx.ops.layer_norm, X, BIAS_4, BIAS_4[::-1]),
    "leaky_relu": (nnx.leaky_relu, X),
    "linear": (nnx.ops.linear, X, WEIGHT, BIAS),
    "linear_relu": (nnx.ops.linear_relu, X, WEIGHT, BIAS),
    "log_cosh": (nnx.ops.log_cosh, X),
    "log_sigmoid": (nnx.log_sigmoid, X),
    "log_softmax": (nnx.ops.log_softmax, X),
    "lstm": (nnx.ops.lstm, GATES[4][0], STATE, STATE[::-1], GATES[4][1]),
    "max_pool2d": (lambda x: nnx.ops.max_pool2d(x, kernel_size=3, stride=2, padding=1), IMAGES),
    "mish": (nnx.mish, X),
    "prelu": (nnx.prelu, X, BIAS_4),
    "relu": (nnx.relu, X),
    "relu6": (nnx.relu6, X),
    "rnn": (nnx.ops.rnn, GATES[1][0], STATE, GATES[1][1]),
    "selu": (nnx.selu, X),
    "sigmoid": (nnx.sigmoid, X),
    "silu": (nnx.silu, X),
    "softmax": (nnx.softmax, X),
    "softmax_cross_entropy": (lambda z, ids: nnx.ops.softmax_cross_entropy(z, ids), X, LABELS),
    "softplus": (nnx.softplus, X),
    "softsign": (nnx.softsign, X),
    "sum_abs": (nnx.ops.sum_abs, X),
    "sum_squares": (nnx.ops.sum_squares, X),
    "tanh": (nnx.tanh, X),
}
LAYERS = {
    "AvgPool2d": lambda options: nnx.AvgPool2d(3, 2, 1, count_include_pad=False),
    "BatchNorm": lambda options: nnx.BatchNorm(4, **options),
    "Conv2d": lambda options: nnx.Conv2d(2, 3, (3, 2), stride=2, padding="same", rng=Generator(0), **options),
    "Dropout": lambda options: nnx.Dropout(0.3, rng=Generator(0)),
    "Embedding": lambda options: nnx.Embedding(4, 3, rng=Generator(0), **options),
    "Flatten": lambda options: nnx.Flatten(),
    "GRU": lambda options: nnx.GRU(3, 3, rng=Generator(0), **options),
    "GlobalAvgPool2d": lambda options: nnx.GlobalAvgPool2d(),
    "LSTM": lambda options: nnx.LSTM(3, 3, rng=Generator(0), **options),
    "LayerNorm": lambda options: nnx.LayerNorm(4, **options),
    "Linear": lambda options: nnx.Linear(4, 3, rng=Generator(0), **options),
    "MaxPool2d": lambda options: nnx.MaxPool2d(2),
    "Maxout": lambda options: nnx.Maxout(4, 3, rng=Generator(0), **options),
    "PReLU": lambda options: nnx.PReLU(4, **options),
    "RNN": lambda options: nnx.RNN(3, 3, rng=Generator(0), **options),
    "Sequential": lambda options: nnx.Sequential(
        nnx.Linear(4, 6, rng=Generator(0), **options), nnx.tanh, nnx.Linear(6, 3, rng=Generator(1), **options)
    ),
}
INPUTS = {  # of the layers that take no rows
    "AvgPool2d": IMAGES,
    "Conv2d": IMAGES,
    "Embedding": LABELS,
    "Flatten": IMAGES,
    "GRU": SEQUENCES,
    "GlobalAvgPool2d": IMAGES,
    "LSTM": SEQUENCES,
    "MaxPool2d": IMAGES,
    "RNN": SEQUENCES,
}
LOSSES = {
    "HierarchicalSoftmax": (nnx.losses.HierarchicalSoftmax([[0, 1], [2, 3]]), X[:, :3], LABELS),
    "binary_cross_entropy": (nnx.losses.binary_cross_entropy, X, POSITIVE),
    "cross_entropy": (nnx.losses.cross_entropy, X, LABELS),
    "hinge": (lambda x, t: nnx.losses.hinge(x, in_dtype_of(x, t)), X, SIGNS),
    "huber": (nnx.losses.huber, X, POSITIVE),
    "kl_divergence": (nnx.losses.kl_divergence, -POSITIVE, POSITIVE[::-1]),
    "log_cosh": (nnx.losses.log_cosh, X, POSITIVE),
    "mae": (nnx.losses.mae, X, X[::-1] + 0.3),
    "mse": (nnx.losses.mse, X, POSITIVE),
    "multiclass_hinge": (nnx.losses.multiclass_hinge, X, LABELS),
    "multilabel_hinge": (lambda x, t: nnx.losses.multilabel_hinge(x, in_dtype_of(x, t)), X, SIGNS),
    "multilabel_logistic": (nnx.losses.multilabel_logistic, X, POSITIVE),
    "nll": (nnx.losses.nll, -POSITIVE, LABELS),
    "squared_hinge": (lambda x, t: nnx.losses.squared_hinge(x, in_dtype_of(x, t)), X, SIGNS),
}
FUNCTIONS = OPS | LOSSES


def test_every_part_has_a_case():
    assert set(OPS) == set(nnx.ops.__all__)
    assert set(LAYERS) == set(nnx.layers.__all__)
    assert set(LOSSES) == set(nnx.losses.__all__)


def cast(arrays, dtype):
    return [a.astype(dtype) if a.dtype == np.float64 else a for a in arrays]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_functions(name, device):
    function, *arrays = FUNCTIONS[name]
    check_gradients(function, *arrays, device=device)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_backends_agree_on_functions(name, dtype, flags):
    function, *arrays = FUNCTIONS[name]
    check_backends(function, *cast(arrays, dtype), backends=flags)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_layers(name, device):
    check_gradients(LAYERS[name]({"dtype": "float64"}), INPUTS.get(name, X), device=device)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_backends_agree_on_layers(name, dtype, flags):
    check_backends(LAYERS[name]({"dtype": dtype}), *cast([INPUTS.get(name, X)], dtype), backends=flags)
