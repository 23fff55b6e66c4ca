"""Captured steps of all kinds of models and optimisers do what plain ones do, to the last bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import nnx

RNG = np.random.default_rng(0)


def images():
    return RNG.standard_normal((8, 8, 8, 2)).astype("float32"), RNG.integers(0, 4, 8)


def features():
    return RNG.standard_normal((16, 12)).astype("float32"), RNG.integers(0, 4, 16)


def sequences():
    return RNG.standard_normal((6, 5, 12)).astype("float32"), RNG.integers(0, 4, 6)


def words():
    return RNG.integers(0, 20, (6, 7)), RNG.integers(0, 4, 6)


class Recurrent(nnx.Module):
    def __init__(self, kind):
        self.cells = kind(12, 6)
        self.out = nnx.Linear(6, 4)

    def __call__(self, x):
        y, _ = self.cells(x)
        return self.out(y[:, -1, :])


class Words(nnx.Module):
    def __init__(self):
        self.table = nnx.Embedding(20, 5)
        self.out = nnx.Linear(5, 4)

    def __call__(self, ids):
        xp = nnx.namespace_of(ids, self.table.weight)
        return self.out(xp.mean(self.table(ids), axis=1))


def mlp():
    return nnx.Sequential(nnx.Linear(12, 8), nnx.relu, nnx.Linear(8, 4))


MODELS = {
    "mlp": (mlp, features),
    "dropout and batch norm": (
        lambda: nnx.Sequential(nnx.Linear(12, 8), nnx.BatchNorm(8), nnx.gelu, nnx.Dropout(0.3), nnx.Linear(8, 4)),
        features,
    ),
    "layer norm": (lambda: nnx.Sequential(nnx.Linear(12, 8), nnx.LayerNorm(8), nnx.silu, nnx.Linear(8, 4)), features),
    "convolution": (
        lambda: nnx.Sequential(
            nnx.Conv2d(2, 4, 3, padding=1),
            nnx.relu,
            nnx.MaxPool2d(2),
            nnx.Conv2d(4, 3, 2),
            nnx.GlobalAvgPool2d(),
            nnx.Linear(3, 4),
        ),
        images,
    ),
    "lstm": (lambda: Recurrent(nnx.LSTM), sequences),
    "gru": (lambda: Recurrent(nnx.GRU), sequences),
    "embedding": (Words, words),
    "maxout": (lambda: nnx.Sequential(nnx.Maxout(12, 4)), features),
}

OPTIMIZERS = {
    "adam": lambda: nnx.optim.Adam(1e-2),
    "adamw": lambda: nnx.optim.AdamW(nnx.optim.schedules.cosine(1e-2, 40), clip_norm=0.5, weight_decay=0.1),
    "sgd": lambda: nnx.optim.SGD(0.1),
    "momentum": lambda: nnx.optim.SGD(nnx.optim.schedules.warmup(5, 0.1), momentum=0.9, nesterov=True, clip_norm=1.0),
    "own schedule": lambda: nnx.optim.SGD(lambda step: 0.1 / (1 + 0.01 * step), weight_decay=0.01),
}

value_and_grad = nnx.value_and_grad(lambda model, x, y: nnx.losses.cross_entropy(model(x), y))


def step(model, optimizer, x, y):
    loss, grads = value_and_grad(model, x, y)
    optimizer.update(model, grads)
    return loss


def assert_same(a, b):
    """Two arrays, or two trees of them, are the same to the last bit."""
    if isinstance(a, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
        return
    assert type(a) is type(b)
    a, b = nnx.to_numpy(a), nnx.to_numpy(b)
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


def assert_steps_agree(make_model, make_optimizer, data, steps=50, step=step):
    nnx.seed(1)
    model, optimizer = make_model(), make_optimizer()
    other, other_optimizer = copy.deepcopy(model), make_optimizer()
    captured = nnx.capture(step)
    batches = [data() for _ in range(3)]
    for i in range(steps):
        batch = batches[i % 3]
        assert_same(captured(other, other_optimizer, *batch), step(model, optimizer, *batch))
        assert_same(other.arrays(), model.arrays())
    assert_same(other_optimizer.state, optimizer.state)
    assert captured.replays == steps - 3


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    assert_steps_agree(*MODELS[name][:1], OPTIMIZERS["adam"], MODELS[name][1])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    assert_steps_agree(mlp, OPTIMIZERS[name], features)


def test_float64():
    def data():
        x, y = features()
        return x.astype("float64"), y

    def model():
        return nnx.Sequential(nnx.Linear(12, 8, dtype="float64"), nnx.tanh, nnx.Linear(8, 4, dtype="float64"))

    assert_steps_agree(model, OPTIMIZERS["adamw"], data)


def test_reference_kernels_that_change_nothing_in_place():
    class Momentum(nnx.optim.Optimizer):
        """Makes new arrays at each step."""

        slots = ("velocity",)

        def _advance(self, group, gradients, step, rate, scale):
            g = group.xp.concat(list(gradients)) if len(gradients) > 1 else gradients[0]
            velocity = 0.9 * group.state[0] + g
            return group.flat - rate * velocity, [velocity]

    assert_steps_agree(mlp, lambda: Momentum(0.1), features)


def test_prediction():
    model, captured = mlp(), None
    captured = nnx.capture(lambda x: model(x))
    for _ in range(4):
        x, _ = features()
        assert_same(captured(x), model(x))
    assert captured.replays == 1


def test_losses_of_other_kinds():
    def of(loss, target):
        vg = nnx.value_and_grad(lambda model, x, y: loss(model(x), y))

        def step(model, optimizer, x, y):
            value, grads = vg(model, x, y)
            optimizer.update(model, grads)
            return value

        def data():
            x, y = features()
            return x, target(y)

        assert_steps_agree(mlp, OPTIMIZERS["adam"], data, steps=6, step=step)

    one_hot = np.eye(4, dtype="float32")
    weights = np.array([1, 2, 3, 4], dtype="float32")
    of(nnx.losses.mse, lambda y: one_hot[y])
    of(nnx.losses.cross_entropy, lambda y: one_hot[y])
    of(lambda p, y: nnx.losses.cross_entropy(p, y, class_weights=weights, label_smoothing=0.1), lambda y: y)
    of(lambda p, y: nnx.losses.cross_entropy(p, y, ignore_index=3), lambda y: y)
    tree = nnx.losses.HierarchicalSoftmax.two_level(5)
    of(lambda p, y: tree(nnx.namespace_of(p).concat([p, p[:, :1]], axis=1), y), lambda y: y)


def test_several_results():
    both = nnx.value_and_grad(lambda model, x, y: (nnx.losses.cross_entropy(z := model(x), y), (z, x)), has_aux=True)

    def step(model, optimizer, x, y):
        (loss, (logits, _)), grads = both(model, x, y)
        optimizer.update(model, grads)
        return {"loss": loss, "accuracy": nnx.metrics.accuracy(logits, y), "n": 3, "grads": [grads, None]}

    nnx.seed(1)
    model, optimizer = mlp(), OPTIMIZERS["adam"]()
    other, other_optimizer = copy.deepcopy(model), OPTIMIZERS["adam"]()
    captured = nnx.capture(step)
    for _ in range(5):
        batch = features()
        found, expected = captured(other, other_optimizer, *batch), step(model, optimizer, *batch)
        assert found.pop("n") == expected.pop("n") == 3
        assert found["grads"].pop() is expected["grads"].pop() is None
        assert_same(found, expected)
    assert captured.replays == 2


def test_derivatives_of_higher_order():

    model = nnx.Sequential(nnx.Linear(12, 4))
    weight = model.layers[0]

    def hessian_product(x, y):
        f = lambda w: nnx.losses.mse(nnx.tanh(x @ w), y)  # noqa: E731
        g = nnx.grad(f)(weight.weight)
        return g, nnx.hvp(f, (weight.weight,), (g,)), nnx.jvp(f, (weight.weight,), (g,))

    captured = nnx.capture(hessian_product)
    for _ in range(4):
        x, y = features()
        y = np.eye(4, dtype="float32")[y]
        assert_same(captured(x, y), hessian_product(x, y))
    assert captured.replays == 1


def test_remat_and_regularizers():
    def f(model, x, y):
        return nnx.losses.cross_entropy(nnx.remat(model)(x), y) + nnx.regularizers.l2(1e-2)(model)

    vg = nnx.value_and_grad(f)

    def step(model, optimizer, x, y):
        loss, grads = vg(model, x, y)
        optimizer.update(model, grads)
        nnx.constraints.max_norm(0.5)(model)
        return loss

    assert_steps_agree(mlp, OPTIMIZERS["adam"], features, steps=8, step=step)


def test_gradients_added_over_two_batches():
    def step(model, optimizer, x, y):
        _, a = value_and_grad(model, x[:8], y[:8])
        loss, b = value_and_grad(model, x[8:], y[8:])
        optimizer.update(model, {name: a[name] + b[name] for name in a})
        return loss

    assert_steps_agree(MODELS["dropout and batch norm"][0], OPTIMIZERS["adam"], features, steps=8, step=step)


def test_an_optimiser_that_keeps_arrays_in_a_dict():
    class Averaged(nnx.optim.SGD):
        """Keeps a running mean of each parameter."""

        def __init__(self, rate):
            super().__init__(rate)
            self.means = {}

        def update(self, model, grads):
            super().update(model, grads)
            for name, array in model.parameters().items():
                self.means[name] = 0.9 * self.means[name] + 0.1 * array if name in self.means else array * 1

    optimizers = []

    def make():
        optimizers.append(Averaged(0.1))
        return optimizers[-1]

    assert_steps_agree(mlp, make, features, steps=8)
    assert_same(optimizers[0].means, optimizers[1].means)


def test_an_optimiser_that_begins_to_keep_arrays(pair):
    class Late(nnx.optim.SGD):
        last = None

        def update(self, model, grads):
            super().update(model, grads)
            self.last = [grads["0.bias"]]

    optimizer, twin = Late(0.1), Late(0.1)
    pair.optimizer, pair.twin_optimizer = optimizer, twin
    pair.steps(1)
    optimizer.last = twin.last = None
    with pytest.warns(UserWarning, match="Late.last keeps an array"):
        pair.steps(1)
    assert_same(optimizer.last, twin.last)
    pair.steps(2)


def test_two_models_and_two_optimisers():
    """As in adversarial training, in containers that the step closes over."""

    def make():
        nnx.seed(2)
        models = {"maker": nnx.Linear(3, 12), "judge": mlp()}
        return models, [nnx.optim.Adam(1e-2), nnx.optim.SGD(1e-2, momentum=0.5)]

    def steps(models, optimizers):
        def judged(judge, maker, x, z, y):
            return nnx.losses.cross_entropy(judge(x) - judge(maker(z)), y)

        def step(x, z, y):
            loss, grads = nnx.value_and_grad(judged)(models["judge"], models["maker"], x, z, y)
            optimizers[1].update(models["judge"], grads)
            loss2, grads = nnx.value_and_grad(judged, argnums=1)(models["judge"], models["maker"], x, z, y)
            optimizers[0].update(models["maker"], grads)
            return loss, loss2

        return step

    ours, theirs = make(), make()
    captured, plain = nnx.capture(steps(*ours)), steps(*theirs)
    for _ in range(6):
        x, y = features()
        z = RNG.standard_normal((16, 3)).astype("float32")
        assert_same(captured(x, z, y), plain(x, z, y))
    for name in ("maker", "judge"):
        assert_same(ours[0][name].arrays(), theirs[0][name].arrays())
    assert captured.replays == 3


def test_an_error_after_the_first_of_two_optimisers():
    """What was done before is done, as in a plain step."""

    def build():
        models = [nnx.Sequential(nnx.Linear(12, 4, rng=nnx.Generator(seed))) for seed in (1, 2)]
        optimizers = [nnx.optim.Adam(1e-2), nnx.optim.Adam(1e-2)]

        def step(x, y, z):
            for model, optimizer, labels in zip(models, optimizers, (y, z), strict=True):
                _, grads = value_and_grad(model, x, labels)
                optimizer.update(model, grads)

        return models, optimizers, step

    models, optimizers, step = build()
    twins, twin_optimizers, plain = build()
    captured = nnx.capture(step)
    for i in range(7):
        x, y = features()
        labels = y + 9 if i == 5 else y
        for f in (captured, plain):
            if i == 5:
                with pytest.raises(nnx.LabelError):
                    f(x, y, labels)
            else:
                f(x, y, labels)
        for a, b in zip([*models, *optimizers], [*twins, *twin_optimizers], strict=True):
            assert_same(
                a.arrays() if isinstance(a, nnx.Module) else a.state,
                b.arrays() if isinstance(b, nnx.Module) else b.state,
            )
    assert captured.replays == 3
    assert [int(optimizer.state["step"]) for optimizer in optimizers] == [7, 6]


def test_weights_that_stand_in_two_places():
    class Tied(nnx.Module):
        def __init__(self):
            self.first = nnx.Linear(12, 12, rng=nnx.Generator(1))
            self.second = nnx.Linear(12, 12, rng=nnx.Generator(2))
            self.second.weight = self.first.weight
            self.out = nnx.Linear(12, 4, rng=nnx.Generator(3))

        def __call__(self, x):
            return self.out(self.second(nnx.tanh(self.first(x))))

    assert_steps_agree(Tied, OPTIMIZERS["adam"], features, steps=6)


def test_a_model_is_a_step_of_its_own():
    model = MODELS["dropout and batch norm"][0]()
    captured = nnx.capture(model)
    for _ in range(4):
        x, _ = features()
        assert_same(captured(x), model(x))
    assert captured.replays == 1
    assert "layers" not in vars(captured)


def test_precision_of_the_step_count_is_kept():
    """The count, which is read and written back at each replay, is the one that a checkpoint has."""
    model, optimizer = mlp(), nnx.optim.Adam(1e-2)
    captured = nnx.capture(step)
    for _ in range(7):
        captured(model, optimizer, *features())
    assert optimizer.state["step"].dtype == np.int32
    assert optimizer.state["step"] == 7
