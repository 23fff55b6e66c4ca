"""Differentiating models: what is tracked, what is written back, and what is left alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from nnx.tape.observe import observe


class Running(nnx.Module):
    """Scales, and keeps a running sum of what came in; notes the mode in which it was called."""

    scale: nnx.Parameter
    total: nnx.Buffer
    count: nnx.Buffer | None

    def __init__(self, device=None):
        self.scale = nnx.init.ones((3,), device=device)
        self.total = nnx.init.zeros((3,), device=device)
        self.count = None
        self.modes = []

    def __call__(self, x):
        self.modes.append(self.training)
        y = self.scale * x
        if self.training:
            self.total = y + self.total  # in this order for array-api-strict, which does not defer to strangers
            self.count = nnx.stop_gradient(y)[0]
        return y


def total(x):
    return nnx.namespace_of(x).sum(x)


def loss(model, x):
    y = model(x)
    return total(y * y)


ONES = np.ones(3, dtype=np.float32)


def net(**options):
    return nnx.Sequential(nnx.Linear(3, 4, **options), nnx.tanh, nnx.Linear(4, 1, **options))


# --- gradients --------------------------------------------------------------------------------


def test_gradients_by_name_against_finite_differences(device, make):
    model = net(dtype="float64", device=device)
    x = make([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]], "float64")
    value, grads = nnx.value_and_grad(loss)(model, x)
    assert list(grads) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert_allclose(nnx.to_numpy(value), nnx.to_numpy(loss(model, x)))
    for name, array in model.parameters().items():
        g = grads[name]
        assert (type(g), g.shape, g.dtype, nnx.backend.device_of(g)) == (type(array), array.shape, array.dtype, device)
        direction = np.random.default_rng(0).normal(size=array.shape)
        values = []
        for step in (1e-6, -1e-6):
            model._rebind({name: array + nnx.asarray(direction * step, device=device)})
            values.append(float(nnx.to_numpy(loss(model, x))))
        model._rebind({name: array})
        assert_allclose(np.sum(nnx.to_numpy(g) * direction), (values[0] - values[1]) / 2e-6, rtol=1e-6)


def test_models_in_containers_and_beside_arrays():
    a, b = net(), net()
    x = ONES[None, :]

    def f(models, scale, other):
        return total(models["a"](x)) * scale + total(models["more"][0](x)) + total(other(x))

    c = net()
    grads, by_scale, by_other = nnx.grad(f, (0, 1, 2))({"a": a, "more": [b]}, np.float32(2), c)
    assert list(grads["a"]) == list(grads["more"][0]) == list(by_other) == list(a.parameters())
    assert_allclose(grads["a"]["2.bias"], [2.0])
    assert_allclose(grads["more"][0]["2.bias"], [1.0])
    assert_allclose(by_scale, total(a(x)), rtol=1e-6)


def test_a_model_that_is_not_differentiated_predicts():
    model = Running()
    g = nnx.grad(lambda x: loss(model, x))(ONES)
    assert_array_equal(g, 2 * ONES)
    assert model.modes == [False]
    assert_array_equal(model.total, 0 * ONES)


def test_unused_parameters_have_gradient_zero():
    model = net()
    grads = nnx.grad(lambda model: total(model[0](ONES)))(model)
    assert_array_equal(grads["2.weight"], np.zeros((4, 1)))
    assert grads["2.weight"].dtype == np.float32


def test_frozen_parameters_are_left_out():
    model = net().freeze("0.*")
    x = ONES[None, :]
    all_grads = nnx.grad(loss)(net().load(model.arrays()), x)
    grads = nnx.grad(loss)(model, x)
    assert list(grads) == ["2.weight", "2.bias"]
    for name, g in grads.items():
        assert_allclose(g, all_grads[name], rtol=1e-6)


def test_a_penalty_on_the_parameters_of_the_copy():
    model = net()

    def penalty(model):
        return sum(total(p * p) for p in model.parameters().values())

    for name, g in nnx.grad(penalty)(model).items():
        assert_allclose(g, 2 * model.parameters()[name], rtol=1e-6)


def test_the_device_of_the_copy(device):
    model = net(device=device)
    seen = []
    nnx.grad(lambda model: seen.append(model.device) or loss(model, nnx.asarray(ONES, device=model.device)))(model)
    assert seen == [device]
    assert model.device == device


# --- tied -------------------------------------------------------------------------------------


class Tied(nnx.Module):
    weight: nnx.Parameter

    def __init__(self):
        self.inner = nnx.Linear(3, 3, bias=False, dtype="float64")
        self.weight = self.inner.weight

    def __call__(self, x):
        return nnx.tanh(self.inner(x)) @ self.weight


def test_the_gradient_of_a_tied_array_is_summed_over_its_uses():
    model, x = Tied(), np.asarray([[1.0, 0.5, -1.0]])
    w = model.weight
    (g,) = nnx.grad(loss)(model, x).values()
    first, second = nnx.grad(lambda a, b: total((nnx.tanh(x @ a) @ b) ** 2), (0, 1))(w, w)
    assert_allclose(g, first + second, rtol=1e-12)


def test_a_shared_module_is_shared_in_the_copy():
    layer = nnx.Linear(3, 3, bias=False)
    model = nnx.Sequential(layer, nnx.tanh, layer)
    seen = []
    grads = nnx.grad(lambda model: seen.append(model[0] is model[2]) or loss(model, ONES))(model)
    assert seen == [True]
    assert list(grads) == ["0.weight"]


# --- modes and buffers ------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_that_of_the_copy_alone(training):
    model = Running()
    nnx.grad(loss, training=training)(model, ONES)
    nnx.vjp(loss, model, ONES, training=training)
    nnx.value_and_grad(lambda models: loss(models[0], ONES), training=training)([model])
    model(ONES)
    assert model.modes == [training] * 3 + [False]
    assert model.training is False
    assert "training" not in vars(model)


def test_the_mode_cannot_be_set():
    with pytest.raises(nnx.ArgumentError, match=r"training=True or False to nnx\.value_and_grad"):
        Running().training = True


def test_rebound_buffers_are_written_back(device):
    model = Running(device)
    x = nnx.asarray(2 * ONES, device=device)
    assert list(model.buffers()) == ["total"]
    for _ in range(2):
        nnx.grad(loss)(model, x)
    assert list(model.buffers()) == ["total", "count"]
    assert_array_equal(nnx.to_numpy(model.total), 4 * ONES)
    assert nnx.to_numpy(model.count) == 2
    assert type(model.total) is type(x)


def test_nothing_is_written_back_in_inference_mode():
    model = Running()
    nnx.grad(loss, training=False)(model, ONES)
    assert_array_equal(model.total, 0 * ONES)


def failing_after_use(model):
    loss(model, ONES)
    raise KeyError("mine")


@pytest.mark.parametrize(
    "f",
    [
        failing_after_use,
        lambda model: model(ONES),  # not a scalar
        lambda model: (loss(model, ONES), 1),  # a tuple without has_aux
        lambda model: total((xp := nnx.namespace_of(y := model(ONES))).astype(y, xp.complex128)),  # not a real number
        lambda model: total(nnx.custom_vjp(abs, lambda g, y, x: None)(model(ONES))),  # shows in the walk back
    ],
)
def test_an_exception_leaves_the_model_as_it_was(f):
    model = Running()
    before = dict(vars(model))
    with pytest.raises((KeyError, nnx.DifferentiationError)):
        nnx.grad(f)(model)
    after = vars(model)
    assert all(after[name] is value for name, value in before.items())
    assert_array_equal(model.total, 0 * ONES)
    nnx.grad(loss)(model, ONES)
    assert_array_equal(model.total, ONES)


def test_assignments_to_the_copy_stay_there():
    model = net()
    weight = model[0].weight

    def f(model):
        model[0].weight = model[0].weight * 2
        model[0].note = "here"
        return loss(model, ONES)

    doubled = nnx.grad(f)(model)
    assert model[0].weight is weight
    assert not hasattr(model[0], "note")
    other = net().load(model.arrays())
    other[0].weight = weight * 2
    assert_allclose(doubled["0.weight"], 2 * nnx.grad(loss)(other, ONES)["0.weight"], rtol=1e-6)


# --- nesting ----------------------------------------------------------------------------------


def test_a_gradient_penalty():
    """∂/∂θ ‖∂/∂x Σ f(x)‖², against finite differences."""
    model = net(dtype="float64")
    x = np.asarray([[0.3, -0.2, 0.7]])

    def penalty(model, x):
        g = nnx.grad(lambda x: total(model(x)))(x)
        return total(g * g)

    grads = nnx.grad(penalty)(model, x)
    for name, array in model.parameters().items():
        direction = np.random.default_rng(0).normal(size=array.shape)
        values = []
        for step in (1e-6, -1e-6):
            model._rebind({name: array + direction * step})
            values.append(penalty(model, x))
        model._rebind({name: array})
        assert_allclose(np.sum(grads[name] * direction), (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-8)


def test_a_gradient_through_a_gradient_step():
    """As in meta-learning: the outer derivative goes through the inner one."""
    model = net(dtype="float64")
    x = np.asarray([[0.3, -0.2, 0.7]])

    def after_a_step(model, rate):
        grads = nnx.grad(loss)(model, x)
        model._rebind({name: p - rate * grads[name] for name, p in model.parameters().items()})
        return loss(model, x)

    value, grads = nnx.value_and_grad(lambda model: after_a_step(model, 0.1))(model)
    assert value < loss(model, x)
    by_rate = nnx.grad(lambda rate: nnx.value_and_grad(lambda m: after_a_step(m, rate))(model)[0])(np.asarray(0.1))
    step = 1e-6
    values = [nnx.value_and_grad(lambda m, r=r: after_a_step(m, r))(model)[0] for r in (0.1 + step, 0.1 - step)]
    assert_allclose(by_rate, (values[0] - values[1]) / (2 * step), rtol=1e-6)
    direction = np.random.default_rng(0).normal(size=(3, 4))
    weight = model[0].weight
    values = []
    for s in (step, -step):
        model[0].weight = weight + s * direction
        values.append(nnx.value_and_grad(lambda m: after_a_step(m, 0.1))(model)[0])
    assert_allclose(np.sum(grads["0.weight"] * direction), (values[0] - values[1]) / (2 * step), rtol=1e-5)


def test_buffers_of_an_inner_differentiation_are_arrays_afterwards():
    model = Running()

    def outer(x):
        return total(nnx.grad(loss)(model, x)["scale"] ** 2)

    nnx.grad(outer)(2 * ONES)
    assert type(model.total) is np.ndarray
    assert_array_equal(model.total, 2 * ONES)


def test_buffers_of_a_nested_copy_keep_their_gradient():
    """The sum that the inner call leaves behind is differentiated by the outer one."""

    def outer(model):
        nnx.grad(loss)(model, ONES)  # total becomes x · scale, on the copy
        return total(model.total * 3.0)

    model = Running()
    assert_array_equal(nnx.grad(outer)(model)["scale"], 3 * ONES)
    assert type(model.total) is np.ndarray


# --- threads ----------------------------------------------------------------------------------


def test_threads_differentiate_and_predict_with_one_model():
    model = nnx.Sequential(
        nnx.Linear(3, 8, dtype="float64"), nnx.tanh, nnx.Dropout(0.5), nnx.Linear(8, 1, dtype="float64")
    )
    xs = [np.full((4, 3), 0.1 * i) for i in range(4)]
    predictions = [model(x) for x in xs]
    gradients = [nnx.grad(loss, training=False)(model, x)["0.weight"] for x in xs]
    wrong = []

    def run(i):
        for _ in range(50):
            if not np.array_equal(model(xs[i]), predictions[i]):
                wrong.append(("predict", i))
            if not np.array_equal(nnx.grad(loss, training=False)(model, xs[i])["0.weight"], gradients[i]):
                wrong.append(("grad", i))
            nnx.grad(loss)(model, xs[i])
            model[0].note = [i]  # a change of structure, as far as the plan can tell

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- compilers and devices without values -----------------------------------------------------


def test_a_step_under_jit_is_the_eager_one():
    jax = pytest.importorskip("jax")
    model = nnx.Sequential(nnx.Linear(3, 4, device="jax"), nnx.relu, nnx.Dropout(0.3), nnx.Linear(4, 1, device="jax"))
    model.to("jax")
    x = jax.numpy.asarray(np.random.default_rng(0).normal(size=(5, 3)), dtype="float32")

    def step(arrays, x):
        present = model.arrays()
        model._rebind(arrays)
        try:
            value, grads = nnx.value_and_grad(loss)(model, x)
            return value, grads, model.arrays()
        finally:
            model._rebind(present)

    arrays = model.arrays()
    value, grads, after = step(arrays, x)
    jit_value, jit_grads, jit_after = jax.jit(step)(arrays, x)
    assert_allclose(jit_value, value, rtol=1e-6)
    assert set(jit_grads) == set(grads)
    for name, g in grads.items():
        assert_allclose(jit_grads[name], g, rtol=1e-5, atol=1e-6)
    assert after["2.step"][0] == jit_after["2.step"][0] == arrays["2.step"][0] + 1
    assert all(model.arrays()[name] is array for name, array in arrays.items())


def test_a_step_on_the_device_meta():
    torch = pytest.importorskip("torch")
    model = nnx.Sequential(nnx.Linear(3, 4), nnx.gelu, nnx.Dropout(0.5), nnx.Linear(4, 2)).to("torch:meta")
    x = torch.ones((5, 3), device="meta")
    assert model(x).shape == (5, 2)
    grads = nnx.grad(loss)(model, x)
    assert {name: tuple(g.shape) for name, g in grads.items()} == {
        name: tuple(p.shape) for name, p in model.parameters().items()
    }
    assert {g.device.type for g in grads.values()} == {"meta"}


# --- the parameters of the copy ---------------------------------------------------------------


def test_the_copy_answers_the_parameters_that_it_holds(flag, make):
    model = net(device=flag).freeze("0.bias")

    def f(model, x):
        found = model.parameters()
        assert list(found) == ["0.weight", "2.weight", "2.bias"]
        assert all(found[name] is array for name, array in model.arrays().items() if name in found)
        return sum(total(array * array) for array in found.values())

    grads = nnx.grad(f)(model, make([[1.0, 2.0, 3.0]]))
    for name, array in model.parameters().items():
        assert_allclose(nnx.to_numpy(grads[name]), 2 * nnx.to_numpy(array))


@pytest.mark.parametrize("listed", [False, True])
def test_a_parameter_that_is_replaced_in_the_copy_is_answered(listed):
    class Listed(nnx.Module):
        def __init__(self, *layers):
            self.layers = list(layers) if listed else tuple(layers)

    def f(model):
        before = model.parameters()["layers.0.weight"]
        model.layers[0].weight = before * 3
        assert model.parameters()["layers.0.weight"] is model.layers[0].weight
        if listed:
            model.layers.append(nnx.Linear(1, 1))
            assert "layers.1.weight" in model.parameters()
        model.layers[0].freeze("bias")
        assert "layers.0.bias" not in model.parameters()
        return total(model.parameters()["layers.0.weight"])

    model = Listed(nnx.Linear(2, 2))
    assert_allclose(nnx.grad(f)(model)["layers.0.weight"], 3 * np.ones((2, 2)))
    assert list(model.parameters()) == ["layers.0.weight", "layers.0.bias"]


def test_the_parameters_of_a_copy_of_a_copy(make):
    """A Hessian-vector product of a penalty, whose inner copy is tracked by both differentiations."""
    model = net(dtype="float64")

    def inner(model):
        return sum(total(array**3) for array in model.parameters().values())

    def outer(model):
        return sum(total(g) for g in nnx.grad(inner)(model).values())

    for name, g in nnx.grad(outer)(model).items():
        assert_allclose(g, 6 * model.parameters()[name])


def test_nothing_is_computed_that_nobody_asked_for(make):
    """A step has one derivative for each parameter, and one by the input of each layer but the first."""
    found = []

    class Watch:
        def recorded(self, primitive, result):
            found.append(primitive.name)

        def walked(self, node, derivative, gradient):
            found.append(derivative.formula.__name__)

    model = nnx.Sequential(nnx.Linear(4, 5), nnx.relu, nnx.Linear(5, 3)).to(nnx.backend.device_of(make(0.0)))
    x, y = make(np.ones((2, 4))), make([0, 1], "int32")
    with observe(Watch()):
        nnx.grad(lambda model: nnx.losses.cross_entropy(model(x), y))(model)
    back = ["softmax_cross_entropy_logits", "linear_x", "linear_weight", "linear_bias", "relu_x"]
    assert found == ["linear_relu", "linear", "softmax_cross_entropy", *back, "linear_weight", "linear_bias"]
