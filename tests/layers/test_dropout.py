"""Dropout, which acts in training alone."""

from __future__ import annotations

import numpy as np
import pytest

import nnx
from nnx.testing import check_backends, check_gradients


@pytest.fixture
def ones(make):
    return make(np.ones((40, 50)))


def in_training(model, x):
    """What the model answers while it is differentiated, on the host."""

    def loss(model, x):
        y = model(x)
        return nnx.namespace_of(y).sum(y), y

    (_, y), _ = nnx.value_and_grad(loss, argnums=(0, 1), has_aux=True)(model, x)
    assert nnx.namespace_of(y) is nnx.namespace_of(x)
    return nnx.to_numpy(y)


@pytest.fixture
def layer(device):
    with nnx.default_device(device):
        return nnx.Dropout(0.25, rng=nnx.Generator(3))


def test_a_model_that_predicts_drops_nothing(layer, ones):
    assert layer(ones) is ones
    assert nnx.to_numpy(layer.step) == [0]


def test_a_model_that_is_trained_does(layer, ones):
    y = in_training(layer, ones)
    assert set(np.unique(y).tolist()) == {0, np.float32(4 / 3)}
    assert abs((y > 0).mean() - 0.75) < 4.5 * (0.75 * 0.25 / 2000) ** 0.5


def test_each_step_has_a_mask_of_its_own(layer, ones):
    first, second = in_training(layer, ones), in_training(layer, ones)
    assert nnx.to_numpy(layer.step) == [2]
    assert (first != second).any()


def test_a_layer_that_is_called_twice_draws_twice(layer, make):
    y = in_training(nnx.Sequential(layer, layer), make(np.ones(4000)))
    assert set(np.unique(y)) == {0, np.float32(4 / 3) * np.float32(4 / 3)}
    assert abs((y > 0).mean() - 0.75**2) < 0.04  # one mask twice would keep 0.75
    assert nnx.to_numpy(layer.step) == [2]


def test_the_same_seed_gives_the_same_masks_on_every_backend(layer, ones):
    reference = nnx.Dropout(0.25, rng=nnx.Generator(3))
    host = np.ones((40, 50), "float32")
    for _ in range(3):
        np.testing.assert_array_equal(in_training(layer, ones), in_training(reference, host))


def test_layers_of_one_generator_differ():
    rng, x = nnx.Generator(3), np.ones((40, 50), "float32")
    assert (in_training(nnx.Dropout(0.5, rng=rng), x) != in_training(nnx.Dropout(0.5, rng=rng), x)).any()


def test_the_gradient_has_the_mask_of_the_value(layer, ones):
    gradient = nnx.grad(lambda model, x: nnx.namespace_of(x).sum(model(x)), argnums=(0, 1))(layer, ones)[1]
    again = nnx.Dropout(0.25, rng=nnx.Generator(3))
    np.testing.assert_array_equal(nnx.to_numpy(gradient), in_training(again, np.ones((40, 50), "float32")))


def test_an_exception_does_not_count_as_a_step(layer, ones):
    def fails(model, x):
        model(x)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        nnx.value_and_grad(fails)(layer, ones)
    assert nnx.to_numpy(layer.step) == [0]


def test_gradients_of_first_and_second_order(layer, device):
    x = np.random.default_rng(0).standard_normal((4, 5))
    check_gradients(lambda model, x: model(x * x), layer, x, device=device)


def test_backends_agree(layer, flags):
    x = np.random.default_rng(0).standard_normal((4, 5)).astype("float32")
    check_backends(layer, x, backends=flags, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (7,)])
def test_any_shape(layer, make, shape):
    assert in_training(layer, make(np.ones(shape))).shape == shape


def test_a_rate_of_zero_keeps_everything_and_draws_nothing(ones):
    layer = nnx.Dropout(0.0)
    assert (in_training(layer, np.ones(5, "float32")) == 1).all()
    assert layer.step == [0]


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_rates_that_make_no_sense(rate):
    with pytest.raises(nnx.ArgumentError, match=r"a dropout rate lies in \[0, 1\), got"):
        nnx.Dropout(rate)


def test_its_stream_is_state_that_is_saved_and_not_trained():
    layer = nnx.Dropout(0.5)
    assert layer.parameters() == {}
    assert set(layer.buffers()) == {"key", "step"}
    x = np.ones((40, 50), "float32")
    other = nnx.Dropout(0.5).load(layer.arrays())
    np.testing.assert_array_equal(in_training(layer, x), in_training(other, x))


def test_text():
    assert repr(nnx.Dropout(0.25)) == "Dropout(0.25)"


def test_its_stream_lies_on_its_device(device):
    model = nnx.Dropout(0.5, device=device)
    assert model.device == device
