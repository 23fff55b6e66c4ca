"""Gradients in TF32, bfloat16 and float16: their dtypes, their distance from float32, and what refuses."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import nnx
from nnx.backend import is_low

EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10}


@pytest.fixture(params=["bfloat16", "float16"])
def low(request, device):
    """A low precision of the device's library; the dtype is ``device.backend.precision(low).dtype``."""
    if device.backend.precision(request.param) is None:
        pytest.skip(f"{device.backend.name} has no {request.param}")
    return request.param


def number(x):
    return nnx.to_numpy(x).item()


def host(x):
    """A float32 copy on the host, of any dtype."""
    return nnx.to_numpy(nnx.namespace_of(x).astype(x, nnx.namespace_of(x).float32))


def close(found, expected, tolerance, size=1e-3):
    """Two arrays, by the norm of their difference; ``size`` is that of what they are part of."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= tolerance * (np.linalg.norm(expected) + size), (found, expected)


# --- models -----------------------------------------------------------------------------------

IMAGES, ROWS, WORDS, STEPS = "images", "rows", "words", "steps"


class Last(nnx.Module):
    """A recurrent layer, of which only the outputs go on."""

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, x):
        return self.layer(x)[0]


MODELS = {
    "dense": (ROWS, lambda d: [nnx.Linear(6, 16, device=d), nnx.relu, nnx.Linear(16, 3, device=d)]),
    "smooth": (ROWS, lambda d: [nnx.Linear(6, 16, device=d), nnx.gelu, nnx.Linear(16, 3, device=d), nnx.tanh]),
    "softmax": (ROWS, lambda d: [nnx.Linear(6, 8, device=d), nnx.softmax, nnx.Linear(8, 3, device=d)]),
    "batch norm": (ROWS, lambda d: [nnx.Linear(6, 9, device=d), nnx.BatchNorm(9, device=d), nnx.tanh]),
    "first batch norm": (ROWS, lambda d: [nnx.BatchNorm(6, device=d), nnx.Linear(6, 3, device=d)]),
    "layer norm": (ROWS, lambda d: [nnx.Linear(6, 9, device=d), nnx.LayerNorm(9, device=d), nnx.tanh]),
    "prelu": (ROWS, lambda d: [nnx.PReLU(6, device=d), nnx.Maxout(6, 4, device=d)]),
    "dropout": (ROWS, lambda d: [nnx.Linear(6, 9, device=d), nnx.Dropout(0.3, device=d), nnx.Linear(9, 2, device=d)]),
    "images": (
        IMAGES,
        lambda d: [
            nnx.Conv2d(2, 4, 3, padding="same", device=d),
            nnx.relu,
            nnx.MaxPool2d(2),
            nnx.Conv2d(4, 5, 2, stride=2, device=d),
            nnx.AvgPool2d(2, padding=1),
            nnx.GlobalAvgPool2d(),
        ],
    ),
    "words": (WORDS, lambda d: [nnx.Embedding(11, 6, device=d), nnx.Linear(6, 4, device=d)]),
    "rnn": (STEPS, lambda d: [Last(nnx.RNN(3, 5, device=d))]),
    "lstm": (STEPS, lambda d: [Last(nnx.LSTM(3, 5, device=d))]),
    "gru": (STEPS, lambda d: [Last(nnx.GRU(3, 5, device=d))]),
    "three axes": (STEPS, lambda d: [nnx.Linear(3, 5, device=d), nnx.silu, nnx.Linear(5, 2, device=d)]),
}


def example(name, device):
    """A model and its input."""
    rng = np.random.default_rng(0)
    nnx.seed(3)
    kind, layers = MODELS[name]
    shapes = {IMAGES: (3, 8, 8, 2), ROWS: (12, 6), STEPS: (4, 5, 3)}
    x = rng.integers(0, 11, (3, 7)) if kind == WORDS else rng.standard_normal(shapes[kind]).astype("float32")
    return nnx.Sequential(*layers(device)), nnx.asarray(x, device=device)


def mean_square(model, x):
    y = model(x)
    return nnx.losses.mse(y, nnx.namespace_of(y).zeros_like(y)), y


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_near_those_in_float32(device, low, name):
    model, x = example(name, device)
    twin = copy.deepcopy(model)
    (value, y), grads = nnx.value_and_grad(mean_square, has_aux=True, precision=low)(model, x)
    (expected, _), others = nnx.value_and_grad(mean_square, has_aux=True)(twin, x)
    xp = device.namespace
    assert y.dtype == device.backend.precision(low).dtype
    assert value.dtype == xp.float32
    assert abs(number(value) - number(expected)) <= 8 * EPS[low] * abs(number(expected))
    assert grads.keys() == others.keys() == model.parameters().keys()
    whole = np.sqrt(sum(np.sum(np.square(nnx.to_numpy(g))) for g in others.values()))
    for key, g in grads.items():
        assert g.dtype == xp.float32
        close(nnx.to_numpy(g), nnx.to_numpy(others[key]), 8 * EPS[low], whole)
    for key, array in model.arrays().items():  # masters and statistics stay float32, and statistics move alike
        assert array.dtype == twin.arrays()[key].dtype
        assert not is_low(array.dtype)
        close(nnx.to_numpy(array), nnx.to_numpy(twin.arrays()[key]), 2 * EPS[low])


def test_state_of_a_recurrent_layer_may_be_of_either_type(device, low):
    layer = nnx.LSTM(3, 5, device=device)
    x = nnx.asarray(np.ones((2, 4, 3), np.float32), device=device)
    first = layer(x)[1]

    def loss(layer, state):
        y, state = layer(x, state)
        return nnx.losses.mse(y, nnx.namespace_of(y).zeros_like(y)), state

    (_, state), _ = nnx.value_and_grad(loss, has_aux=True, precision=low)(layer, first)
    assert {s.dtype for s in state} == {device.backend.precision(low).dtype}
    assert layer(x, state)[0].dtype == device.namespace.float32


# --- functions --------------------------------------------------------------------------------

UNARY = """relu relu6 leaky_relu elu selu celu gelu silu mish hard_swish glu sigmoid tanh softplus log_sigmoid log_cosh
softsign hard_sigmoid hard_tanh softmax log_softmax erf sum_abs sum_squares""".split()


@pytest.mark.parametrize("name", UNARY)
def test_functions_keep_low_types(device, low, name):
    f, dtype = getattr(nnx.ops, name), device.backend.precision(low).dtype
    xp = device.namespace
    x = xp.astype(nnx.asarray(np.random.default_rng(0).uniform(-4, 4, (5, 6)).astype("float32"), device=device), dtype)
    y, pull = nnx.vjp(f, x)
    expected, pull_wide = nnx.vjp(f, xp.astype(x, xp.float32))
    (g,), (g_wide,) = pull(y), pull_wide(expected)
    assert f(x).dtype == y.dtype == g.dtype == dtype
    for found, wanted in ((f(x), expected), (y, expected), (g, g_wide)):
        close(host(found), nnx.to_numpy(wanted), 3 * EPS[low])


@pytest.mark.parametrize("name", ["gelu", "erf"])
def test_no_large_number_overflows_inside(device, name):
    if device.backend.precision("float16") is None:
        pytest.skip("no float16")
    x = nnx.asarray(np.asarray([-600, -40, -5, 5, 40, 600], np.float32), device=device, dtype="float16")
    y, pull = nnx.vjp(getattr(nnx.ops, name), x)
    one, zero = np.asarray([1, 1, 1]), np.asarray([0, 0, 0])
    top = np.asarray([5, 40, 600])
    expected = np.concatenate([zero, top] if name == "gelu" else [-one, one])
    np.testing.assert_allclose(host(y), expected, atol=2e-3)
    (g,) = pull(y)
    assert np.isfinite(host(g)).all()


def test_sums_over_many_rows_are_added_up_in_float32(device, low):
    """Where each addition rounded, a sum would stop to grow: at 2048 in float16, at 256 in bfloat16."""
    n = 5000
    layer = nnx.Linear(1, 2, device=device)
    x = nnx.asarray(np.zeros((n, 1), np.float32), device=device)
    table = nnx.Embedding(3, 2, device=device)
    ids = nnx.asarray(np.ones(n, np.int32), device=device)

    def total(part, x):
        y = part(x)
        xp = nnx.namespace_of(y)
        return xp.sum(xp.astype(y, xp.float32))

    assert host(nnx.grad(total, precision=low)(layer, x)["bias"]).tolist() == pytest.approx([n, n], rel=EPS[low])
    g = host(nnx.grad(total, precision=low)(table, ids)["weight"])
    assert g[1].tolist() == pytest.approx([n, n], rel=EPS[low])


LOSSES = {
    "cross_entropy": (lambda p, t, c: nnx.losses.cross_entropy(p, c)),
    "smoothed": (lambda p, t, c: nnx.losses.cross_entropy(p, c, label_smoothing=0.1, reduction="sum")),
    "of probabilities": (lambda p, t, c: nnx.losses.cross_entropy(p, t)),
    "nll": (lambda p, t, c: nnx.losses.nll(p, c)),
    "kl_divergence": (lambda p, t, c: nnx.losses.kl_divergence(p, t)),
    "binary_cross_entropy": (lambda p, t, c: nnx.losses.binary_cross_entropy(p, t)),
    "multilabel_logistic": (lambda p, t, c: nnx.losses.multilabel_logistic(p, t)),
    "hinge": (lambda p, t, c: nnx.losses.hinge(p, t * 0 + 1)),
    "multilabel_hinge": (lambda p, t, c: nnx.losses.multilabel_hinge(p, t * 0 + 1)),
    "multiclass_hinge": (lambda p, t, c: nnx.losses.multiclass_hinge(p, c)),
    "mse": (lambda p, t, c: nnx.losses.mse(p, t)),
    "mae": (lambda p, t, c: nnx.losses.mae(p, t)),
    "huber": (lambda p, t, c: nnx.losses.huber(p, t)),
    "log_cosh": (lambda p, t, c: nnx.losses.log_cosh(p, t)),
    "hierarchical": (lambda p, t, c: nnx.losses.HierarchicalSoftmax([[0, 1], [2, [3, 4]]])(p, c)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_compute_in_float32(device, low, name):
    rng, loss, xp = np.random.default_rng(0), LOSSES[name], device.namespace
    target = rng.random((7, 4)).astype("float32")
    p = nnx.asarray(rng.standard_normal((7, 4)).astype("float32"), device=device, dtype=low)
    t = nnx.asarray(target / target.sum(1, keepdims=True), device=device)
    c = nnx.asarray(np.arange(7) % 4, device=device)
    value, pull = nnx.vjp(lambda p: loss(p, t, c), p)
    expected, pull_wide = nnx.vjp(lambda p: loss(p, t, c), xp.astype(p, xp.float32))
    assert value.dtype == xp.float32
    assert number(value) == number(expected)  # the same numbers, taken up
    (g,), (g_wide,) = pull(value), pull_wide(value)
    assert g.dtype == p.dtype
    close(host(g), nnx.to_numpy(g_wide), EPS[low])


def test_a_loss_of_ones_own_comes_back_in_float32(device, low):
    model, x = example("dense", device)

    def mean(model, x):
        y = model(x)
        value = nnx.namespace_of(y).mean(y)
        assert is_low(value.dtype)
        return value

    value, grads = nnx.value_and_grad(mean, precision=low)(model, x)
    assert all(array.dtype == device.namespace.float32 for array in (value, *grads.values()))


# --- what stays in float32 --------------------------------------------------------------------


def test_penalties_are_of_the_float32_parameters(device, low):
    """Cast down before it is added, a penalty's small gradient would be lost beside a larger one."""
    layer = nnx.Linear(1, 1, bias=False, weight_init=nnx.init.ones, device=device)
    x = nnx.asarray(np.ones((1, 1), np.float32), device=device)
    penalty = nnx.regularizers.l2(EPS[low] / 8)

    def loss(layer, x):
        y = layer(x)
        return nnx.losses.mse(y, nnx.namespace_of(y).zeros_like(y)) + penalty(layer)

    assert number(nnx.grad(loss, precision=low)(layer, x)["weight"]) == 2 + EPS[low] / 8


def test_penalties_take_low_parameters_up(device, low):
    class Low(nnx.Module):
        weight: nnx.Parameter

        def __init__(self):
            self.weight = nnx.asarray(np.full((300, 300), 3.0, np.float32), device=device, dtype=low)

    for penalty, expected in ((nnx.regularizers.l2(2.0), 9.0), (nnx.regularizers.l1(1.0), 3.0)):
        value = penalty(Low())
        assert value.dtype == device.namespace.float32
        assert number(value) == pytest.approx(90_000 * expected, rel=1e-5)


def test_frozen_parameters_are_low_too(device, low):
    model, x = example("dense", device)
    model.freeze("0.*")
    seen = []

    def loss(model, x):
        seen.extend(model.arrays().items())
        return mean_square(model, x)[0]

    grads = nnx.grad(loss, precision=low)(model, x)
    assert grads.keys() == {"2.weight", "2.bias"}
    assert [name for name, array in seen if is_low(array.dtype)] == list(model.arrays())
    assert not any(is_low(array.dtype) for array in model.arrays().values())


def test_a_model_beside_it_takes_what_comes_up(device, low):
    """As the discriminator, when a generator is trained."""
    model, x = example("dense", device)
    other = nnx.Linear(3, 1, device=device)

    def loss(model, x):
        y = other(model(x))
        assert y.dtype == device.namespace.float32
        return nnx.namespace_of(y).mean(y)

    found, expected = (nnx.grad(loss, precision=p)(model, x) for p in (low, None))
    close(nnx.to_numpy(found["0.weight"]), nnx.to_numpy(expected["0.weight"]), 8 * EPS[low])


def test_arrays_that_are_differentiated_by_are_low(device, low):
    def loss(tree, x):
        assert {is_low(tree["w"].dtype), is_low(tree["b"].dtype)} == {True}
        xp = nnx.namespace_of(x, tree["w"])
        return xp.sum(xp.astype(x, tree["w"].dtype) @ tree["w"] + tree["b"])

    tree = {"w": np.ones((3, 2), np.float32), "b": np.zeros(2, np.float32)}
    tree = {name: nnx.asarray(array, device=device) for name, array in tree.items()}
    grads = nnx.grad(loss, precision=low)(tree, nnx.asarray(np.ones((4, 3), np.float32), device=device))
    assert all(g.dtype == device.namespace.float32 for g in grads.values())
    assert host(grads["w"]).tolist() == [[4.0, 4.0]] * 3


def test_a_pull_back_is_low_too(device, low):
    model, x = example("dense", device)
    y, pull = nnx.vjp(lambda model: model(x), model, precision=low)
    assert is_low(y.dtype)
    (grads,) = pull(y)
    assert all(g.dtype == device.namespace.float32 for g in grads.values())


# --- float16 and its scale --------------------------------------------------------------------


def test_small_gradients_vanish_without_a_scale_and_live_with_one(device):
    if device.backend.precision("float16") is None:
        pytest.skip("no float16")
    layer = nnx.Linear(2, 1, device=device)
    x = nnx.asarray(np.ones((1, 2), np.float32), device=device)

    def loss(layer, x):
        y = layer(x)
        xp = nnx.namespace_of(y)
        return xp.sum(xp.astype(y, xp.float32)) * 1e-9

    plain = nnx.grad(loss, precision="float16")(layer, x)["weight"]
    assert host(plain).tolist() == [[0.0], [0.0]]
    optimizer = nnx.optim.SGD(1.0, loss_scale=nnx.optim.LossScale())
    before = host(layer.bias) * 0
    layer.bias = nnx.asarray(before, device=device)
    value, grads = nnx.value_and_grad(loss, precision="float16", loss_scale=optimizer.loss_scale)(layer, x)
    np.testing.assert_allclose(host(grads["weight"]), 2.0**15 * 1e-9, rtol=1e-3)
    with device:
        assert number(value) == pytest.approx(number(loss(layer, x)), rel=1e-2)  # the value is not scaled
    optimizer.update(layer, grads)
    np.testing.assert_allclose(host(layer.bias), -1e-9, rtol=1e-3)


def test_an_overflow_leaves_statistics_as_they_were(device):
    if device.backend.precision("float16") is None:
        pytest.skip("no float16")
    layer = nnx.Linear(2, 3, weight_init=nnx.init.ones, device=device)
    model = nnx.Sequential(layer, nnx.BatchNorm(3, device=device), nnx.Dropout(0.5, device=device))
    step = nnx.value_and_grad(lambda m, x: mean_square(m, x)[0], precision="float16", loss_scale=nnx.optim.LossScale())
    before = {name: nnx.to_numpy(array) for name, array in model.buffers().items()}
    x = np.random.default_rng(0).standard_normal((8, 2)).astype("float32")
    value, _ = step(model, nnx.asarray(x * np.float32(1e9), device=device))
    assert not np.isfinite(number(value))
    after = {name: nnx.to_numpy(array) for name, array in model.buffers().items()}
    for name in ("1.running_mean", "1.running_var"):
        np.testing.assert_array_equal(after[name], before[name])
    assert after["2.step"].tolist() == [1]
    step(model, nnx.asarray(x, device=device))
    assert not np.array_equal(nnx.to_numpy(model.buffers()["1.running_mean"]), before["1.running_mean"])


class Remembers(nnx.Module):
    """Keeps what it computed last, in a buffer that may have been empty before."""

    mean: nnx.Buffer
    first: nnx.Buffer

    def __init__(self, layer):
        self.layer, self.first = layer, None
        self.mean = nnx.asarray(np.zeros(3, np.float32), device=nnx.backend.device_of(layer.weight))

    def __call__(self, x):
        y = self.layer(x)
        self.mean = self.first = nnx.namespace_of(y).mean(y, axis=0)
        return y


@pytest.mark.parametrize("scaled", [True, False])
def test_buffers_of_ones_own_stay_float32(device, low, scaled):
    model = Remembers(nnx.Linear(2, 3, weight_init=nnx.init.ones, device=device))
    scale = nnx.optim.LossScale() if scaled else None
    step = nnx.value_and_grad(lambda m, x: mean_square(m, x)[0], precision=low, loss_scale=scale)
    step(model, nnx.asarray(np.ones((4, 2), np.float32), device=device))
    nnx.vjp(lambda m, x: m(x), model, nnx.asarray(np.ones((4, 2), np.float32), device=device), precision=low)
    for buffer in (model.mean, model.first):
        assert buffer.dtype == device.namespace.float32
        np.testing.assert_array_equal(nnx.to_numpy(buffer), 2)


@pytest.mark.parametrize("scale", [True, False])
def test_captured_steps_give_the_same_numbers(device, low, scale):
    models = [example("first batch norm", device)[0] for _ in range(2)]
    x = nnx.asarray(np.random.default_rng(1).standard_normal((12, 6)).astype("float32"), device=device)
    optimizers = [
        nnx.optim.SGD(0.1, momentum=0.9, loss_scale=nnx.optim.LossScale(2.0**30, interval=3) if scale else None)
        for _ in models
    ]

    def step_of(optimizer):
        gradient = nnx.value_and_grad(lambda m, x: mean_square(m, x)[0], precision=low, loss_scale=optimizer.loss_scale)

        def step(model, optimizer, x):
            loss, grads = gradient(model, x)
            optimizer.update(model, grads)
            return loss

        return step

    captured, plain = nnx.capture(step_of(optimizers[0])), step_of(optimizers[1])
    # a compiler leaves out the roundings between operations that it puts into one
    tolerance = 8 * EPS[low] if callable(device.backend.capture) else 1e-6
    for _ in range(24):
        a, b = captured(models[0], optimizers[0], x), plain(models[1], optimizers[1], x)
        np.testing.assert_allclose(number(a), number(b), rtol=tolerance, atol=tolerance / 10)
    for key, array in optimizers[1].state.items():
        if key == "step" or key.startswith("loss_scale."):
            np.testing.assert_array_equal(nnx.to_numpy(optimizers[0].state[key]), nnx.to_numpy(array))
    expected = {key: nnx.to_numpy(array) for key, array in models[1].arrays().items()}
    whole = np.sqrt(sum(np.sum(np.square(array)) for array in expected.values()))
    for key, array in expected.items():
        close(nnx.to_numpy(models[0].arrays()[key]), array, tolerance / 4, whole)
    if device.backend.capture is not None:
        assert captured.replays > 10
    if scale and low == "float16":
        assert number(optimizers[1].state["step"]) < 24  # the scale was too large at first


# --- TF32 -------------------------------------------------------------------------------------


def switch(device):
    """What the library's own switch says."""
    if device.backend.name == "torch":
        import torch

        return torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.fp32_precision
    if device.backend.name == "jax":
        import jax

        return jax.config.jax_default_matmul_precision
    from nnx_cupy import blas

    return blas._tf32.get()


def test_tf32_is_on_for_the_step_alone(device):
    if device.backend.precision("tf32") is None:
        pytest.skip("no TF32")
    model, x = example("dense", device)
    before, seen = switch(device), []

    def loss(model, x):
        seen.append(switch(device))
        return mean_square(model, x)[0]

    value, grads = nnx.value_and_grad(loss, precision="tf32")(model, x)
    expected, others = nnx.value_and_grad(loss)(model, x)
    assert seen[1] == before != seen[0]
    assert switch(device) == before
    assert number(value) == pytest.approx(number(expected), rel=1e-3)
    for key, g in grads.items():
        close(nnx.to_numpy(g), nnx.to_numpy(others[key]), 1e-3)

    def failing(model, x):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        nnx.value_and_grad(failing, precision="tf32")(model, x)
    assert switch(device) == before


def test_the_walk_back_is_in_tf32_too(device):
    if device.backend.precision("tf32") is None:
        pytest.skip("no TF32")
    seen, before = [], switch(device)

    def adjoint(g, y, x):
        seen.append(switch(device))
        return (g,)

    watched = nnx.custom_vjp(lambda x: x * 1, adjoint)
    x = nnx.asarray(np.ones(3, np.float32), device=device)
    _, pull = nnx.vjp(watched, x, precision="tf32")
    pull(x)
    assert switch(device) == before
    assert len(seen) == 1
    assert seen[0] != before


# --- what refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bf16", "float32", "", 16, np.float16, True])
def test_unknown_precisions(precision):
    for make in (nnx.value_and_grad, nnx.grad):
        with pytest.raises(nnx.ArgumentError, match=r"or one of 'tf32', 'bfloat16', 'float16'; got"):
            make(lambda x: x, precision=precision)
    with pytest.raises(nnx.ArgumentError, match="or one of 'tf32'"):
        nnx.vjp(lambda x: x, 1.0, precision=precision)
    with pytest.raises(nnx.ArgumentError, match="or one of 'tf32'"):
        nnx.Trainer(nnx.Linear(1, 1), loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1), precision=precision)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
def test_backends_without_it(device, precision):
    if device.backend.precision(precision) is not None:
        pytest.skip("it has it")
    model, x = example("dense", device)
    before = {name: nnx.to_numpy(array) for name, array in model.arrays().items()}
    with pytest.raises(nnx.ArgumentError, match=f"{device.backend.name} does not compute in precision='{precision}'"):
        nnx.value_and_grad(mean_square, has_aux=True, precision=precision)(model, x)
    for name, array in model.arrays().items():
        np.testing.assert_array_equal(nnx.to_numpy(array), before[name])
    if precision != "tf32":
        with pytest.raises(nnx.DTypeError, match=f"has no dtype {precision}"):
            nnx.asarray([1.0], device=device, dtype=precision)


def test_only_float32_is_taken_down(device, low):
    model, x = example("dense", device)
    model.to(dtype="float64")
    with pytest.raises(nnx.DTypeError, match=r"keeps float32 parameters .* and 0\.weight has dtype .*float64"):
        nnx.value_and_grad(mean_square, has_aux=True, precision=low)(model, x)
    with pytest.raises(nnx.DTypeError, match="the argument has dtype"):
        nnx.grad(lambda x: x, precision=low)(nnx.asarray(np.float64(1), device=device))
    model.to(dtype="float32")
    wide = nnx.asarray(np.zeros((2, 6)), device=device, dtype="float64")
    with pytest.raises(nnx.DTypeError, match=r"expected input of that dtype, got .*float64"):
        nnx.value_and_grad(mean_square, has_aux=True, precision=low)(model, wide)


@pytest.mark.parametrize("scale", [1024.0, nnx.optim.LossScale, "dynamic"])
def test_a_loss_scale_is_one(scale):
    if scale is nnx.optim.LossScale:
        scale = object()
    with pytest.raises(nnx.ArgumentError, match=r"loss_scale is that of an optimiser, an nnx\.optim\.LossScale"):
        nnx.value_and_grad(lambda x: x, loss_scale=scale)


# --- arrays -----------------------------------------------------------------------------------


def test_low_arrays_are_made_and_read(device, low):
    values = np.asarray([1.0, 1.00390625, -3.14159, 65280.0], np.float32)
    x = nnx.asarray(values, device=device, dtype=low)
    assert x.dtype == device.backend.precision(low).dtype == nnx.asarray([1, 2], device=device, dtype=low).dtype
    assert nnx.asarray(x, device=device, dtype=low) is x
    back = host(x)
    np.testing.assert_allclose(back, values, rtol=EPS[low] / 2)
    np.testing.assert_array_equal(nnx.to_numpy(nnx.asarray(x, device=device, dtype="float32")), back)
    if (device.backend.name, low) == ("torch", "bfloat16"):
        with pytest.raises(nnx.DTypeError, match="convert first, e.g. to float32"):
            nnx.to_numpy(x)
    else:
        assert str(nnx.to_numpy(x).dtype) == low
