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
WEIGHT, BIAS = RNG.standard_normal((4, 3)), RNG.standard_normal(3)
KEY, STEP = np.asarray([7, -9], np.int32), np.asarray([3], np.int32)

OPS = {
    "dropout": (lambda x, key, step: nnx.ops.dropout(x, key, step, rate=0.4), X, KEY, STEP),
    "erf": (nnx.ops.erf, X),
    "gelu": (nnx.gelu, X),
    "leaky_relu": (nnx.leaky_relu, X),
    "linear": (nnx.ops.linear, X, WEIGHT, BIAS),
    "log_softmax": (nnx.ops.log_softmax, X),
    "relu": (nnx.relu, X),
    "sigmoid": (nnx.sigmoid, X),
    "softmax": (nnx.softmax, X),
    "softmax_cross_entropy": (lambda z, ids: nnx.ops.softmax_cross_entropy(z, ids), X, LABELS),
    "tanh": (nnx.tanh, X),
}
LAYERS = {
    "Dropout": lambda options: nnx.Dropout(0.3, rng=Generator(0)),
    "Linear": lambda options: nnx.Linear(4, 3, rng=Generator(0), **options),
    "Sequential": lambda options: nnx.Sequential(
        nnx.Linear(4, 6, rng=Generator(0), **options), nnx.tanh, nnx.Linear(6, 3, rng=Generator(1), **options)
    ),
}
LOSSES = {
    "binary_cross_entropy": (nnx.losses.binary_cross_entropy, X, POSITIVE),
    "cross_entropy": (nnx.losses.cross_entropy, X, LABELS),
    "mae": (nnx.losses.mae, X, X[::-1] + 0.3),
    "mse": (nnx.losses.mse, X, POSITIVE),
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
    check_gradients(LAYERS[name]({"dtype": "float64"}), X, device=device)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_backends_agree_on_layers(name, dtype, flags):
    check_backends(LAYERS[name]({"dtype": dtype}), X.astype(dtype), backends=flags)
