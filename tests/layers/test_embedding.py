"""The embedding layer."""

from __future__ import annotations

import numpy as np
import pytest

import nnx

IDS = np.asarray([[0, 4, 4], [2, 1, 0]])


def layer(**options):
    return nnx.Embedding(5, 3, rng=nnx.Generator(0), **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_by_their_numbers(dtype, device, xp, make):
    model = layer(dtype=dtype, device=device)
    y = model(make(IDS, "int32"))
    assert y.dtype == getattr(xp, dtype)
    assert nnx.backend.device_of(y) == device
    np.testing.assert_array_equal(nnx.to_numpy(y), nnx.to_numpy(model.weight)[IDS])


def test_training_moves_the_rows_that_were_read(device, make):
    model = layer(device=device)
    ids = make([0, 4, 4], "int64")
    _, gradients = nnx.value_and_grad(lambda m: nnx.namespace_of(m.weight).sum(m(ids)))(model)
    assert nnx.to_numpy(gradients["weight"])[:, 0].tolist() == [1, 0, 0, 0, 2]


def test_the_weight_is_normal_unless_told_otherwise():
    assert abs(nnx.Embedding(100, 100, rng=nnx.Generator(0)).weight.std() - 1) < 0.05
    assert not layer(weight_init=nnx.init.zeros).weight.any()


def test_bad_input():
    with pytest.raises(nnx.LabelError, match="ids from 0 to 4 were expected, .* got ids from 0 to 5"):
        layer()(np.asarray([0, 5]))
    with pytest.raises(nnx.DTypeError, match="ids of an integer dtype, got float32"):
        layer()(np.zeros(3, "float32"))
    with pytest.raises(nnx.DTypeError, match=r"Embedding\(5, 3\) expected an array, got list"):
        layer()([0, 1])
    with pytest.raises(nnx.ArgumentError, match="num must be a whole number of at least 1, got 0"):
        nnx.Embedding(0, 3)
    with pytest.raises(nnx.ArgumentError, match="features must be .*, got -1"):
        nnx.Embedding(5, -1)


def test_text_and_summary():
    assert repr(layer()) == "Embedding(5, 3)"
    assert layer().operations((2, 3), (2, 3, 3)) == 0
    assert nnx.summary(layer(), (2, 3), dtype="int32").rows[0].output == (2, 3, 3)
