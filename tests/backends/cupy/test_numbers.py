"""Options that are numbers of NumPy: CuPy would pass them to a kernel with their own few bytes."""

from __future__ import annotations

import numpy as np
import pytest

import nnx

cupy = pytest.importorskip("cupy")


@pytest.fixture(autouse=True, scope="module")
def gpu(flags):
    flag = next((flag for flag in flags if flag.startswith("cuda")), None)
    if flag is None:
        pytest.skip("no GPU, and no twin of CuPy")
    with nnx.default_device(flag), nnx.device(flag):
        yield


def images():
    return nnx.asarray(np.arange(64, dtype="float32").reshape(2, 4, 4, 2))


def dropped(rate):
    key, step = (cupy.asarray(np.asarray(x, np.int32)) for x in ([1, 2], 3))
    return nnx.ops.dropout(images(), key, step, rate=rate)


OPTIONS = {
    "batch_norm": lambda f, i: nnx.ops.batch_norm(nnx.asarray(np.eye(3, dtype="float32")), eps=f(0.5))[0],
    "conv2d": lambda f, i: nnx.ops.conv2d(
        images(), nnx.asarray(np.ones((3, 3, 2, 2), "float32")), stride=i(2), padding=((i(0), i(1)), (i(1), i(2)))
    ),
    "dropout": lambda f, i: dropped(f(0.5)),
    "hard_tanh": lambda f, i: nnx.ops.hard_tanh(images(), low=i(-1), high=f(2.5)),
    "layer_norm": lambda f, i: nnx.ops.layer_norm(images(), eps=f(0.5)),
    "leaky_relu": lambda f, i: nnx.ops.leaky_relu(-images(), slope=f(0.25)),
    "max_pool2d": lambda f, i: nnx.ops.max_pool2d(images(), kernel_size=i(2), padding=i(1)),
    "softmax": lambda f, i: nnx.ops.softmax(images(), axis=i(1)),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name):
    expected = OPTIONS[name](float, int)
    for f, i in [(np.float32, np.int32), (np.float64, np.int64), (np.float16, np.int8)]:
        np.testing.assert_array_equal(nnx.to_numpy(OPTIONS[name](f, i)), nnx.to_numpy(expected))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("optimizer", [nnx.optim.SGD, nnx.optim.Adam])
def test_rates_of_schedules(optimizer, kind):
    found = []
    for rate in (lambda step: 0.5, lambda step: kind(0.5)):
        model = nnx.Linear(2, 2)
        model.load({name: np.ones(array.shape, "float32") for name, array in model.arrays().items()})
        grads = {name: nnx.asarray(np.ones(p.shape, "float32")) for name, p in model.parameters().items()}
        optimizer(rate).update(model, grads)
        found.append(nnx.to_numpy(model.weight))
    np.testing.assert_array_equal(*found)
