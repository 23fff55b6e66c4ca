"""What changes between captured steps is noticed."""

from __future__ import annotations

import collections
import copy
import threading

import numpy as np
import pytest

import nnx


def test_the_last_short_batch_has_a_program_of_its_own(pair):
    assert pair.steps(4) == 1
    assert pair.steps(4, n=7) == 1
    assert pair.steps(3) == 3
    assert pair.steps(2, n=7) == 2


def test_dtypes_have_programs_of_their_own(pair):
    pair.steps(3)
    x, y = pair.batch()
    for labels in (y.astype("int32"), y.astype("uint8")) * 4:
        np.testing.assert_array_equal(
            pair.captured(pair.model, pair.optimizer, x, labels), pair.step(pair.twin, pair.twin_optimizer, x, labels)
        )
    assert pair.captured.replays == 2


def test_arrays_that_are_loaded_are_taken_over(pair):
    pair.steps(4)
    arrays = {
        name: np.cos(np.arange(a.size, dtype="float32").reshape(a.shape)) for name, a in pair.twin.arrays().items()
    }
    pair.both(lambda model, _: model.load(arrays))
    assert pair.steps(4) == 3


def test_a_state_that_is_loaded_is_taken_over(pair):
    pair.steps(4)
    saved, arrays = pair.twin_optimizer.state, pair.twin.arrays()
    arrays = {name: array.copy() for name, array in arrays.items()}
    pair.steps(3)
    pair.both(lambda model, optimizer: (model.load(arrays), optimizer.load(saved)))
    assert pair.steps(5) == 2


def test_parameters_that_are_frozen_stay(pair):
    pair.steps(4)

    def freeze(model, _):
        model.freeze("0.*")

    pair.both(freeze)
    with pytest.raises(nnx.StateError, match="make a new optimiser"):
        pair.captured(pair.model, pair.optimizer, *pair.batch())
    pair.optimizer, pair.twin_optimizer = nnx.optim.SGD(0.1), nnx.optim.SGD(0.1)
    weight = pair.model.layers[0].weight.copy()
    assert pair.steps(4) > 0
    np.testing.assert_array_equal(pair.model.layers[0].weight, weight)


def test_settings_of_layers(make_pair):
    pair = make_pair(layers=[nnx.Dropout(0.2)])
    pair.steps(4)

    def change(model, _):
        model.layers[2].rate = 0.7

    pair.both(change)
    assert pair.steps(4) == 1


def test_other_models_may_be_made_meanwhile(pair):
    pair.steps(3)
    for _ in range(5):
        nnx.Sequential(nnx.Linear(2, 2), nnx.BatchNorm(2))
        assert pair.steps(1) == 1


def test_predictions_and_checkpoints_between(make_pair):
    pair = make_pair(layers=[nnx.BatchNorm(8)])
    for _ in range(5):
        pair.steps(2)
        x, _ = pair.batch()
        np.testing.assert_array_equal(pair.model(x), pair.twin(x))
        assert pair.optimizer.state["step"] == pair.twin_optimizer.state["step"]
        other = copy.deepcopy(pair.model)
        np.testing.assert_array_equal(other(x), pair.model(x))
    assert pair.captured.replays == 7


def test_lists_of_layers_that_change():
    class Stack(nnx.Module):
        def __init__(self):
            self.layers = [nnx.Linear(4, 4, rng=nnx.Generator(1))]

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    model = Stack()
    captured = nnx.capture(lambda x: model(x))
    x = np.ones((2, 4), "float32")
    for _ in range(3):
        np.testing.assert_array_equal(captured(x), model(x))
    model.layers.append(nnx.relu)
    for _ in range(5):
        np.testing.assert_array_equal(captured(x), model(x))
    assert captured.replays > 1
    assert np.min(captured(x)) == 0


def test_what_is_closed_over_may_be_replaced():
    factor = np.float32(2)
    table = np.array([1, 2, 3], "float32")

    @nnx.capture
    def step(x):
        return x * factor + table

    x = np.ones(3, "float32")
    for value in (2, 2, 2, 2, 5, 5, 5, 5, 5):
        if factor != value:
            factor, table = np.float32(value), table + 1
        np.testing.assert_array_equal(step(x), x * factor + table)
    assert step.replays == 3
    table += 1
    np.testing.assert_array_equal(step(x), x * factor + table)


def test_an_attribute_is_not_a_global_of_its_name():
    scope = {"x": 0}
    exec("def step(batch):\n    return batch['x'] + offset.x", scope)

    class Offset:
        x = 0.0

    scope["offset"] = Offset()
    scope["offset"].x = 2.0
    captured = nnx.capture(scope["step"])
    for i in range(5):
        scope["x"] = i  # as a loop of the program does that has no name of its own for its batches
        np.testing.assert_array_equal(captured({"x": np.ones(2, "float32")}), [3, 3])
    assert captured.replays == 2
    scope["offset"].x = 5.0
    np.testing.assert_array_equal(captured({"x": np.ones(2, "float32")}), [6, 6])


def test_another_model_of_the_same_name():
    def build(seed):
        return nnx.Linear(3, 2, rng=nnx.Generator(seed))

    model = build(1)
    captured = nnx.capture(lambda x: model(x))
    x = np.ones((2, 3), "float32")
    for seed in (2, 3):
        for _ in range(4):
            np.testing.assert_array_equal(captured(x), model(x))
        model = build(seed)
    np.testing.assert_array_equal(captured(x), model(x))


def test_numbers_are_part_of_the_signature():
    captured = nnx.capture(lambda x, factor, *, name="a": {name: x * factor})
    x = np.ones(2, "float32")
    for factor in (1.0, 2.0) * 4:
        np.testing.assert_array_equal(captured(x, factor)["a"], x * factor)
        np.testing.assert_array_equal(captured(x, factor, name="b")["b"], x * factor)
    assert captured.replays == 4


def test_trees_as_arguments():
    captured = nnx.capture(lambda batch, rest=None: batch["x"] * batch["more"][1] + (0 if rest is None else rest[0]))
    x = np.ones(2, "float32")
    for i in range(5):
        y = np.full(2, i, "float32")
        np.testing.assert_array_equal(captured({"x": x, "more": [None, y]}), x * y)
        np.testing.assert_array_equal(captured({"x": x, "more": [None, y]}, rest=(y,)), x * y + y)
        np.testing.assert_array_equal(captured({"more": [None, y], "x": x}), x * y)
    assert captured.replays == 6


def test_methods_and_partials():
    import functools

    class Experiment:
        def __init__(self):
            self.model, self.optimizer = nnx.Linear(3, 2, rng=nnx.Generator(0)), nnx.optim.SGD(0.1)
            self.seen = 0

        @nnx.capture
        def step(self, x):
            loss, grads = nnx.value_and_grad(
                lambda model: (model(x) ** 2).sum() if False else nnx.losses.mse(model(x), x[:, :2])
            )(self.model)
            self.optimizer.update(self.model, grads)
            return loss

    one, other = Experiment(), Experiment()
    plain = Experiment()
    bound = functools.partial(Experiment.step, one)
    x = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    for _ in range(5):
        expected = Experiment.step._step(plain, x)
        np.testing.assert_array_equal(bound(x), expected)
        np.testing.assert_array_equal(other.step(x), expected)
    assert Experiment.step.replays == 4


def test_a_captured_step_in_another(pair):
    inner = nnx.capture(pair.step)

    @nnx.capture
    def twice(model, optimizer, x, y):
        inner(model, optimizer, x, y)
        return inner(model, optimizer, x, y)

    for _ in range(5):
        x, y = pair.batch()
        found = twice(pair.model, pair.optimizer, x, y)
        pair.step(pair.twin, pair.twin_optimizer, x, y)
        np.testing.assert_array_equal(found, pair.step(pair.twin, pair.twin_optimizer, x, y))
        pair.agree()
    assert twice.replays == 2


def test_differentiated_it_is_a_plain_function():
    captured = nnx.capture(lambda x: x * x * x)
    assert nnx.grad(captured)(2.0) == 12.0
    for _ in range(4):
        assert captured(np.float32(2)) == 8
    assert nnx.grad(nnx.grad(captured))(2.0) == 12.0


def test_threads_take_turns(pair):
    errors = []
    x, y = pair.batch()

    def work():
        try:
            for _ in range(50):
                pair.captured(pair.model, pair.optimizer, x, y)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for _ in range(200):
        pair.step(pair.twin, pair.twin_optimizer, x, y)
    pair.agree()


def test_another_thread_predicts_while_a_step_is_recorded(pair):
    found = []
    x, _ = pair.batch()
    expected = []

    def predict():
        found.append(pair.model(x))

    vg = nnx.value_and_grad(lambda model, x, y: nnx.losses.cross_entropy(model(x), y))

    def step(model, optimizer, x, y):
        loss, grads = vg(model, x, y)
        thread = threading.Thread(target=predict)
        thread.start()
        thread.join()
        optimizer.update(model, grads)
        return loss

    captured = nnx.capture(step)
    for _ in range(2):
        expected.append(pair.model(x))
        captured(pair.model, pair.optimizer, *pair.batch())
    for a, b in zip(found, expected, strict=True):
        assert type(a) is np.ndarray
        np.testing.assert_array_equal(a, b)


def test_copies_and_pickles_record_anew():
    import pickle

    captured = pickle.loads(pickle.dumps(nnx.capture(nnx.relu)))
    x = np.array([-1, 2], "float32")
    for _ in range(4):
        np.testing.assert_array_equal(captured(x), [0, 2])
    assert captured.replays == 1


@nnx.capture
def of_this_module(x):
    return x + 1


def test_a_captured_function_of_a_module_is_pickled_by_name():
    import pickle

    assert pickle.loads(pickle.dumps(of_this_module)) is of_this_module
    assert copy.deepcopy(of_this_module) is of_this_module


def test_another_thread_pickles_a_model_that_is_being_recorded():
    import pickle

    model = nnx.Linear(3, 2)
    pickled = collections.deque()

    def step(x):
        thread = threading.Thread(target=lambda: pickled.append(pickle.loads(pickle.dumps(model))))
        thread.start()
        thread.join()
        return model(x)

    captured = nnx.capture(step)
    x = np.ones((1, 3), "float32")
    for _ in range(4):
        captured(x)
    assert captured.replays == 1
    assert len(pickled) == 3
    for twin in pickled:
        np.testing.assert_array_equal(twin(x), model(x))
