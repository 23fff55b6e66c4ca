"""The checks before a training: what each finds, and that they leave the model alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import nnx


def examples(n=128):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 8)).astype("float32")
    return x, x[:, :4].argmax(axis=1)


def network(device=None, **options):
    rng = nnx.Generator(0)
    return nnx.Sequential(
        nnx.Linear(8, 32, rng=rng, **options),
        nnx.relu,
        nnx.Dropout(0.3, rng=rng),
        nnx.Linear(32, 4, rng=rng),
        device=device,
    )


def finding(report, name):
    (found,) = [f for f in report.findings if f.name.startswith(name)]
    return found


def test_a_model_in_order_passes(flag):
    model = network(device=flag)
    before = {name: nnx.to_numpy(array) for name, array in model.arrays().items()}
    report = nnx.sanity_check(model, nnx.losses.cross_entropy, *examples())
    assert report.passed
    assert "ln 4 is 1.386" in finding(report, "initial loss").text
    assert [layer.name for layer in report.layers] == ["0", "1", "2", "3"]
    assert [p.name for p in report.parameters] == list(model.parameters())
    for name, array in model.arrays().items():
        np.testing.assert_array_equal(nnx.to_numpy(array), before[name])
    assert model.training is False


def test_the_figures_are_those_of_the_first_step():
    x, y = examples()
    model = nnx.Sequential(nnx.Linear(8, 4, rng=nnx.Generator(0)))
    report = nnx.sanity_check(model, nnx.losses.cross_entropy, x, y, optimizer=nnx.optim.SGD(0.5))
    loss, gradients = nnx.value_and_grad(lambda model: nnx.losses.cross_entropy(model(x), y))(model)
    weight, bias = report.parameters
    assert finding(report, "initial loss").text.startswith(f"{float(loss):.4g}")
    assert weight.gradient_norm == pytest.approx(np.linalg.norm(gradients["0.weight"]), rel=1e-5)
    assert weight.ratio == pytest.approx(0.5 * weight.gradient_norm / np.linalg.norm(model[0].weight), rel=1e-4)
    assert bias.gradient_norm == pytest.approx(np.linalg.norm(gradients["0.bias"]), rel=1e-5)
    (layer,) = report.layers
    assert layer.mean == pytest.approx(model(x).mean(), abs=1e-6)
    assert layer.std == pytest.approx(model(x).std(), rel=1e-5)
    assert layer.histogram.counts.sum() == model(x).size
    np.testing.assert_array_equal(layer.histogram.counts, np.histogram(model(x), bins=layer.histogram.edges)[0])


def test_large_initial_weights_are_far_from_chance():
    model = network(weight_init=partial(nnx.init.normal, std=20.0))
    assert not finding(nnx.sanity_check(model, nnx.losses.cross_entropy, *examples(), steps=1), "initial loss").passed


def test_dead_units_are_counted():
    bias = np.where(np.arange(32) < 24, -100.0, 0.0).astype("float32")
    model = network(bias_init=lambda shape, **_: bias)
    report = nnx.sanity_check(model, nnx.losses.cross_entropy, *examples(), steps=1)
    relu = report.layers[1]
    assert (relu.units, relu.dead) == (32, pytest.approx(24 / 32, abs=0.05))
    assert not finding(report, "dead units of 1").passed


def test_a_step_that_is_too_long_is_found():
    report = nnx.sanity_check(network(), nnx.losses.cross_entropy, *examples(), optimizer=nnx.optim.SGD(100.0), steps=1)
    assert "lower the learning rate" in finding(report, "update / weight of 0.weight").text


def test_what_cannot_be_learnt_by_heart_is_found():
    x, y = examples()
    report = nnx.sanity_check(nnx.Sequential(nnx.Linear(8, 4)), nnx.losses.cross_entropy, x * 0, y, steps=30)
    assert not finding(report, "learns 20 examples").passed
    assert not finding(report, "gradient of 0.weight").passed
    assert "NO" in str(report)


def test_a_penalty_that_adds_nothing_is_found():
    report = nnx.sanity_check(
        network(), nnx.losses.cross_entropy, *examples(), regularizer=nnx.regularizers.l2(0.0), steps=1
    )
    assert not finding(report, "regularisation").passed


def test_a_regression_is_compared_with_the_mean():
    x, _ = examples()
    report = nnx.sanity_check(nnx.Sequential(nnx.Linear(8, 1)), nnx.losses.mse, x, x[:, :1] + 1, steps=1)
    assert f"has {x[:, 0].var():.4g}" in finding(report, "initial loss").text


def test_a_loss_that_is_not_finite():
    x, y = examples()
    x[3, 2] = np.inf
    with np.errstate(invalid="ignore"):
        report = nnx.sanity_check(network(), nnx.losses.cross_entropy, x, y, steps=1)
    assert "look for infinities" in finding(report, "initial loss").text


def test_bad_arguments():
    x, y = examples()
    with pytest.raises(nnx.ArgumentError, match="nnx.Module"):
        nnx.sanity_check(nnx.relu, nnx.losses.mse, x, y)
    with pytest.raises(nnx.ShapeError, match="as many targets as examples"):
        nnx.sanity_check(network(), nnx.losses.cross_entropy, x, y[:3])
    with pytest.raises(nnx.ShapeError, match="at least one"):
        nnx.sanity_check(network(), nnx.losses.cross_entropy, x[:0], y[:0])
    with pytest.raises(nnx.ArgumentError, match="steps"):
        nnx.sanity_check(network(), nnx.losses.cross_entropy, x, y, steps=0)


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    nnx.sanity_check(network(), nnx.losses.cross_entropy, *examples(), steps=1).plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
