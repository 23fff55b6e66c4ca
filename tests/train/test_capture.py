"""A Trainer whose steps are captured does what one does whose are not."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import nnx
from nnx.train import run

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((50, 6)).astype("float32"), RNG.integers(0, 3, 50)


def network():
    return nnx.Sequential(nnx.Linear(6, 8), nnx.BatchNorm(8), nnx.relu, nnx.Dropout(0.1), nnx.Linear(8, 3))


def trainers(loss=nnx.losses.cross_entropy, rate=1e-2, **options):
    model = network()
    return [
        nnx.Trainer(copy.deepcopy(model), loss=loss, optimizer=nnx.optim.Adam(rate), capture=capture, **options)
        for capture in (False, True)
    ]


def assert_agree(plain, captured):
    for name, array in plain.model.arrays().items():
        np.testing.assert_array_equal(captured.model.arrays()[name], array)
    assert plain.steps == captured.steps
    assert len(plain.history) == len(captured.history)
    if plain.history:
        assert plain.history.loss == captured.history.loss


@pytest.fixture
def made(monkeypatch):
    """The steps that trainers capture."""
    found = []
    monkeypatch.setattr(
        run, "capture", lambda *args, **options: found.append(nnx.capture(*args, **options)) or found[-1]
    )
    return found


def test_history_and_model_are_the_same(made):
    metrics, constraints = [nnx.metrics.accuracy], [nnx.constraints.max_norm(1.0)]
    plain, captured = trainers(metrics=metrics, constraints=constraints, regularizer=nnx.regularizers.l2(1e-3))
    for trainer in (plain, captured):
        for _ in range(2):
            trainer.fit((X, Y), validation=(X, Y), epochs=3, batch_size=16, rng=nnx.Generator(0))
    assert_agree(plain, captured)
    assert plain.history.accuracy == captured.history.accuracy
    assert plain.history.validation_loss == captured.history.validation_loss
    assert all(step.replays > 0 for step in made)
    assert len(made) == 4  # two in each call of fit


def test_nan_leaves_the_model_as_it_was():
    x = X.copy()
    x[48, 2] = np.nan
    plain, captured = trainers()
    for trainer in (plain, captured):
        with pytest.raises(nnx.NonFiniteLossError, match="the batch holds NaN"):
            trainer.fit((x, Y), epochs=2, batch_size=10, shuffle=False)
    assert_agree(plain, captured)
    assert np.isfinite(captured.model.layers[1].running_mean).all()


def test_a_loss_that_reads_on_the_host_runs_plainly():
    def loss(prediction, target):
        value = nnx.losses.cross_entropy(prediction, target)
        assert float(nnx.stop_gradient(value)) > 0
        return value

    plain, captured = trainers(loss=loss)
    for trainer in (plain, captured):
        trainer.fit((X, Y), epochs=3, batch_size=16, rng=nnx.Generator(0))
    assert_agree(plain, captured)


def test_on_every_backend(flag):
    model = network().to(flag)
    trainer = nnx.Trainer(model, loss=nnx.losses.cross_entropy, optimizer=nnx.optim.SGD(0.1), capture=True)
    history = trainer.fit((X, Y), epochs=3, batch_size=25)
    assert history.loss[-1] < history.loss[0]
