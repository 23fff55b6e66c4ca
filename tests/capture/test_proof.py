"""The third call of a step shows whether its replay does what the step does."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest

import nnx

X = np.arange(1, 7, dtype="float32").reshape(2, 3)


def assert_gives_up(captured, plain, *args, match="does not compute what the step does", calls=5):
    """One warning at the third call; all answers are those of ``plain``."""
    found = [captured(*args) for _ in range(2)]
    with pytest.warns(UserWarning, match=match) as caught:
        found.append(captured(*args))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    found += [captured(*args) for _ in range(calls - 3)]
    for y in found:
        np.testing.assert_array_equal(nnx.to_numpy(y), nnx.to_numpy(plain(*args)))
    assert captured.replays == 0


def test_random_numbers_of_the_library_beneath():
    def step(rng):
        return lambda x: x + float(rng.normal())

    assert_gives_up(nnx.capture(step(np.random.default_rng(0))), step(np.random.default_rng(0)), X)


def test_random_numbers_of_python():
    def step(rng):
        return lambda x: x * nnx.asarray([rng.random(), 1.0, 2.0])

    assert_gives_up(nnx.capture(step(random.Random(0))), step(random.Random(0)), X)


def test_iterators():
    def step(numbers):
        return lambda x: x * next(numbers)

    assert_gives_up(nnx.capture(step(iter(range(9)))), step(iter(range(9))), X)


def test_on_devices_that_capture(device, make):
    if device.backend.capture is None:
        pytest.skip("steps of this backend are not captured")

    def step(rng):
        return lambda x: x * (2 + rng.random())

    assert_gives_up(nnx.capture(step(random.Random(0))), step(random.Random(0)), make(X))


def test_a_change_of_the_model_alone():
    """A step that answers nothing is compared by what it does to models and optimisers."""
    grad = nnx.grad(lambda model, x: nnx.losses.mse(model(x), x[:, :2]))

    def step(model, optimizer, rng):
        def one(x):
            optimizer.update(model, grad(model, x * (1 + 0.1 * rng.random())))

        return one

    model = nnx.Linear(3, 2, rng=nnx.Generator(0))
    twin = copy.deepcopy(model)
    captured = nnx.capture(step(model, nnx.optim.SGD(1e-6), random.Random(0)))
    plain = step(twin, nnx.optim.SGD(1e-6), random.Random(0))
    for i in range(5):
        if i == 2:
            with pytest.warns(UserWarning, match="does not compute"):
                captured(X)
        else:
            captured(X)
        plain(X)
        np.testing.assert_array_equal(model.weight, twin.weight)


def test_a_scratch_buffer_that_is_filled_within_the_step():
    buffer = np.zeros((), "float32")

    def step(x):
        y = x * 0
        for i in range(3):
            buffer[...] = i
            y = y + x * buffer
        return y

    assert_gives_up(nnx.capture(step), step, X)


def test_arguments_that_a_step_changes():
    """The replay that is compared leaves them as they were."""

    def step(x, y):
        x += y
        return x * 2

    captured = nnx.capture(step)
    x, twin = X.copy(), X.copy()
    for _ in range(5):
        np.testing.assert_array_equal(captured(x, X), step(twin, X))
        np.testing.assert_array_equal(x, twin)
    assert captured.replays == 2


def test_what_raises_is_compared_later(pair):
    pair.steps(2)
    x, y = pair.batch()
    wrong = y.copy()
    wrong[0] = 7
    for _ in range(3):
        with pytest.raises(nnx.LabelError):
            pair.captured(pair.model, pair.optimizer, x, wrong)
        pair.agree()
    assert pair.steps(1) == 0
    assert pair.steps(2) == 2


def test_an_interrupt_meanwhile(pair, monkeypatch):
    pair.steps(2)
    (program,) = pair.captured._unproved

    def interrupted(args, options):
        program.run(args, options)
        raise KeyboardInterrupt

    pair.captured._unproved[:] = [program._replace(run=interrupted)]
    with pytest.raises(KeyboardInterrupt):
        pair.captured(pair.model, pair.optimizer, *pair.batch())
    pair.agree()


def test_gradients_that_are_zero_but_for_rounding(device, make):
    """Adam makes full steps of them, of which a compiler may change the sign: that is no other result."""
    layers = nnx.Linear(6, 8, rng=nnx.Generator(0)), nnx.BatchNorm(8), nnx.relu, nnx.Linear(8, 3, rng=nnx.Generator(1))
    model, optimizer = nnx.Sequential(*layers, device=device), nnx.optim.Adam(1e-1)
    value_and_grad = nnx.value_and_grad(lambda model, x, y: nnx.losses.cross_entropy(model(x), y))

    @nnx.capture
    def step(x, y):
        loss, grads = value_and_grad(model, x, y)
        optimizer.update(model, grads)
        return loss

    rng = np.random.default_rng(0)
    x, y = make(rng.standard_normal((20, 6)).astype("float32")), make(rng.integers(0, 3, 20).astype("int32"), "int32")
    for _ in range(5):
        step(x, y)
    assert step.replays == (0 if device.backend.capture is None else 2)
