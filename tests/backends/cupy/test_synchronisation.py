"""A training step asks nothing of the GPU that the host would have to wait for.

The twin counts each wait: values that are read, copies to the host, and what CuPy does in between, such as finding out
how many elements a mask selects.
"""

from __future__ import annotations

import numpy as np
import pytest

import nnx
from nnx.train.guard import PERIOD

RNG = np.random.default_rng(0)
N = 8
FLAT = RNG.standard_normal((N, 6)).astype(np.float32)
IMAGES = RNG.standard_normal((N, 8, 8, 1)).astype(np.float32)
IDS = RNG.integers(0, 9, (N, 5))
CLASSES = np.arange(N) % 3


@pytest.fixture
def counted(gpu):
    import cupy

    if not hasattr(cupy, "twin"):
        pytest.skip("a GPU does not count")
    return cupy.twin.synchronisations


class Tagger(nnx.Module):
    """Classes of sequences, from the last state of an LSTM."""

    def __init__(self):
        self.table, self.cell, self.head = nnx.Embedding(9, 4), nnx.LSTM(4, 5), nnx.Linear(5, 3)

    def __call__(self, ids):
        return self.head(self.cell(self.table(ids))[0][:, -1, :])


MODELS = {
    "MLP": (lambda: nnx.Sequential(nnx.Linear(6, 8), nnx.relu, nnx.Dropout(0.5), nnx.Linear(8, 3)), FLAT),
    "batch norm": (lambda: nnx.Sequential(nnx.Linear(6, 8), nnx.BatchNorm(8), nnx.gelu, nnx.Linear(8, 3)), FLAT),
    "layer norm": (lambda: nnx.Sequential(nnx.Linear(6, 8), nnx.LayerNorm(8), nnx.silu, nnx.Linear(8, 3)), FLAT),
    "CNN": (
        lambda: nnx.Sequential(
            nnx.Conv2d(1, 4, 3), nnx.BatchNorm(4), nnx.relu, nnx.MaxPool2d(2), nnx.Flatten(), nnx.Linear(36, 3)
        ),
        IMAGES,
    ),
    "LSTM": (Tagger, IDS),
}
OPTIMISERS = {
    "SGD": lambda: nnx.optim.SGD(nnx.optim.schedules.warmup(3, 0.1), momentum=0.9),
    "Adam": lambda: nnx.optim.Adam(nnx.optim.schedules.cosine(0.1, steps=10), clip_norm=1.0),
    "AdamW": lambda: nnx.optim.AdamW(0.1, clip_norm=1.0),
}
LOSSES = {
    "cross_entropy": lambda p, y: nnx.losses.cross_entropy(p, y),
    "smoothed": lambda p, y: nnx.losses.cross_entropy(p, y, label_smoothing=0.1, ignore_index=2),
    "nll": lambda p, y: nnx.losses.nll(nnx.log_softmax(p), y),
    "hinge": lambda p, y: nnx.losses.multiclass_hinge(p, y),
    "mse": lambda p, y: nnx.losses.mse(p, nnx.namespace_of(p).zeros_like(p)),
    "binary": lambda p, y: nnx.losses.binary_cross_entropy(p, nnx.namespace_of(p).zeros_like(p)),
}


def waits_of_steps(counted, gpu, model, optimizer, x, loss=nnx.losses.cross_entropy, **options):
    model = model.to(gpu)
    x, y = nnx.asarray(x, device=gpu), nnx.asarray(CLASSES, device=gpu)
    f = nnx.value_and_grad(lambda m: loss(m(x), y), **options)
    with counted() as waits:
        for _ in range(3):  # the first one, too, in which optimisers make their state
            value, gradients = f(model)
            optimizer.update(model, gradients)
    assert np.isfinite(float(value))
    return waits


@pytest.mark.parametrize("optimizer", OPTIMISERS)
@pytest.mark.parametrize("name", MODELS)
def test_a_step(counted, gpu, name, optimizer):
    model, x = MODELS[name]
    waits = waits_of_steps(counted, gpu, model(), OPTIMISERS[optimizer](), x)
    assert len(waits) == 0, waits


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(counted, gpu, loss):
    waits = waits_of_steps(counted, gpu, nnx.Linear(6, 3), nnx.optim.SGD(0.1), FLAT, LOSSES[loss])
    assert len(waits) == 0, waits


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "tf32"])
def test_low_precision(counted, gpu, precision):
    model, x = MODELS["MLP"]
    waits = waits_of_steps(counted, gpu, model(), nnx.optim.Adam(0.01), x, precision=precision)
    assert len(waits) == 0, waits


def test_a_prediction(counted, gpu):
    model, x = MODELS["CNN"]
    model, x = model().to(gpu), nnx.asarray(x, device=gpu)
    with counted() as waits:
        model(x)
    assert len(waits) == 0, waits


def test_a_value_that_is_read_is_counted(counted, gpu):
    """Or the other tests could not fail."""
    x = nnx.asarray(FLAT, device=gpu)
    with counted() as waits:
        float(nnx.losses.mse(x, x))
    assert len(waits) == 1


class TestATrainer:
    @pytest.fixture(params=[False, True], ids=["streamed", "resident"])
    def waits(self, counted, gpu, request, monkeypatch):
        """The number of waits of a fit of so many steps."""
        if not request.param:
            import sys

            monkeypatch.setattr(sys.modules["nnx.data.batches"], "RESIDENT", 0.0)

        def waits(steps, epochs=1, optimizer=None):
            x, y = np.tile(FLAT, (steps, 1)), np.tile(CLASSES, steps)
            trainer = nnx.Trainer(
                MODELS["MLP"][0]().to(gpu),
                loss=nnx.losses.cross_entropy,
                optimizer=nnx.optim.Adam(0.01, clip_norm=1.0),
                metrics=[nnx.metrics.accuracy],
            )
            with counted() as found:
                trainer.fit((x, y), batch_size=N, epochs=epochs, progress=False)
            return len(found)

        return waits

    def test_within_an_epoch_only_the_guard_waits(self, waits):
        few = waits(1)
        assert waits(PERIOD - 1) == few
        checked = waits(PERIOD + 1)
        assert 0 < checked - few <= 2  # the losses, and whether the parameters are finite
        assert waits(3 * PERIOD + 1) - few == 3 * (checked - few)

    def test_epochs_wait_at_their_ends(self, waits):
        one = waits(3)
        two = waits(3, epochs=2)
        assert 0 < two - one <= 5  # the guard's two, and the figures of the history
        assert waits(3, epochs=4) - two == 2 * (two - one)
        assert waits(30, epochs=2) == two
