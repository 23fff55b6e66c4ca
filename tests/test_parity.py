"""Equal seeds, equal training: the first 50 steps with dropout agree on every backend."""

from __future__ import annotations

import functools
from contextlib import nullcontext

import numpy as np
import pytest

import nnx

STEPS = 50
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


def train(flag, dtype):
    """The losses of the first steps, and the parameters and buffers after them."""
    nnx.seed(7)
    rng = nnx.Generator(1)
    x = rng.normal((256, 20)).astype(dtype)
    y = (x @ rng.normal((20, 5))).argmax(axis=1)
    model = nnx.Sequential(
        nnx.Linear(20, 32, dtype=dtype),
        nnx.relu,
        nnx.Dropout(0.2),
        nnx.Linear(32, 16, dtype=dtype, weight_init=nnx.init.he_normal),
        nnx.gelu,
        nnx.Dropout(0.5),
        nnx.Linear(16, 5, dtype=dtype),
        device=flag,
    )
    optimizer = nnx.optim.Adam(nnx.optim.schedules.warmup(10, 1e-2), clip_norm=5.0)
    value_and_grad = nnx.value_and_grad(lambda model, x, y: nnx.losses.cross_entropy(model(x), y))
    batches = nnx.data.batches(x, y, batch_size=32, shuffle=True, device=flag)
    losses = []
    while len(losses) < STEPS:
        for xb, yb in batches:
            loss, gradients = value_and_grad(model, xb, yb)
            losses.append(float(nnx.to_numpy(loss)))
            optimizer.update(model, gradients)
    return np.asarray(losses[:STEPS]), {name: nnx.to_numpy(array) for name, array in model.arrays().items()}


@functools.cache
def reference(dtype):
    return train("cpu", dtype)


def assert_equal_training(found, dtype):
    losses, arrays = found
    expected, expected_arrays = reference(dtype)
    np.testing.assert_allclose(losses, expected, rtol=TOLERANCE[dtype])
    for name, array in arrays.items():
        if array.dtype == np.int32:  # the streams of dropout
            np.testing.assert_array_equal(array, expected_arrays[name])
        else:
            largest = abs(expected_arrays[name]).max()
            np.testing.assert_allclose(array, expected_arrays[name], rtol=0, atol=20 * TOLERANCE[dtype] * largest)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_first_fifty_steps(flag, dtype):
    assert_equal_training(train(flag, dtype), dtype)


def test_the_first_fifty_steps_with_jax_as_installed():
    """Without 64-bit types: class ids, orders and streams of random numbers are then of 32 bits."""
    jax = pytest.importorskip("jax")
    with jax.enable_x64(False):
        assert_equal_training(train("jax", "float32"), "float32")


def test_the_steps_are_worth_comparing():
    """They learn, dropout acts in them, and another seed gives other numbers."""
    losses, _ = reference("float64")
    assert losses[-5:].mean() < 0.8 * losses[:5].mean()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nnx.Dropout, "__call__", lambda self, x: x)
        without, _ = train("cpu", "float64")
    assert (abs(without - losses) > 1e-3).mean() > 0.9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nnx, "seed", nullcontext)
        nnx.random.seed(8)
        other, _ = train("cpu", "float64")
    assert (abs(other - losses) > 1e-3).mean() > 0.9
