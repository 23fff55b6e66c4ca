"""Layers one after another."""

from __future__ import annotations

import numpy as np
import pytest

import nnx
from nnx.backend import device_of
from nnx.testing import check_backends, check_gradients

X = np.random.default_rng(0).standard_normal((4, 5))


def network(dtype="float32", **options):
    rng = nnx.Generator(0)
    return nnx.Sequential(
        nnx.Linear(5, 6, rng=rng, dtype=dtype),
        nnx.gelu,
        nnx.Dropout(0.3, rng=rng),
        nnx.Linear(6, 3, rng=rng, dtype=dtype),
        **options,
    )


def test_it_composes():
    first, second = nnx.Linear(5, 6), nnx.Linear(6, 3)
    x = X.astype("float32")
    np.testing.assert_array_equal(nnx.Sequential(first, nnx.tanh, second)(x), second(nnx.tanh(first(x))))
    assert nnx.Sequential()(x) is x


def test_gradients_of_first_and_second_order(device):
    check_gradients(network("float64"), X, device=device)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backends_agree(dtype, flags):
    check_backends(network(dtype), X.astype(dtype), backends=flags)


def test_a_loss_and_labels_on_all_backends(flags):
    labels = np.asarray([0, 2, 1, 1])
    check_backends(
        lambda model, x, y: nnx.losses.cross_entropy(model(x), y),
        network(),
        X.astype("float32"),
        labels,
        backends=flags,
    )


def test_names_are_places():
    assert list(network().parameters()) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert list(network().buffers()) == ["2.key", "2.step"]
    nested = nnx.Sequential(nnx.relu, nnx.Sequential(nnx.Linear(2, 2)))
    assert list(nested.parameters()) == ["1.0.weight", "1.0.bias"]


def test_it_is_moved_to_its_device(device, make):
    model = network(device=device)
    assert all(device_of(array) == device for array in model.arrays().values())
    assert device_of(model(make(X))) == device


def test_it_is_a_sequence():
    layers = nnx.Linear(2, 2), nnx.relu
    model = nnx.Sequential(*layers)
    assert len(model) == 2
    assert model[0] is layers[0]
    assert model[-1] is nnx.relu
    assert tuple(model) == layers


@pytest.mark.parametrize("layer", [nnx.Dropout, 3, "relu", None])
def test_what_is_no_layer(layer):
    with pytest.raises(nnx.ArgumentError, match="layer 1 of a Sequential must be a module or a function"):
        nnx.Sequential(nnx.relu, layer)


def test_the_remedy_for_a_class():
    with pytest.raises(nnx.ArgumentError, match="make an instance of the class"):
        nnx.Sequential(nnx.Dropout)


def test_text():
    assert repr(network()) == ("Sequential(\n  0: Linear(5, 6),\n  1: gelu,\n  2: Dropout(0.3),\n  3: Linear(6, 3),\n)")


def test_a_slice_is_a_sequence():
    model = network()
    part = model[1:]
    assert isinstance(part, nnx.Sequential)
    assert part.layers == model.layers[1:]
