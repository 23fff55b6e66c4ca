"""What a step reaches may change between calls: it is noticed, and the step is recorded anew."""

from __future__ import annotations

import functools
import types

import numpy as np
import pytest

import nnx

X = np.arange(1, 9, dtype="float32").reshape(4, 2)
value_and_grad = nnx.value_and_grad(lambda model, x: nnx.losses.mse(model(x), x))


def linear(seed=0):
    return nnx.Linear(2, 2, rng=nnx.Generator(seed))


def in_a_dict():
    config = {"scale": 2.0}
    return lambda x: x * config["scale"], lambda: config.update(scale=3.0)


def in_a_list():
    scales = [1.0, [2.0]]
    return lambda x: x * scales[1][0], lambda: scales[1].__setitem__(0, 3.0)


def another_model_in_a_list():
    models = [linear()]
    return lambda x: models[0](x), lambda: models.__setitem__(0, linear(5))


def one_more_model_in_a_list():
    models = [linear()]

    def step(x):
        for model in models:
            x = model(x)
        return x

    return step, lambda: models.append(linear(5))


def another_model_in_a_dict():
    models = {("a", 1): linear()}
    return lambda x: models["a", 1](x), lambda: models.update({("a", 1): linear(5)})


def one_in_two_partials():
    config = types.SimpleNamespace(scale=2.0)
    first = functools.partial(lambda k, x: x * k, 1.0)
    second = functools.partial(lambda k, x: x * k * config.scale, 1.0)
    return lambda x: second(first(x)), lambda: setattr(config, "scale", 3.0)


class Slots:
    __slots__ = ("model", "scale")

    def __init__(self):
        self.scale, self.model = 2.0, linear()


def in_slots():
    holder = Slots()
    return lambda x: x * holder.scale, lambda: setattr(holder, "scale", 3.0)


def a_model_in_slots():
    holder = Slots()

    def load():
        holder.model.load({name: 2 * a for name, a in holder.model.arrays().items()})

    return lambda x: holder.model(x), load


class Base:
    offset = 1.0

    def __init__(self):
        self._scale = 2.0
        self.model = linear()

    @property
    def scale(self):
        return self._scale

    def scaled(self, x):
        return x * self._scale

    def predict(self, x):
        return self.model(x)

    def __call__(self, x):
        return x * self._scale


class Derived(Base):
    pass


def by_a_property():
    holder = Base()
    return lambda x: x * holder.scale, lambda: setattr(holder, "_scale", 3.0)


def in_another_method():
    holder = Base()
    return lambda x: holder.scaled(x), lambda: setattr(holder, "_scale", 3.0)


def a_model_in_another_method():
    holder = Base()
    return lambda x: holder.predict(x), lambda: setattr(holder, "model", linear(5))


def in_an_inherited_call():
    step = Derived()
    return step, lambda: setattr(step, "_scale", 3.0)


def of_a_class():
    kind = type("Config", (), {"scale": 2.0})
    return lambda x: x * kind.scale, lambda: setattr(kind, "scale", 3.0)


def of_the_class_of_an_object():
    kind = type("Config", (), {"scale": 2.0})
    holder = kind()
    return lambda x: x * holder.scale, lambda: setattr(kind, "scale", 3.0)


def of_a_module():
    module = types.ModuleType("constants")
    module.scale = 2.0
    return lambda x: x * module.scale, lambda: setattr(module, "scale", 3.0)


def in_a_function_of_a_module():
    module = types.ModuleType("functions")
    exec("scale = 2.0\ndef twice(x):\n    return x * scale", vars(module))
    return lambda x: module.twice(x), lambda: setattr(module, "scale", 3.0)


def in_an_activation():
    config = {"scale": 2.0}
    model = nnx.Sequential(linear(), lambda x: x * config["scale"])
    return lambda x: model(x), lambda: config.update(scale=3.0)


scale = 2.0


class Scaled(nnx.Module):
    def __init__(self):
        self.layer = linear()
        self.config = types.SimpleNamespace(scale=2.0)

    def __call__(self, x):
        return self.after(self.layer(x)) * self.config.scale

    def after(self, x):
        return x * scale


def a_global_in_a_method_of_a_model():
    global scale
    scale = 2.0
    model = Scaled()

    def change():
        global scale
        scale = 3.0

    return lambda x: model(x), change


def an_object_that_a_model_holds():
    model = Scaled()
    return lambda x: model(x), lambda: setattr(model.config, "scale", 3.0)


def trained(rate):
    model, optimizer = linear(), nnx.optim.SGD(rate)

    def step(x):
        loss, grads = value_and_grad(model, x)
        optimizer.update(model, grads)
        return loss

    return step


def in_a_schedule():
    config = {"rate": 1e-3}
    return trained(lambda step: config["rate"]), lambda: config.update(rate=1e-2)


def a_schedule_with_a_state():
    class Schedule:
        rate = 1e-3

        def __call__(self, step):
            return self.rate

    schedule = Schedule()
    schedule.rate = 2e-3
    return trained(schedule), lambda: setattr(schedule, "rate", 1e-2)


def minus_zero():
    factor = 0.0

    def change():
        nonlocal factor
        factor = -0.0

    return lambda x: x * factor, change


CASES = [
    in_a_dict, in_a_list, another_model_in_a_list, one_more_model_in_a_list, another_model_in_a_dict,
    one_in_two_partials, in_slots, a_model_in_slots, by_a_property, in_another_method, a_model_in_another_method,
    in_an_inherited_call, of_a_class, of_the_class_of_an_object, of_a_module, in_a_function_of_a_module,
    in_an_activation, a_global_in_a_method_of_a_model, an_object_that_a_model_holds, in_a_schedule,
    a_schedule_with_a_state, minus_zero,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_changes_are_noticed(case):
    def answers(capture):
        step, change = case()
        step = capture(step)
        found = [step(X) for _ in range(5)]
        change()
        return step, found + [step(X) for _ in range(5)]

    captured, found = answers(nnx.capture)
    _, expected = answers(lambda step: step)
    for a, b in zip(found, expected, strict=True):
        assert a.tobytes() == b.tobytes()
    assert captured.replays == (7 if case is a_model_in_slots else 2 + 2)  # arrays are read at each call
    assert found[4].tobytes() != found[5].tobytes()


@pytest.mark.parametrize("pair", [(0.0, -0.0), (complex(0, 0.0), complex(0, -0.0)), (-0.0, 0.0)], ids=repr)
def test_zeros_with_a_sign_are_other_arguments(pair):
    captured = nnx.capture(lambda x, k: x * k)
    for k in pair * 4:
        assert captured(X, k).tobytes() == (X * k).tobytes()
    assert captured.replays == 2


@pytest.mark.parametrize("make", [lambda: float("nan"), lambda: slice(0, 2), lambda: bytes([1, 2]), lambda: -1.5j])
def test_values_are_compared_not_objects(make):
    def step(x, k):
        if isinstance(k, slice):
            return x[k]
        return x * (len(k) if isinstance(k, bytes) else k)

    captured = nnx.capture(step)
    for _ in range(6):
        np.testing.assert_array_equal(captured(X, make()), step(X, make()))
    assert captured.replays == 3


def test_other_slices_and_bytes_are_other_arguments():
    captured = nnx.capture(lambda x, k, b: x[k] * b[0])
    for _ in range(4):
        for k in (slice(0, 2), slice(1, 3), slice(None)):
            for b in (b"\x01", b"\x02"):
                np.testing.assert_array_equal(captured(X, k, b), X[k] * b[0])
    assert captured.replays == 6


def test_long_lists_are_data():
    numbers = [1.0] * 100
    captured = nnx.capture(lambda x: x * numbers[0])
    for _ in range(4):
        captured(X)
    (program,) = captured._programs
    assert len(program.source) < 2000


class Experiment:
    """Names of what a step uses that are those of its own methods, which it does not call."""

    def __init__(self):
        self.model, self.seen = linear(), 0
        self.step = nnx.capture(self._step)

    def _step(self, x):
        return nnx.losses.mse(self.model(x), x)

    def losses(self, x):
        self.seen += 1
        return [self.step(x) for _ in range(3 + self.step.replays)][:3]


def test_methods_of_the_same_name_as_a_part_of_the_library():
    experiment = Experiment()
    for _ in range(10):
        experiment.losses(X)
    assert experiment.step.replays > 10


def test_counters_of_another_captured_step():
    inner = nnx.capture(lambda x: x * 2)

    @nnx.capture
    def outer(x):
        return inner(x) + 0 * inner.__class__.__name__.count("x") + (0 if inner.replays >= 0 else 1)

    for _ in range(6):
        inner(X)
        np.testing.assert_array_equal(outer(X), X * 2)
    assert outer.replays == 3
