"""Penalties on parameters: values, gradients, what they act on, and their place in training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nnx
from nnx.regularizers import elastic, l1, l2

REGULARIZERS = {"l1": l1(0.3), "l2": l2(0.3), "elastic": elastic(0.2, 0.7)}
ALL = pytest.mark.parametrize("name", REGULARIZERS)


def network(device="cpu", **options):
    rng = nnx.Generator(0)
    layers = nnx.Linear(4, 3, rng=rng, bias_init=nnx.init.uniform, **options), nnx.BatchNorm(3, **options)
    return nnx.Sequential(*layers, nnx.relu, nnx.Linear(3, 2, rng=rng, bias_init=nnx.init.uniform, **options)).to(
        device
    )


def by_formula(name, weights):
    norm1, norm2 = sum(np.abs(w).sum() for w in weights), sum((w * w).sum() for w in weights)
    return {"l1": 0.3 * norm1, "l2": 0.5 * 0.3 * norm2, "elastic": 0.2 * norm1 + 0.5 * 0.7 * norm2}[name]


@ALL
def test_values_and_gradients_are_those_of_the_formula(name, device):
    model = network(device, dtype="float64")
    value, gradients = nnx.value_and_grad(REGULARIZERS[name])(model)
    weights = {n: nnx.to_numpy(a) for n, a in model.parameters().items()}
    chosen = [weights["0.weight"], weights["3.weight"]]
    np.testing.assert_allclose(nnx.to_numpy(value), by_formula(name, chosen), rtol=1e-12)
    slopes = {"l1": lambda w: 0.3 * np.sign(w), "l2": lambda w: 0.3 * w}
    slopes["elastic"] = lambda w: 0.2 * np.sign(w) + 0.7 * w
    for n, w in weights.items():
        expected = slopes[name](w) if n in ("0.weight", "3.weight") else np.zeros_like(w)
        np.testing.assert_allclose(nnx.to_numpy(gradients[n]), expected, rtol=1e-12)


@ALL
def test_gradients_of_first_and_second_order(name, device):
    nnx.testing.check_gradients(lambda model: REGULARIZERS[name](model), network(dtype="float64"), device=device)


@ALL
def test_float32_stays_float32_and_on_its_device(name, device, xp):
    value = REGULARIZERS[name](network(device))
    assert value.shape == ()
    assert value.dtype == xp.float32
    assert nnx.backend.device_of(value) == device


@given(
    w=hnp.arrays("float64", (3, 2), elements=st.floats(-10, 10)),
    a=st.floats(0, 10),
    b=st.floats(0, 10),
)
def test_elastic_is_the_sum_of_both(w, a, b):
    model = nnx.Linear(3, 2, dtype="float64", weight_init=lambda shape, **options: w)
    np.testing.assert_allclose(elastic(a, b)(model), l1(a)(model) + l2(b)(model), rtol=1e-12)


def test_the_derivative_of_l1_at_zero_is_zero():
    gradients = nnx.grad(l1(1.0))(nnx.Linear(2, 2, weight_init=nnx.init.zeros))
    assert not gradients["weight"].any()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (None, {"0.weight", "3.weight"}),
        ("0.*", {"0.weight", "0.bias"}),
        ("*.bias", {"0.bias", "1.bias", "3.bias"}),
        (["0.weight", "1.weight"], {"0.weight", "1.weight"}),
        (("?.weight",), {"0.weight", "1.weight", "3.weight"}),
        ("*", {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"}),
    ],
)
def test_patterns_choose_what_it_acts_on(pattern, expected):
    gradients = nnx.grad(l1(1.0, pattern))(network().load({"1.bias": np.ones(3, "float32")}, partial=True))
    assert {name for name, g in gradients.items() if g.any()} == expected


def test_weights_of_two_dtypes():
    model = nnx.Sequential(nnx.Linear(2, 3), nnx.Linear(3, 2, dtype="float64"))
    value, gradients = nnx.value_and_grad(l2(1.0))(model)
    expected = sum((w.astype("float64") ** 2).sum() for n, w in model.parameters().items() if "weight" in n) / 2
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert gradients["0.weight"].dtype == np.float32


def test_frozen_parameters_are_left_out():
    model = network().freeze("0.*")
    np.testing.assert_allclose(l1(1.0)(model), np.abs(model[3].weight).sum(), rtol=1e-6)
    with pytest.raises(nnx.ArgumentError, match=r"no parameter that is trained matches '0\.\*'"):
        l1(1.0, "0.*")(model)


def test_nothing_to_act_on():
    with pytest.raises(nnx.ArgumentError, match=r"matches 'weigth'; there are 0\.weight, 0\.bias"):
        l2(1.0, ["0.weight", "weigth"])(network())
    with pytest.raises(nnx.ArgumentError, match=r"has two axes or more; name .* with pattern=, from weight, bias"):
        l2(1.0)(nnx.BatchNorm(3))
    with pytest.raises(nnx.ArgumentError, match=r"two axes or more; .* from none"):
        l2(1.0)(nnx.Linear(2, 2).freeze())


@pytest.mark.parametrize("make", [l1, l2, lambda s: elastic(s, 0.1), lambda s: elastic(0.1, s)])
@pytest.mark.parametrize("strength", [-1e-4, float("nan"), float("inf"), "0.1", None, True])
def test_strengths_that_make_no_sense(make, strength):
    with pytest.raises(nnx.ArgumentError, match="must be a finite number of at least 0"):
        make(strength)


@pytest.mark.parametrize("pattern", [3, [], ["a", 3], b"a"])
def test_patterns_that_are_none(pattern):
    with pytest.raises(nnx.ArgumentError, match="a pattern is a name such as"):
        l2(0.1, pattern)


def test_text():
    assert repr(l2(1e-4)) == "nnx.regularizers.l2(0.0001)"
    assert repr(l1(2, "*.weight")) == "nnx.regularizers.l1(2, pattern='*.weight')"
    assert repr(elastic(0.1, 0.2)) == "nnx.regularizers.elastic(0.1, 0.2)"


# --- in training ------------------------------------------------------------------------------


def problem(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((64, 4)).astype("float32")
    return x, (x[:, :2] + 0.3 * rng.standard_normal((64, 2))).astype("float32")


def fit(model, regularizer, epochs=3, **options):
    trainer = nnx.Trainer(model, loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1), regularizer=regularizer, **options)
    return trainer, trainer.fit(problem(), epochs=epochs, batch_size=16, shuffle=False)


def linear(flag="cpu"):
    return nnx.Linear(4, 2, rng=nnx.Generator(0), device=flag)


def test_a_trainer_adds_it_to_the_loss(flag):
    """L2 and plain SGD are weight decay, but for the bias."""
    model, by_hand = linear(flag), linear(flag)
    fit(model, l2(0.5))
    step = nnx.value_and_grad(lambda model, x, y: nnx.losses.mse(model(x), y) + l2(0.5)(model))
    optimizer = nnx.optim.SGD(0.1)
    for _ in range(3):
        for x, y in nnx.data.batches(*problem(), batch_size=16, device=flag):
            optimizer.update(by_hand, step(by_hand, x, y)[1])
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(nnx.to_numpy(array), nnx.to_numpy(by_hand.parameters()[name]))
    decayed = linear(flag)
    nnx.Trainer(decayed, loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1, weight_decay=0.5)).fit(
        problem(), epochs=1, batch_size=64
    )
    fit_once = linear(flag)
    nnx.Trainer(fit_once, loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1), regularizer=l2(0.5)).fit(
        problem(), epochs=1, batch_size=64
    )
    np.testing.assert_allclose(nnx.to_numpy(decayed.weight), nnx.to_numpy(fit_once.weight), rtol=1e-5, atol=1e-7)


def test_reported_losses_are_without_it(flag):
    """In the first step of a constant model: that of the data alone, as evaluate answers it."""
    model = linear(flag)
    before = nnx.Trainer(model, loss=nnx.losses.mse, optimizer=nnx.optim.SGD(1e-9)).evaluate(problem())["loss"]
    trainer = nnx.Trainer(model, loss=nnx.losses.mse, optimizer=nnx.optim.SGD(1e-9), regularizer=l2(100.0))
    history = trainer.fit(problem(), validation=problem(), epochs=1, batch_size=64)
    assert history.loss == pytest.approx([before], rel=1e-5)
    assert history.validation_loss == pytest.approx([before], rel=1e-5)


def test_it_may_be_any_function_of_a_model(flag):
    _, history = fit(linear(flag), lambda model: l1(0.01)(model) + l2(0.02)(model))
    assert history.loss[-1] < history.loss[0]


def test_it_makes_weights_smaller():
    sizes = []
    for strength in (0.0, 0.1, 1.0):
        model = linear()
        fit(model, l2(strength), epochs=30)
        sizes.append(np.abs(model.weight).sum())
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[2] < 0.6 * sizes[0]


def test_a_penalty_that_is_not_finite_ends_the_fit():
    model = linear()
    before = model.weight.copy()
    with pytest.raises(nnx.NonFiniteLossError):
        fit(model, lambda model: l2(1.0)(model) * float("nan"))
    np.testing.assert_array_equal(model.weight, before)


@pytest.mark.parametrize("wrong", ["l2", 0.1, nnx.regularizers.Regularizer])
def test_what_a_trainer_takes(wrong):
    with pytest.raises(nnx.ArgumentError, match=r"a regulariser is a function \(model\) -> scalar"):
        nnx.Trainer(linear(), loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1), regularizer=wrong)
