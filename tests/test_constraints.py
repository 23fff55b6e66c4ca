"""Constraints on parameters: the projections, what they act on, and their place in training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nnx
from nnx.constraints import max_norm, non_negative, unit_norm

RNG = np.random.default_rng(0)


class Arrays(nnx.Module):
    """A dense weight, a convolutional one, and a bias."""

    dense: nnx.Parameter
    kernel: nnx.Parameter
    bias: nnx.Parameter

    def __init__(self, flag, dtype="float64"):
        rng = np.random.default_rng(2)
        for name, shape in {"dense": (5, 4), "kernel": (3, 2, 4, 6), "bias": (4,)}.items():
            setattr(self, name, nnx.asarray(3 * rng.standard_normal(shape), device=flag, dtype=dtype))


def norms(array, axes):
    return np.sqrt((nnx.to_numpy(array) ** 2).sum(axis=axes))


def host(model):
    return {name: nnx.to_numpy(array) for name, array in model.parameters().items()}


def test_max_norm_scales_down_what_is_too_long(flag):
    model = Arrays(flag)
    before = host(model)
    assert max_norm(5.0)(model) is None
    for name, axes in {"dense": (0,), "kernel": (0, 1, 2)}.items():
        w = before[name]
        norm = np.sqrt((w * w).sum(axis=axes, keepdims=True))
        np.testing.assert_allclose(host(model)[name], w * np.minimum(1, 5 / norm), rtol=1e-12)
        assert (norms(getattr(model, name), axes) <= 5 * (1 + 1e-12)).all()
    np.testing.assert_array_equal(host(model)["bias"], before["bias"])
    assert norms(before["dense"], 0).min() < 5 < norms(before["dense"], 0).max()  # some are scaled, some are not


def test_weights_within_the_limit_stay_bit_for_bit(flag):
    model = Arrays(flag, "float32")
    before = host(model)
    max_norm(1e6)(model)
    for name, array in host(model).items():
        np.testing.assert_array_equal(array, before[name])


@given(w=hnp.arrays("float32", (4, 3), elements=st.floats(-1e6, 1e6, width=32)), limit=st.floats(1e-3, 1e3))
def test_max_norm_holds_for_all_weights(w, limit):
    model = nnx.Linear(4, 3, weight_init=lambda shape, **options: w)
    max_norm(limit)(model)
    assert (norms(model.weight.astype("float64"), 0) <= limit * (1 + 1e-5)).all()
    once = model.weight
    max_norm(limit)(model)
    np.testing.assert_allclose(model.weight, once, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, (0, 1), -1, (-2, -1)])
def test_the_axes_of_a_unit_may_be_named(axis, flag):
    model = Arrays(flag)
    max_norm(1.0, axis, pattern="dense")(model)
    np.testing.assert_allclose(norms(model.dense, axis).max(), 1, rtol=1e-12)


def test_unit_norm(flag):
    model = Arrays(flag)
    unit_norm()(model)
    np.testing.assert_allclose(norms(model.dense, 0), 1, rtol=1e-12)
    np.testing.assert_allclose(norms(model.kernel, (0, 1, 2)), 1, rtol=1e-12)


@pytest.mark.parametrize("constraint", [max_norm(1.0), unit_norm(), non_negative()])
def test_weights_of_zero_stay_zero(constraint, device):
    model = nnx.Linear(3, 2, weight_init=nnx.init.zeros, device=device)
    constraint(model)
    assert not nnx.to_numpy(model.weight).any()


def test_non_negative(flag):
    model = Arrays(flag)
    before = host(model)
    non_negative()(model)
    np.testing.assert_array_equal(host(model)["kernel"], np.maximum(before["kernel"], 0))
    assert (host(model)["bias"] < 0).any()


def test_a_pattern_may_name_biases(flag):
    model = Arrays(flag)
    before = host(model)
    max_norm(0.5, pattern="b*")(model)  # each unit has one bias, whose norm is its absolute value
    np.testing.assert_allclose(np.abs(host(model)["bias"]), np.minimum(np.abs(before["bias"]), 0.5), rtol=1e-12)
    np.testing.assert_array_equal(host(model)["dense"], before["dense"])


@pytest.mark.parametrize("constraint", [max_norm(1.0), unit_norm(), non_negative()])
def test_dtype_and_device_are_kept(constraint, device, xp):
    model = Arrays(device, "float32")
    constraint(model)
    for array in model.parameters().values():
        assert array.dtype == xp.float32
        assert nnx.backend.device_of(array) == device


def test_frozen_parameters_stay(flag):
    model = Arrays(flag).freeze("dense")
    before = nnx.to_numpy(model.dense)
    max_norm(0.1)(model)
    np.testing.assert_array_equal(nnx.to_numpy(model.dense), before)
    with pytest.raises(nnx.ArgumentError, match="no parameter that is trained matches 'dense'"):
        max_norm(0.1, pattern="dense")(model)


@pytest.mark.parametrize("limit", [0, 0.0, -1.0, float("nan"), float("inf"), "3", None])
def test_limits_that_make_no_sense(limit):
    with pytest.raises(nnx.ArgumentError, match="limit must be a finite number greater than 0"):
        max_norm(limit)


@pytest.mark.parametrize("make", [lambda axis: max_norm(1.0, axis), unit_norm])
@pytest.mark.parametrize("axis", ["0", 1.5, (), [0], (0, "1")])
def test_axes_that_make_no_sense(make, axis):
    with pytest.raises(nnx.ArgumentError, match="axis is a whole number, a tuple of them, or None"):
        make(axis)


@pytest.mark.parametrize("axis", [2, -3, (0, 2)])
def test_axes_that_a_parameter_lacks(axis):
    with pytest.raises(nnx.ArgumentError, match=r"weight has shape \(3, 2\), and no axis"):
        max_norm(1.0, axis)(nnx.Linear(3, 2))


def test_text():
    assert repr(max_norm(3)) == "nnx.constraints.max_norm(3.0)"
    assert repr(max_norm(3, 1, "*.weight")) == "nnx.constraints.max_norm(3.0, axis=1, pattern='*.weight')"
    assert repr(unit_norm(axis=(0, 1))) == "nnx.constraints.unit_norm(axis=(0, 1))"
    assert repr(non_negative()) == "nnx.constraints.non_negative()"


# --- in training ------------------------------------------------------------------------------


def problem():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 4)).astype("float32")
    return x, 5 * x[:, :3]


def network(flag="cpu"):
    rng = nnx.Generator(0)
    return nnx.Sequential(nnx.Linear(4, 8, rng=rng), nnx.tanh, nnx.Linear(8, 3, rng=rng)).to(flag)


OPTIMIZERS = {
    "sgd": lambda: nnx.optim.SGD(0.1, momentum=0.9),
    "adam": lambda: nnx.optim.Adam(0.05),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_trainer_keeps_to_them(optimizer, flag):
    model = network(flag)
    limits = [max_norm(0.7, pattern="0.weight"), max_norm(0.5, pattern="2.weight")]
    trainer = nnx.Trainer(model, loss=nnx.losses.mse, optimizer=OPTIMIZERS[optimizer](), constraints=limits)
    history = trainer.fit(problem(), epochs=5, batch_size=16)
    assert norms(model[0].weight, 0).max() <= 0.7 * (1 + 1e-5)
    np.testing.assert_allclose(norms(model[2].weight, 0), 0.5, rtol=1e-5)
    assert history.loss[-1] < history.loss[0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_is_that_of_a_loop_by_hand(optimizer, flag):
    """Whose every array is replaced by a copy after each step, as if nothing were known of buffers."""
    model, by_hand, constraint = network(flag), network(flag), max_norm(0.6)
    nnx.Trainer(model, loss=nnx.losses.mse, optimizer=OPTIMIZERS[optimizer](), constraints=[constraint]).fit(
        problem(), epochs=2, batch_size=16, shuffle=False
    )
    step = nnx.value_and_grad(lambda model, x, y: nnx.losses.mse(model(x), y))
    hand = OPTIMIZERS[optimizer]()
    for _ in range(2):
        for x, y in nnx.data.batches(*problem(), batch_size=16, device=flag):
            hand.update(by_hand, step(by_hand, x, y)[1])
            copies = {name: nnx.to_numpy(array) for name, array in by_hand.parameters().items()}
            for name in ("0.weight", "2.weight"):
                norm = np.sqrt((copies[name] ** 2).sum(axis=0, keepdims=True))
                copies[name] = (copies[name] * (0.6 / np.maximum(norm, 0.6))).astype("float32")
            by_hand.load(copies)
    for name, array in host(model).items():
        np.testing.assert_allclose(array, host(by_hand)[name], rtol=1e-5, atol=1e-6)


def test_an_update_goes_on_from_what_a_constraint_bound():
    """The buffer of the optimiser takes over what was replaced, and nothing else."""
    model = network()
    optimizer = nnx.optim.SGD(0.5)
    zeros = {name: np.zeros_like(array) for name, array in model.parameters().items()}
    optimizer.update(model, zeros)
    views = model.parameters()
    max_norm(0.1, pattern="2.weight")(model)
    projected = model[2].weight.copy()
    optimizer.update(model, zeros | {"0.bias": np.ones(8, "float32")})
    np.testing.assert_array_equal(model[2].weight, projected)
    np.testing.assert_array_equal(model[0].bias, -0.5 * np.ones(8))
    for name, array in model.parameters().items():  # the model is bound to the same views again
        assert np.shares_memory(array, views[name])


def test_parameters_that_changed_places_are_taken_over():
    """Views of the buffer, bound the other way round: each must be read before either is written."""

    class Pair(nnx.Module):
        a: nnx.Parameter
        b: nnx.Parameter

        def __init__(self):
            self.a, self.b = nnx.init.zeros((3,)), nnx.init.ones((3,))

    model, optimizer = Pair(), nnx.optim.SGD(1.0)
    zeros = {"a": np.zeros(3, "float32"), "b": np.zeros(3, "float32")}
    optimizer.update(model, zeros)
    model.a, model.b = model.b, model.a
    optimizer.update(model, zeros)
    assert model.a.tolist() == [1, 1, 1]
    assert model.b.tolist() == [0, 0, 0]
    model.a = model.a[::-1]
    model.b = np.arange(3, dtype="float32")
    optimizer.update(model, zeros)
    assert model.b.tolist() == [0, 1, 2]


@pytest.mark.parametrize("wrong", [max_norm(1.0), 3, None])
def test_constraints_are_a_list(wrong):
    with pytest.raises(nnx.ArgumentError, match="constraints is a list of functions"):
        nnx.Trainer(network(), loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1), constraints=wrong)


@pytest.mark.parametrize("wrong", ["max_norm", 3.0, nnx.constraints.Constraint])
def test_each_constraint_is_a_function(wrong):
    with pytest.raises(nnx.ArgumentError, match=r"a constraint is a function \(model\) -> None"):
        nnx.Trainer(network(), loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1), constraints=[wrong])
