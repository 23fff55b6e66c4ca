"""Training, evaluation and prediction, on every backend."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import nnx


def moons(n=400, seed=0):
    """Two classes that no straight line separates."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    angle = np.pi * rng.random(n)
    x = np.stack([np.cos(angle) + labels, np.sin(angle) * (1 - 2 * labels) + 0.4 * labels], axis=1)
    return (x + 0.1 * rng.normal(size=x.shape)).astype(np.float32), labels


def network(flag="cpu", dropout=0.0, outputs=2):
    rng = nnx.Generator(0)
    return nnx.Sequential(
        nnx.Linear(2, 32, rng=rng),
        nnx.relu,
        nnx.Dropout(dropout, rng=rng),
        nnx.Linear(32, outputs, rng=rng),
    ).to(flag)


def trainer(model, rate=0.02, metrics=(nnx.metrics.accuracy,), loss=nnx.losses.cross_entropy):
    return nnx.Trainer(model, loss=loss, optimizer=nnx.optim.Adam(rate), metrics=metrics)


def test_a_small_network_learns(flag):
    x, y = moons()
    training = trainer(network(flag, dropout=0.1))

    history = training.fit((x, y), validation=moons(seed=1), epochs=15, batch_size=32, rng=nnx.Generator(1))

    assert history.accuracy[-1] > 0.97
    assert history.validation_accuracy[-1] > 0.97
    assert history.loss[-1] < history.loss[0] / 5
    assert training.steps == 15 * 13
    assert training.evaluate(moons(seed=2))["accuracy"] > 0.97


@pytest.fixture(scope="module")
def reference():
    """The history on NumPy that every other backend has to repeat."""
    x, y = moons()
    return trainer(network(dropout=0.3)).fit(
        (x, y), validation=moons(seed=1), epochs=4, batch_size=32, rng=nnx.Generator(1)
    )


def test_the_same_seeds_give_the_same_history(flag, reference):
    x, y = moons()

    history = trainer(network(flag, dropout=0.3)).fit(
        (x, y), validation=moons(seed=1), epochs=4, batch_size=32, rng=nnx.Generator(1)
    )

    for column in ("loss", "validation_loss", "rate"):
        np.testing.assert_allclose(history[column], reference[column], rtol=1e-4)
    for column in ("accuracy", "validation_accuracy"):
        np.testing.assert_allclose(history[column], reference[column], atol=1.5 / len(x))


def test_host_and_device_data_give_the_same(flag):
    x, y = moons()
    on_device = nnx.asarray(x, device=flag), nnx.asarray(y, device=flag)

    first, second = (trainer(network(flag)).fit(data, epochs=2, rng=nnx.Generator(1)) for data in ((x, y), on_device))

    assert first.loss == second.loss


def test_batches_give_the_same_as_arrays(flag):
    x, y = moons()
    in_batches = nnx.data.batches(x, y, batch_size=32, shuffle=True, rng=nnx.Generator(1))

    first = trainer(network(flag)).fit((x, y), epochs=2, rng=nnx.Generator(1))
    second = trainer(network(flag)).fit(in_batches, epochs=2)

    assert first.loss == second.loss


def test_a_step_is_value_and_grad_and_an_update():
    x, y = moons()
    model, by_hand = network(), network()
    trainer(model).fit((x, y), epochs=2, rng=nnx.Generator(1))

    optimizer = nnx.optim.Adam(0.02)
    value_and_grad = nnx.value_and_grad(lambda model, x, y: nnx.losses.cross_entropy(model(x), y))
    shuffled = nnx.data.batches(x, y, batch_size=32, shuffle=True, rng=nnx.Generator(1))
    for _ in range(2):
        for xb, yb in shuffled:
            _, gradients = value_and_grad(by_hand, xb, yb)
            optimizer.update(by_hand, gradients)

    for name, array in model.parameters().items():
        np.testing.assert_array_equal(array, by_hand.parameters()[name])


def test_figures_are_means_over_examples_even_of_unequal_batches():
    x = np.array([[0.0], [0.0], [0.0], [3.0]], dtype=np.float32)
    model = nnx.Linear(1, 1, weight_init=nnx.init.zeros)
    training = nnx.Trainer(model, loss=nnx.losses.mse, optimizer=nnx.optim.SGD(1e-12), metrics=[nnx.losses.mae])

    history = training.fit((x, x), batch_size=3, shuffle=False)

    assert history.loss == [pytest.approx(9 / 4)]
    assert history.mae == [pytest.approx(3 / 4)]
    assert training.evaluate((x, x), batch_size=3) == {"loss": pytest.approx(9 / 4), "mae": pytest.approx(3 / 4)}


def test_training_is_in_training_mode_and_evaluation_is_not(flag):
    modes = []

    class Spy(nnx.Module):
        weight: nnx.Parameter

        def __init__(self):
            self.weight = nnx.init.ones((1,), device=flag)

        def __call__(self, x):
            modes.append(self.training)
            return self.weight * x

    x = np.ones((4, 1), np.float32)
    training = nnx.Trainer(Spy(), loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1))
    training.fit((x, x), validation=(x, x), batch_size=4)
    training.evaluate((x, x))
    training.predict(x)

    assert modes == [True, False, False, False]


def test_a_second_fit_goes_on():
    x, y = moons()
    once, twice = trainer(network()), trainer(network())

    rng = nnx.Generator(1)
    expected = once.fit((x, y), epochs=4, rng=nnx.Generator(1))
    twice.fit((x, y), epochs=2, rng=rng)
    found = twice.fit((x, y), epochs=2, rng=rng)

    assert found is twice.history
    assert found.loss == expected.loss
    assert twice.steps == once.steps == 52
    assert int(twice.optimizer.state["step"]) == 52


def test_the_rate_of_a_schedule_is_recorded():
    x, y = moons(n=100)
    schedule = nnx.optim.schedules.cosine(0.1, 20)
    training = nnx.Trainer(network(), loss=nnx.losses.cross_entropy, optimizer=nnx.optim.SGD(schedule))

    history = training.fit((x, y), epochs=2, batch_size=10)

    assert history.rate == [pytest.approx(0.05, rel=1e-5), pytest.approx(0.0, abs=1e-7)]


def test_predictions_are_those_of_the_model_in_order(flag):
    x, _ = moons(n=30)
    model = network(flag, dropout=0.5)
    training = trainer(model)

    whole, parts = training.predict(x), training.predict(x, batch_size=7)

    assert nnx.backend.device_of(parts) == nnx.device(flag)
    expected = nnx.to_numpy(model(nnx.asarray(x, device=flag)))
    np.testing.assert_allclose(nnx.to_numpy(whole), expected, rtol=1e-6)
    np.testing.assert_allclose(nnx.to_numpy(parts), expected, rtol=1e-5, atol=1e-6)


def test_predictions_may_be_trees():
    class Both(nnx.Module):
        def __call__(self, x):
            return {"double": 2 * x, "parts": (x, -x)}

    found = nnx.Trainer(Both(), loss=nnx.losses.mse, optimizer=nnx.optim.SGD(1.0)).predict(np.arange(5.0), batch_size=2)

    np.testing.assert_array_equal(found["double"], 2 * np.arange(5.0))
    np.testing.assert_array_equal(found["parts"][1], -np.arange(5.0))


def test_evaluate_and_predict_leave_the_model_as_it_is(flag):
    x, y = moons()
    model = network(flag, dropout=0.5)
    before = {name: nnx.to_numpy(array) for name, array in model.arrays().items()}
    training = trainer(model)

    first, second = training.evaluate((x, y)), training.evaluate((x, y))
    training.predict(x)

    assert first == second
    assert set(first) == {"loss", "accuracy"}
    assert all(type(figure) is float for figure in first.values())
    for name, array in model.arrays().items():
        np.testing.assert_array_equal(nnx.to_numpy(array), before[name])


def test_frozen_parameters_stay():
    x, y = moons()
    model = network().freeze("0.*")
    before = {name: nnx.to_numpy(array) for name, array in model.arrays().items()}

    trainer(model).fit((x, y))

    after = model.arrays()
    assert [name for name in before if (before[name] == after[name]).all()] == ["0.weight", "0.bias"] + [
        name for name in model.buffers() if (before[name] == after[name]).all()
    ]


# --- data that does not fit -------------------------------------------------------------------


@pytest.mark.parametrize("data", [5, "xy", {"x": 1}, np.zeros((4, 2))], ids=["int", "str", "dict", "array"])
def test_data_without_batches(data):
    with pytest.raises(nnx.ArgumentError, match=r"expected a tuple \(x, y\) of two arrays"):
        trainer(network()).fit(data)


@pytest.mark.parametrize("batch", [np.zeros((4, 2)), (1, 2, 3), [np.zeros((4, 2))]], ids=["array", "three", "one"])
def test_batches_that_are_no_pairs(batch):
    with pytest.raises(nnx.ArgumentError, match=r"batch 0 is a .*expected a tuple"):
        trainer(network()).fit([batch])


def test_an_empty_batch_is_named():
    x, y = moons(n=8)
    with pytest.raises(nnx.ShapeError, match=r"batch 1 has shapes \(0, 2\) and \(0,\): at least one example"):
        trainer(network()).fit([(x, y), (x[:0], y[:0])])


def test_a_batch_of_unequal_lengths_is_named():
    x, y = moons(n=8)
    with pytest.raises(nnx.ShapeError, match=r"batch 0 has shapes \(8, 2\) and \(7,\)"):
        trainer(network()).fit([(x, y[:7])])


@pytest.mark.parametrize("method", ["fit", "evaluate"])
@pytest.mark.parametrize("data", [(np.zeros((0, 2), np.float32), np.zeros(0, np.int64)), []], ids=["arrays", "list"])
def test_empty_data(method, data):
    with pytest.raises(nnx.ShapeError, match="at least one"):
        getattr(trainer(network()), method)(data)


def test_nothing_to_predict():
    with pytest.raises(nnx.ShapeError, match="at least one example"):
        trainer(network()).predict(np.zeros((0, 2), np.float32))


def test_an_iterator_serves_one_epoch():
    x, y = moons(n=8)
    training = trainer(network())

    assert len(training.fit(iter([(x, y)] * 3)).epochs) == 1
    with pytest.raises(nnx.ArgumentError, match="an iterator can be gone through once, not 2 times"):
        training.fit(iter([(x, y)] * 3), epochs=2)
    with pytest.raises(nnx.ArgumentError, match="an iterator"):
        training.fit((x, y), validation=iter([(x, y)]), epochs=2)


@pytest.mark.parametrize("option", [{"batch_size": 8}, {"shuffle": False}, {"rng": nnx.Generator(0)}])
def test_arguments_without_effect_are_refused(option):
    x, y = moons(n=8)
    with pytest.raises(nnx.ArgumentError, match="this data comes in batches"):
        trainer(network()).fit([(x, y)], **option)
    with pytest.raises(nnx.ArgumentError, match="this data comes in batches"):
        trainer(network()).evaluate([(x, y)], batch_size=8)


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True])
def test_bad_epochs(epochs):
    with pytest.raises(nnx.ArgumentError, match="epochs must be a positive integer"):
        trainer(network()).fit(moons(), epochs=epochs)


@pytest.mark.parametrize("size", [0, -3, 1.5])
def test_bad_batch_size(size):
    training = trainer(network())
    for call in (training.fit, training.evaluate):
        with pytest.raises(nnx.ArgumentError, match="batch_size must be a positive integer"):
            call(moons(), batch_size=size)


def test_validation_that_does_not_fit_is_found_before_training():
    x, y = moons()
    training = trainer(network())

    with pytest.raises(nnx.ShapeError, match="lengths 400, 3"):
        training.fit((x, y), validation=(x, y[:3]))
    assert training.steps == 0


def test_dtypes_are_not_cast_in_silence():
    x, y = moons()
    with pytest.raises(nnx.DTypeError):
        trainer(network()).fit((x.astype(np.float64), y))


def test_labels_out_of_range():
    x, y = moons()
    with pytest.raises(nnx.LabelError):
        trainer(network()).fit((x, y + 1))


def test_a_loss_that_is_no_scalar():
    loss = functools.partial(nnx.losses.cross_entropy, reduction="none")
    with pytest.raises(nnx.DifferentiationError, match="shape"):
        trainer(network(), loss=loss).fit(moons())


def test_names_of_metrics():
    def loss(prediction, target):
        return 0.0

    class Area:
        def __call__(self, prediction, target):
            return 0.5

    assert trainer(network(), metrics=[Area()]).evaluate(moons()).keys() == {"loss", "Area"}
    with pytest.raises(nnx.ArgumentError, match="'accuracy' is that of two metrics"):
        trainer(network(), metrics=[nnx.metrics.accuracy, nnx.metrics.accuracy])
    with pytest.raises(nnx.ArgumentError, match="'loss' has another meaning"):
        trainer(network(), metrics=[loss])
    with pytest.raises(nnx.ArgumentError, match="a metric is a function"):
        trainer(network(), metrics=["accuracy"])


def test_nothing_is_read_from_a_device_between_the_checks(monkeypatch):
    """torch stands for a GPU: it tells of every value that is read, by float(), bool(), item() or to NumPy."""
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    backend = nnx.device("torch").backend
    to_host, reads = backend.to_host, []
    monkeypatch.setattr(type(backend), "readable", lambda self, array: False)
    monkeypatch.setattr(type(backend), "to_host", lambda self, array: reads.append("to_host") or to_host(array))

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._local_scalar_dense.default:
                reads.append("scalar")
            return function(*args, **(kwargs or {}))

    x, y = moons(n=1600)
    counts = []
    for batch_size in (1600, 40):  # 1 and 40 steps: fewer than lie between two checks
        training = trainer(network("torch", dropout=0.2))
        training.fit((x, y), batch_size=1600)
        reads.clear()
        with Reads():
            training.fit((x, y), validation=(x, y), batch_size=batch_size)
        counts.append(len(reads))

    assert 0 < counts[0] == counts[1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": nnx.relu}, "the model of a Trainer is an nnx.Module"),
        ({"loss": "cross_entropy"}, "a loss is a function"),
        ({"optimizer": nnx.optim.SGD}, "an optimiser is an object such as"),
        ({"optimizer": "sgd"}, "an optimiser is an object such as"),
        ({"metrics": nnx.metrics.accuracy}, "metrics is a list of functions"),
        ({"metrics": ["accuracy"]}, "a metric is a function"),
    ],
)
def test_what_a_trainer_is_made_of(wrong, message):
    right = {"model": nnx.Linear(2, 2), "loss": nnx.losses.mse, "optimizer": nnx.optim.SGD(0.1)}
    with pytest.raises(nnx.ArgumentError, match=message):
        nnx.Trainer(**(right | wrong))
