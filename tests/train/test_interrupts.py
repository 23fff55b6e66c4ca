"""Ctrl-C: training stops between two steps, and what it leaves agrees."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

import nnx
from nnx.train.interrupts import Interrupts

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process cannot send itself SIGINT here")


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def data(n=20):
    x = np.linspace(-1, 1, n, dtype=np.float32)[:, None]
    return x, 3 * x


class Pressing:
    """A loss during which Ctrl-C is pressed, at some calls."""

    def __init__(self, *calls, times=1):
        self.calls, self.count, self.times = calls, 0, times

    def __call__(self, prediction, target):
        self.count += 1
        if self.count in self.calls:
            for _ in range(self.times):
                interrupt()
        return nnx.losses.mse(prediction, target)


def make(loss=nnx.losses.mse, flag="cpu"):
    model = nnx.Linear(1, 1, rng=nnx.Generator(0), device=flag)
    return nnx.Trainer(model, loss=loss, optimizer=nnx.optim.Adam(0.1))


def weights(trainer):
    return {name: nnx.to_numpy(array) for name, array in trainer.model.arrays().items()}


@pytest.fixture(autouse=True)
def handler():
    """Every test begins with Python's own handler, and the library puts it back."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    found = signal.signal(signal.SIGINT, previous)
    assert found is signal.default_int_handler


def test_the_step_is_finished_and_the_next_one_not_begun(flag, capsys):
    trainer = make(Pressing(7), flag)

    history = trainer.fit(data(), epochs=3, batch_size=4, shuffle=False)

    assert history.interrupted
    assert trainer.steps == 7
    assert int(nnx.to_numpy(trainer.optimizer.state["step"])) == 7
    assert len(history.epochs) == 2
    assert "epoch 2 of 3 was interrupted after 2 of 5 steps" in capsys.readouterr().err
    expected = make(flag=flag)
    expected.fit([(x, y) for x, y in nnx.data.batches(*data(), batch_size=4)], epochs=1)
    expected.fit([(x, y) for x, y in nnx.data.batches(*(a[:8] for a in data()), batch_size=4)])
    for name, array in weights(trainer).items():
        np.testing.assert_allclose(array, weights(expected)[name], rtol=1e-6)


def test_a_fit_after_that_goes_on():
    trainer = make(Pressing(2))
    trainer.fit(data(), batch_size=4)

    history = trainer.fit(data(), batch_size=4)

    assert not history.interrupted
    assert trainer.steps == 7
    assert len(history.epochs) == 2


def test_ctrl_c_while_a_batch_is_fetched():
    x, y = data()

    def source():
        yield x, y
        interrupt()
        pytest.fail("the interrupt did not stop the source")
        yield x, y

    trainer = make()
    history = trainer.fit(source())

    assert history.interrupted
    assert trainer.steps == 1
    assert len(history.loss) == 1


def test_ctrl_c_while_validating_keeps_the_epoch():
    trainer = make(Pressing(6))  # five steps of training, then validation

    history = trainer.fit(data(), validation=data(), epochs=2, batch_size=4)

    assert history.interrupted
    assert trainer.steps == 5
    assert len(history.epochs) == 1
    assert "validation_loss" not in history


def test_ctrl_c_in_the_last_step_of_all():
    trainer = make(Pressing(5))

    history = trainer.fit(data(), batch_size=4)

    assert history.interrupted
    assert trainer.steps == 5
    assert len(history.epochs) == 1


def test_ctrl_c_before_the_first_step_is_done():
    x, y = data()

    def source():
        interrupt()
        yield x, y

    history = make().fit(source())

    assert history.interrupted
    assert history.epochs == []


def test_a_second_ctrl_c_raises():
    trainer = make(Pressing(3, times=2))

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(data(), batch_size=4)

    assert trainer.steps == 2
    assert int(trainer.optimizer.state["step"]) == 2


def test_a_loss_that_raises_it_drops_the_step():
    def loss(prediction, target):
        raise KeyboardInterrupt

    trainer = make(loss)
    before = weights(trainer)

    assert trainer.fit(data()).interrupted
    assert trainer.steps == 0
    for name, array in weights(trainer).items():
        np.testing.assert_array_equal(array, before[name])


def test_the_handler_is_put_back_after_an_error():
    def loss(prediction, target):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make(loss).fit(data())

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_somebody_else_s_handler_stays():
    calls = []

    def mine(number, frame):
        calls.append(number)

    signal.signal(signal.SIGINT, mine)
    try:
        history = make(Pressing(2)).fit(data(), batch_size=4)
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    assert calls == [signal.SIGINT]
    assert not history.interrupted


def test_training_in_another_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(make().fit(data())))
    thread.start()
    thread.join()

    assert len(found[0].loss) == 1


def test_interrupts_wait_unless_open():
    with Interrupts() as interrupts:
        interrupt()
        assert interrupts.count == 1
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    with Interrupts() as interrupts:
        interrupts.open = True
        with pytest.raises(KeyboardInterrupt):
            interrupt()
