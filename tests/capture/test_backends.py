"""Captured steps on every backend: replayed, compiled, or plain, the results are those of plain steps."""

from __future__ import annotations

import collections
import copy
import gc
import weakref

import numpy as np
import pytest

import nnx

value_and_grad = nnx.value_and_grad(lambda model, x, y: nnx.losses.cross_entropy(model(x), y))


def train(model, optimizer, x, y):
    loss, grads = value_and_grad(model, x, y)
    optimizer.update(model, grads)
    return loss, {"logits": model(x)}


OPTIMIZERS = {
    "adamw": lambda: nnx.optim.AdamW(nnx.optim.schedules.cosine(1e-2, 40), clip_norm=0.5),
    "sgd": lambda: nnx.optim.SGD(0.05, momentum=0.9),
}


@pytest.fixture
def captures(device):
    """Whether the backend captures."""
    return device.backend.capture is not None


def network(device):
    layers = nnx.Linear(6, 8, bias=False), nnx.BatchNorm(8), nnx.relu, nnx.Dropout(0.2), nnx.Linear(8, 3)
    return nnx.Sequential(*layers, device=device)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training(device, captures, optimizer):
    rng = np.random.default_rng(0)
    model = network(device)
    twin = copy.deepcopy(model)
    a, b = OPTIMIZERS[optimizer](), OPTIMIZERS[optimizer]()
    captured = nnx.capture(train)
    for i in range(9):
        n = 5 if i % 4 == 3 else 9  # the last batch is short
        x = nnx.asarray(rng.standard_normal((n, 6)).astype("float32"), device=device)
        y = nnx.asarray(rng.integers(0, 3, n).astype("int32"), device=device)
        loss, rest = captured(model, a, x, y)
        expected, logits = train(twin, b, x, y)
        pairs = [(loss, expected), (rest["logits"], logits["logits"])]
        pairs += [(model.arrays()[name], array) for name, array in twin.arrays().items()]
        pairs += [(a.state[name], array) for name, array in b.state.items()]
        for found, wanted in pairs:
            assert type(found) is type(wanted)
            assert nnx.backend.device_of(found) == device
            assert found.dtype == wanted.dtype
            np.testing.assert_allclose(nnx.to_numpy(found), nnx.to_numpy(wanted), rtol=2e-4, atol=2e-6)
    assert captured.replays == (4 if captures else 0)  # the third of the short batches is compared


def test_arrays_that_are_loaded(device, captures, make):
    model = nnx.Linear(3, 2, device=device)
    captured = nnx.capture(lambda x: model(x))
    x = make(np.ones((2, 3)))
    for i in range(7):
        np.testing.assert_allclose(nnx.to_numpy(captured(x)), nnx.to_numpy(model(x)), rtol=1e-6)
        model.load({name: make(np.full(a.shape, i)) for name, a in model.arrays().items()})
    assert captured.replays == (4 if captures else 0)


def test_values_that_are_read(device, captures, make):
    @nnx.capture
    def step(x):
        return x * 2 if float(nnx.namespace_of(x).sum(x)) > 0 else x

    x = make([1.0, 2.0])
    found = [step(x)]
    if captures:
        with pytest.warns(UserWarning, match="runs .*step plainly"):
            found.append(step(x))
    found.append(step(x))
    for y in found:
        np.testing.assert_array_equal(nnx.to_numpy(y), [2.0, 4.0])


def test_models_that_are_not_found(device, captures, make):
    hidden = collections.deque([nnx.Linear(2, 1, device=device), nnx.optim.SGD(0.05)])
    grad = nnx.value_and_grad(lambda model, x: nnx.losses.mse(model(x), x[:, :1]))

    @nnx.capture
    def step(x):
        loss, grads = grad(hidden[0], x)
        hidden[1].update(hidden[0], grads)
        return loss

    x = make([[1.0, 2.0], [0.5, -1.0]])
    losses = [float(step(x))]
    if captures:
        with pytest.warns(UserWarning, match="was not found"):
            losses.append(float(step(x)))
    losses += [float(step(x)), float(step(x))]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == len(losses)


def test_numbers_that_are_drawn(device, captures, make):
    rng, twin = nnx.Generator(0), nnx.Generator(0)

    @nnx.capture
    def step(x):
        return x + nnx.asarray(rng.uniform((2,)), device=device, dtype="float32")

    x = make([1.0, 2.0])
    found = [step(x)]
    if captures:
        with pytest.warns(UserWarning, match="Generator"):
            found.append(step(x))
    found.append(step(x))
    for y in found:
        expected = np.array([1, 2], "float32") + twin.uniform((2,)).astype("float32")
        np.testing.assert_allclose(nnx.to_numpy(y), expected, rtol=1e-6)


def test_no_batch_and_no_old_parameters_are_kept(device, make):
    model, optimizer = nnx.Linear(6, 3, device=device), nnx.optim.SGD(0.1)
    captured = nnx.capture(train)
    seen = []
    for i in range(5):
        x, y = make(np.full((4, 6), i)), make([0, 1, 2, 0], "int32")
        seen += [weakref.ref(x), weakref.ref(model.weight)]
        captured(model, optimizer, x, y)
        model.load({name: make(np.ones(a.shape)) for name, a in model.arrays().items()})
    del x, y
    gc.collect()
    assert [ref() for ref in seen] == [None] * len(seen)
