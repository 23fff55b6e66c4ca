"""A loss that is no longer a number: the step is named, and the model stays usable."""

from __future__ import annotations

import math

import numpy as np
import pytest

import nnx
from nnx.backend import readable
from nnx.train import guard as room
from nnx.train.guard import PERIOD

N = 4 * PERIOD


class Counting(nnx.Module):
    """A line with a buffer that counts the steps of training, and sees what they saw."""

    weight: nnx.Parameter
    count: nnx.Buffer
    seen: nnx.Buffer

    def __init__(self, flag):
        self.weight = nnx.asarray([[0.5]], device=flag)
        self.count = nnx.asarray(np.zeros((), np.int32), device=flag)
        self.seen = nnx.asarray(np.zeros((), np.float32), device=flag)

    def __call__(self, x):
        if self.training:
            xp = nnx.namespace_of(x)
            self.count = self.count + 1
            self.seen = self.seen + xp.sum(x)
        return nnx.namespace_of(x, self.weight).matmul(x, self.weight)


def data(bad=None, value=math.nan):
    """One example a step; that of step ``bad`` is no number."""
    x = np.linspace(0.5, 1.0, N, dtype=np.float32)[:, None]
    y = 2 * x
    x[bad if bad is not None else slice(0)] = value
    return x, y


def make(flag):
    return nnx.Trainer(Counting(flag), loss=nnx.losses.mse, optimizer=nnx.optim.Adam(0.01))


def everything(trainer):
    """All arrays of the model and of the optimiser, on the host."""
    arrays = trainer.model.arrays() | {f"optimizer.{name}": a for name, a in trainer.optimizer.state.items()}
    return {name: nnx.to_numpy(array) for name, array in arrays.items()}


def after(flag, steps):
    """What a trainer holds after so many good steps."""
    x, y = data()
    trainer = make(flag)
    if steps:
        trainer.fit((x[:steps], y[:steps]), batch_size=1, shuffle=False)
    return everything(trainer)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-6, err_msg=name)


@pytest.fixture
def unreadable(monkeypatch):
    """Losses can be read by waiting for the device only, as on a GPU."""
    monkeypatch.setattr(room, "readable", lambda array: False)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("bad", [0, 1, 60])
def test_where_losses_can_be_read_the_model_is_as_before_the_step(flag, bad, value):
    trainer = make(flag)
    if not readable(trainer.model.weight):
        pytest.skip("this device is waited for")

    with pytest.raises(
        nnx.NonFiniteLossError, match=rf"at step {bad}: the batch holds NaN or infinity\. .*clip_norm"
    ) as e:
        trainer.fit(data(bad, value), batch_size=1, shuffle=False)

    assert e.value.step == bad
    assert trainer.steps == bad
    assert_same(everything(trainer), after(flag, bad))


@pytest.mark.parametrize("bad", [0, 1, PERIOD - 1, PERIOD, PERIOD + 10, N - 1])
def test_elsewhere_the_model_is_as_at_the_last_check(flag, bad, unreadable):
    trainer, last_check = make(flag), bad // PERIOD * PERIOD

    with pytest.raises(
        nnx.NonFiniteLossError, match=f"became nan at step {bad}. .* before step {last_check},"
    ) as caught:
        trainer.fit(data(bad), batch_size=1, shuffle=False)

    assert caught.value.step == bad
    assert trainer.steps == last_check
    assert_same(everything(trainer), after(flag, last_check))


def test_training_goes_on_from_there(flag, unreadable):
    x, y = data()
    trainer = make(flag)
    with pytest.raises(nnx.NonFiniteLossError):
        trainer.fit(data(PERIOD + 7), batch_size=1, shuffle=False)

    trainer.fit((x[PERIOD:], y[PERIOD:]), batch_size=1, shuffle=False)

    assert trainer.steps == N
    assert_same(everything(trainer), after(flag, N))


def test_losses_that_are_not_read_train_alike(flag, monkeypatch):
    expected = after(flag, N)
    monkeypatch.setattr(room, "readable", lambda array: False)

    assert_same(after(flag, N), expected)


def test_losses_are_read_once_a_period(monkeypatch, unreadable):
    reads = []
    to_numpy = room.to_numpy
    monkeypatch.setattr(room, "to_numpy", lambda array: reads.append(array.shape) or to_numpy(array))

    make("cpu").fit(data(), batch_size=1, shuffle=False)

    assert [shape for shape in reads if shape == (PERIOD,)] == [(PERIOD,)] * 4


class Root(nnx.Module):
    """sqrt has an infinite derivative at 0: the loss is finite there, and the gradient is not."""

    weight: nnx.Parameter

    def __init__(self, flag):
        self.weight = nnx.asarray([1.0], device=flag)

    def __call__(self, x):
        xp = nnx.namespace_of(x, self.weight)
        return xp.sqrt(self.weight * x)


@pytest.mark.parametrize("steps", [5, 20])
def test_an_infinite_gradient_behind_a_finite_loss(flag, steps):
    """Whether the fit ends right after that step, or the loss of the next one is NaN."""
    x = np.ones((steps, 1), np.float32)
    x[4] = 0
    trainer = nnx.Trainer(Root(flag), loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.01))
    at_once = readable(trainer.model.weight)
    found = "infinite" if at_once or steps == 5 else "became nan at step 5. .* as before step 0"

    with np.errstate(all="ignore"), pytest.raises(nnx.NonFiniteLossError, match=found) as caught:
        trainer.fit((x, x + 1), batch_size=1, shuffle=False)

    assert caught.value.step == 5
    assert trainer.steps == 0
    assert nnx.to_numpy(trainer.model.weight) == [1.0]


def test_parameters_that_were_broken_before_are_named():
    trainer = make("cpu")
    trainer.model.weight = np.array([[math.nan]], np.float32)

    with pytest.raises(nnx.NonFiniteLossError, match="before training, there was NaN or infinity in weight"):
        trainer.fit(data(), batch_size=1)


def test_a_buffer_may_be_infinite_from_the_start(flag):
    class Masked(nnx.Module):
        weight: nnx.Parameter
        mask: nnx.Buffer

        def __init__(self):
            self.weight = nnx.asarray([[0.1, 0.2]], device=flag)
            self.mask = nnx.asarray([0.0, -math.inf], device=flag)

        def __call__(self, x):
            return nnx.softmax(self.weight * x + self.mask)

    x = np.ones((8, 1), np.float32)
    trainer = nnx.Trainer(Masked(), loss=lambda p, t: nnx.losses.mse(p, p * 0), optimizer=nnx.optim.SGD(0.1))

    assert math.isfinite(trainer.fit((x, x), batch_size=2).loss[0])
