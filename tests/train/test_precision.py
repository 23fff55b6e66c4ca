"""A trainer in low precision: what it learns, its loss scale, and what its guard makes of overflow."""

from __future__ import annotations

import numpy as np
import pytest

import nnx

PRECISIONS = ("tf32", "bfloat16", "float16")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((192, 10)).astype("float32")
    return x, np.argmax(x @ rng.standard_normal((10, 3)), axis=1)


def trainer(device, **options):
    nnx.seed(1)
    layers = nnx.Linear(10, 24), nnx.BatchNorm(24), nnx.relu, nnx.Linear(24, 3)
    optimizer = options.pop("optimizer", None) or nnx.optim.Adam(1e-2, clip_norm=10.0)
    loss = options.pop("loss", nnx.losses.cross_entropy)
    return nnx.Trainer(nnx.Sequential(*layers, device=device), loss=loss, optimizer=optimizer, **options)


def scale_of(it):
    return nnx.to_numpy(it.optimizer.loss_scale.scale).item()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("captured", [False, True])
def test_it_learns_as_in_float32(device, data, precision, captured):
    if device.backend.precision(precision) is None:
        pytest.skip(f"{device.backend.name} has no {precision}")
    options = {"capture": captured, "metrics": [nnx.metrics.accuracy]}
    low, wide = (trainer(device, precision=p, **options) for p in (precision, None))
    for each in (low, wide):
        each.fit(data, epochs=6, rng=nnx.Generator(5), progress=False)
    np.testing.assert_allclose(low.history.loss, wide.history.loss, rtol=0.03, atol=0.01)
    assert low.evaluate(data)["accuracy"] > 0.9
    assert all(array.dtype == device.namespace.float32 for array in low.model.parameters().values())
    assert (low.optimizer.loss_scale is None) == (precision != "float16")


def test_a_scale_that_is_too_large_is_found_out(device, data):
    if device.backend.precision("float16") is None:
        pytest.skip("no float16")
    scale = nnx.optim.LossScale(2.0**40)
    it = trainer(device, precision="float16", optimizer=nnx.optim.Adam(1e-2, loss_scale=scale))
    it.fit(data, epochs=8, progress=False)
    assert it.steps == 48
    assert scale_of(it) < 2.0**30
    assert nnx.to_numpy(it.optimizer.state["step"]).item() < 40  # those that were skipped are not counted
    assert it.history.loss[-1] < it.history.loss[0] / 2


@pytest.mark.parametrize("captured", [False, True])
def test_a_loss_that_is_infinite_once_is_passed_over(device, data, captured):
    """An overflow on the way forward: nothing but the scale changes by it."""
    if device.backend.precision("float16") is None:
        pytest.skip("no float16")
    x, y = data
    batches = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 192, 32)]
    batches[2] = (x[:32] * np.float32(1e30), y[:32])
    it = trainer(device, precision="float16", capture=captured)
    it.fit(batches, epochs=2, progress=False)
    assert it.steps == 12
    assert scale_of(it) == 2.0**13  # two such steps
    assert nnx.to_numpy(it.optimizer.state["step"]).item() == 10
    for array in it.model.arrays().values():
        assert np.isfinite(nnx.to_numpy(array)).all()


@pytest.mark.parametrize("captured", [False, True])
def test_a_loss_that_stays_infinite_raises(device, data, captured):
    if device.backend.precision("float16") is None:
        pytest.skip("no float16")
    x, y = data
    it = trainer(device, precision="float16", capture=captured)
    before = {name: nnx.to_numpy(array) for name, array in it.model.parameters().items()}
    with pytest.raises(nnx.NonFiniteLossError, match="the loss became nan at step"):
        it.fit((x * np.float32("inf"), y), epochs=100, progress=False)
    assert it.steps <= 100
    for name, array in it.model.parameters().items():
        np.testing.assert_array_equal(nnx.to_numpy(array), before[name])


def test_a_backend_without_it_says_so(device, data):
    for precision in PRECISIONS:
        if device.backend.precision(precision) is None:
            with pytest.raises(nnx.ArgumentError, match=f"does not compute in precision='{precision}'"):
                trainer(device, precision=precision).fit(data, progress=False)


def test_float16_needs_an_optimizer_that_can_scale():
    class Own:
        def update(self, model, grads):
            pass

    with pytest.raises(nnx.ArgumentError, match="needs an optimiser with a loss scale"):
        trainer("cpu", precision="float16", optimizer=Own())
    given = nnx.optim.LossScale()
    it = trainer("cpu", precision="float16", optimizer=nnx.optim.SGD(0.1, loss_scale=given))
    assert it.optimizer.loss_scale is given
