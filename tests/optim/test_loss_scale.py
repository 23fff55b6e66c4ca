"""The loss scale: its course against torch's, the updates that it skips, and its state."""

from __future__ import annotations

import copy
import pickle
from itertools import product

import numpy as np
import pytest

import nnx
from nnx.backend import load_backend
from nnx.optim import LossScale
from nnx.optim.adam import adam_update
from nnx.optim.sgd import sgd_update

PATTERNS = {
    "good": "ggggggggg",
    "bad first": "bbbggggggg",
    "one bad": "ggbggggggg",
    "bad where it would grow": "ggbggbggbggg",
    "all bad": "bbbbbb",
    "nan": "gngnggggg",
}
VALUES = {"g": [0.5, -2.0], "b": [1.0, np.inf], "n": [np.nan, 1.0]}

OPTIMIZERS = {
    "adam": lambda **options: nnx.optim.Adam(0.1, **options),
    "adam decay": lambda **options: nnx.optim.Adam(0.1, weight_decay=0.1, **options),
    "adamw": lambda **options: nnx.optim.AdamW(0.1, **options),
    "sgd": lambda **options: nnx.optim.SGD(0.1, **options),
    "momentum": lambda **options: nnx.optim.SGD(0.1, momentum=0.9, weight_decay=0.1, **options),
    "nesterov": lambda **options: nnx.optim.SGD(0.1, momentum=0.9, nesterov=True, **options),
    "schedule": lambda **options: nnx.optim.Adam(nnx.optim.schedules.cosine(0.1, 20), **options),
}


def number(x):
    """A number, or an array of one, as a Python number."""
    return x if isinstance(x, float) else nnx.to_numpy(x).item()


def asked(optimizer):
    """The optimiser, once its scale has been read, as by what multiplies gradients by it."""
    assert number(optimizer.loss_scale.scale) > 0
    return optimizer


def host(arrays):
    return {name: nnx.to_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("growth", [2.0, 3.0])
def test_course_is_that_of_torch(flag, arrays, on, pattern, growth):
    torch = pytest.importorskip("torch")
    theirs = torch.amp.GradScaler(
        "cpu", init_scale=1024.0, growth_factor=growth, backoff_factor=0.25, growth_interval=3
    )
    weight = torch.zeros(2, requires_grad=True)
    their_optimizer = torch.optim.SGD([weight], lr=0.1)
    scale = LossScale(1024.0, growth=growth, backoff=0.25, interval=3, smallest=2.0**-20)
    optimizer = nnx.optim.SGD(0.1, loss_scale=scale)
    model = arrays(flag, {"w": np.zeros(2, np.float32)})
    for kind in PATTERNS[pattern]:
        g = np.asarray(VALUES[kind], np.float32)
        weight.grad = theirs.scale(torch.tensor(1.0)) * torch.tensor(g)
        theirs.step(their_optimizer)
        theirs.update()
        optimizer.update(model, on(flag, {"w": g * np.float32(number(scale.scale))}))
        assert number(scale.scale) == theirs.get_scale()
        np.testing.assert_allclose(nnx.to_numpy(model["w"]), weight.detach().numpy(), rtol=1e-6)
    assert number(scale.state["good"]) == theirs._get_growth_tracker()


def test_it_stays_at_the_smallest_and_finite(flag, arrays, on):
    model = arrays(flag, {"w": np.zeros(2, np.float32)})
    falling = asked(nnx.optim.SGD(0.1, loss_scale=LossScale(4.0, smallest=1.5)))
    for expected in (2.0, 1.5, 1.5):
        falling.update(model, on(flag, {"w": np.asarray([np.inf, 0], np.float32)}))
        assert number(falling.loss_scale.scale) == expected
    rising = asked(nnx.optim.SGD(0.1, loss_scale=LossScale(2.0**126, growth=4.0, interval=1)))
    rising.update(arrays(flag, {"w": np.zeros(2, np.float32)}), on(flag, {"w": np.ones(2, np.float32)}))
    assert number(rising.loss_scale.scale) == 2.0**126


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_skipped_update_changes_nothing(flag, arrays, on, name, clip):
    rng = np.random.default_rng(0)
    w = {"a": rng.standard_normal((3, 2)).astype("float32"), "b": rng.standard_normal(4).astype("float32")}
    model = arrays(flag, w)
    optimizer = asked(OPTIMIZERS[name](clip_norm=clip, loss_scale=LossScale(8.0, interval=2)))
    good = {key: 8 * rng.standard_normal(a.shape).astype("float32") for key, a in w.items()}
    bad = {**good, "b": np.asarray([1, np.nan, 2, np.inf], np.float32)}
    for first in (True, False):  # nothing before it, and a good update before it
        before, state = host(model.parameters()), host(optimizer.state)
        optimizer.update(model, on(flag, bad))
        for key, array in host(model.parameters()).items():
            np.testing.assert_array_equal(array, before[key])
        for key, array in host(optimizer.state).items():
            if not first and not key.startswith("loss_scale."):
                np.testing.assert_array_equal(array, state[key])
        if first:
            assert number(optimizer.state["step"]) == 0
            optimizer.loss_scale.load({})
            optimizer.update(model, on(flag, good))
            assert number(optimizer.state["step"]) == 1


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_updates_are_those_without_a_scale(flag, arrays, on, name, clip):
    rng = np.random.default_rng(1)
    w = rng.standard_normal((5, 3)).astype("float32")
    scaled, plain = arrays(flag, {"w": w}), arrays(flag, {"w": w})
    optimizer = OPTIMIZERS[name](clip_norm=clip, loss_scale=LossScale(64.0, interval=3))
    other = OPTIMIZERS[name](clip_norm=clip)
    for step in range(8):
        if step in (2, 5):
            optimizer.update(scaled, on(flag, {"w": np.full_like(w, np.inf)}))
        g = rng.standard_normal(w.shape).astype("float32")
        optimizer.update(scaled, on(flag, {"w": g * np.float32(number(optimizer.loss_scale.scale))}))
        other.update(plain, on(flag, {"w": g}))
        np.testing.assert_allclose(nnx.to_numpy(scaled["w"]), nnx.to_numpy(plain["w"]), rtol=2e-6, atol=1e-7)
    assert number(optimizer.state["step"]) == 8


@pytest.mark.parametrize("which", ["reference", "native", "best"])
@pytest.mark.parametrize("as_float", [True, False])
def test_every_kernel_of_an_update_obeys_a_negative_scale(which, as_float):
    table = {} if which == "reference" else load_backend("cpu").kernels(which)
    xp = load_backend("cpu").load()
    rng = np.random.default_rng(0)
    p, m, v = (rng.random(9).astype("float32") for _ in range(3))
    g = np.asarray([np.nan, np.inf, -np.inf, *range(6)], np.float32)
    scale = -1.0 if as_float else np.asarray(-1.0, np.float32)
    for decay, decoupled, rate in product([0.0, 0.1], [False, True], [0.1, np.asarray(0.1, np.float32)]):
        update = table.get("adam_update", adam_update)
        options = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": decay, "decoupled": decoupled}
        given = p.copy(), m.copy(), v.copy()
        found = update(xp, given[0], [g.copy()], given[1], given[2], np.asarray(3, np.int32), rate, scale, **options)
        for array, expected in zip((*given, *found), (p, m, v) * 2, strict=True):
            np.testing.assert_array_equal(array, expected)
        update = table.get("sgd_update", sgd_update)
        for momentum, nesterov in ((0.0, False), (0.9, False), (0.9, True)):
            given = p.copy(), (m.copy() if momentum else None)
            options = {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
            found = update(xp, given[0], [g.copy()], given[1], rate, scale, **options)
            for array, expected in zip((*given, *found), (p, m if momentum else None) * 2, strict=True):
                np.testing.assert_array_equal(array, expected) if expected is not None else None
                assert (array is None) == (expected is None)


def test_state_goes_on(flag, arrays, on):
    def gradient(optimizer, kind):
        return on(flag, {"w": np.asarray(VALUES[kind], np.float32) * np.float32(number(optimizer.loss_scale.scale))})

    model = arrays(flag, {"w": np.zeros(2, np.float32)})
    optimizer = nnx.optim.Adam(0.1, loss_scale=LossScale(16.0, interval=4))
    for kind in "gbgg":
        optimizer.update(model, gradient(optimizer, kind))
    state = optimizer.state
    assert {"loss_scale.scale", "loss_scale.good"} < state.keys()
    other = nnx.optim.Adam(0.1, loss_scale=LossScale(16.0, interval=4))
    other.load(state)
    assert number(other.loss_scale.scale) == 8.0  # before any update, as the next gradient needs it
    twins = [other, copy.deepcopy(optimizer), copy.copy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    models = [arrays(flag, {"w": nnx.to_numpy(model["w"])}) for _ in twins]
    for kind in "gggbg":
        optimizer.update(model, gradient(optimizer, kind))
        for twin, its in zip(twins, models, strict=True):
            twin.update(its, gradient(twin, kind))
            np.testing.assert_array_equal(nnx.to_numpy(its["w"]), nnx.to_numpy(model["w"]))
            assert number(twin.loss_scale.scale) == number(optimizer.loss_scale.scale)
    assert len({id(each.loss_scale) for each in (optimizer, *twins)}) == 1 + len(twins)


def test_states_with_and_without(arrays, on):
    model, g = arrays("cpu", {"w": np.zeros(2, np.float32)}), on("cpu", {"w": np.ones(2, np.float32)})
    plain, scaled = nnx.optim.SGD(0.1), asked(nnx.optim.SGD(0.1, loss_scale=LossScale(4.0, interval=1)))
    scaled.update(model, g)
    with pytest.raises(nnx.StateError, match="has none: make it with loss_scale=nnx.optim.LossScale"):
        plain.load(scaled.state)
    plain.update(arrays("cpu", {"w": np.zeros(2, np.float32)}), g)
    assert scaled.loss_scale.scale == 8.0
    scaled.load(plain.state)
    assert scaled.loss_scale.scale == 4.0
    scaled.load({})
    assert scaled.state == {}
    with pytest.raises(nnx.StateError, match="has scale and good; got scale"):
        scaled.load({**plain.state, "loss_scale.scale": np.float32(1)})


def test_gradients_that_were_not_multiplied_are_refused(arrays, on):
    """They would be divided by the scale all the same, and the model would hardly learn, in silence."""
    model, g = arrays("cpu", {"w": np.ones(2, np.float32)}), on("cpu", {"w": np.ones(2, np.float32)})
    optimizer = nnx.optim.SGD(0.1, momentum=0.9, loss_scale=LossScale())
    with pytest.raises(nnx.StateError, match="no gradients were made with it.*loss_scale=optimizer.loss_scale"):
        optimizer.update(model, g)
    np.testing.assert_array_equal(nnx.to_numpy(model["w"]), 1)
    layer = nnx.Linear(2, 1)
    nnx.grad(lambda m: nnx.losses.mse(m.weight, 0 * m.weight), loss_scale=optimizer.loss_scale)(layer)
    optimizer.load({})
    optimizer.update(model, on("cpu", {"w": np.full(2, 2**15, np.float32)}))
    np.testing.assert_allclose(nnx.to_numpy(model["w"]), 0.9, rtol=1e-6)


def test_a_scale_is_that_of_one_optimiser(arrays, on):
    """The first update may change what the second would divide by."""
    scale, g = LossScale(4.0, interval=1), on("cpu", {"w": np.full(2, 4, np.float32)})
    one, other = (asked(nnx.optim.SGD(0.1, loss_scale=scale)) for _ in range(2))
    first, second = (arrays("cpu", {"w": np.ones(2, np.float32)}) for _ in range(2))
    one.update(first, g)
    with pytest.raises(nnx.StateError, match="that of another optimiser.*LossScale\\(\\) of its own"):
        other.update(second, g)
    np.testing.assert_array_equal(nnx.to_numpy(second["w"]), 1)
    assert number(scale.scale) == 8.0
    copy.deepcopy(one).update(second, g)  # a copy has a copy of the scale
    del one
    other.update(first, g)  # nobody else has it any more
    assert number(scale.scale) == 16.0


def test_state_of_another_backend(flags, arrays, on):
    first = asked(nnx.optim.SGD(0.1, loss_scale=LossScale(4.0, interval=1)))
    first.update(arrays("cpu", {"w": np.zeros(2, np.float32)}), on("cpu", {"w": np.ones(2, np.float32)}))
    for flag in flags:
        second = asked(nnx.optim.SGD(0.1, loss_scale=LossScale()))
        second.load(first.state)
        model = arrays(flag, {"w": np.zeros(2, np.float32)})
        second.update(model, on(flag, {"w": np.full(2, 8, np.float32)}))
        np.testing.assert_allclose(nnx.to_numpy(model["w"]), -0.1, rtol=1e-6)
        assert nnx.backend.device_of(second.loss_scale.scale) == nnx.backend.device(flag)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": 0.0}, "the initial loss scale must be a finite number greater than 0"),
        ({"initial": float("inf")}, "the initial loss scale must be a finite number"),
        ({"growth": 0.5}, "grows by a factor of at least 1"),
        ({"backoff": 1.0}, "shrinks by one less than 1"),
        ({"backoff": 0.0}, "backoff must be a finite number greater than 0"),
        ({"interval": 0}, "interval must be a whole number of at least 1"),
        ({"initial": 1.0, "smallest": 2.0}, "the initial loss scale is at least the smallest"),
    ],
)
def test_arguments(options, message):
    with pytest.raises(nnx.ArgumentError, match=message):
        LossScale(**options)


@pytest.mark.parametrize("scale", [1024.0, LossScale, "dynamic"])
def test_an_optimizer_takes_a_loss_scale_alone(scale):
    with pytest.raises(nnx.ArgumentError, match=r"loss_scale is an nnx\.optim\.LossScale"):
        nnx.optim.Adam(1e-3, loss_scale=scale)


def test_text():
    assert repr(LossScale()) == "LossScale(32768, growth=2, backoff=0.5, interval=2000, smallest=1)"
