"""Layout, state and errors, which all optimisers share."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.backend import device_of

MAKERS = {
    "sgd": lambda **options: nnx.optim.SGD(0.1, **options),
    "momentum": lambda **options: nnx.optim.SGD(0.1, momentum=0.9, nesterov=True, **options),
    "adam": lambda **options: nnx.optim.Adam(0.1, **options),
    "adamw": lambda **options: nnx.optim.AdamW(0.1, **options),
}
SHAPES = {"a": (3, 2), "b": (2,), "c": ()}


def draw(seed, dtype="float32", shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def host(arrays):
    return {name: nnx.to_numpy(a) for name, a in arrays.items()}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


class Net(nnx.Module):
    weight: nnx.Parameter
    gain: nnx.Parameter

    def __init__(self, device):
        self.weight = nnx.init.normal((3, 2), device=device, rng=nnx.Generator(0))
        self.gain = nnx.asarray(np.asarray(2.0, "float32"), device=device)

    def __call__(self, x):
        return self.gain * nnx.ops.linear(x, self.weight)


# --- the layout -----------------------------------------------------------------------------------


def test_a_module_learns(flag, make):
    model, optimizer = Net(flag), make()
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    y = x @ np.asarray([[1.0, -2.0], [0.5, 1.0], [-1.0, 3.0]], "float32")
    batch = nnx.asarray(x, device=flag), nnx.asarray(y, device=flag)
    step = nnx.value_and_grad(lambda model, x, y: nnx.losses.mse(model(x), y))
    losses = []

    for _ in range(20):
        loss, grads = step(model, *batch)
        losses.append(float(nnx.to_numpy(loss)))
        optimizer.update(model, grads)

    assert losses[-1] < 0.5 * losses[0]


def test_dtype_shape_library_and_device_stay(arrays, on, flag, make):
    model, optimizer = arrays(flag, draw(0)), make(clip_norm=1.0)
    before = {name: (a.shape, a.dtype, type(a), device_of(a)) for name, a in on(flag, draw(0)).items()}

    for seed in range(3):
        optimizer.update(model, on(flag, draw(seed)))

    assert {name: (a.shape, a.dtype, type(a), device_of(a)) for name, a in model.parameters().items()} == before


def test_where_there_are_views_the_model_is_bound_once_and_its_arrays_change(arrays, on, flag, make):
    model, optimizer = arrays(flag, draw(0)), make()
    if not device_of(model["a"]).backend.views:
        pytest.skip("the library has no views")
    optimizer.update(model, on(flag, draw(1)))
    bound, before = model.parameters(), host(model.parameters())

    optimizer.update(model, on(flag, draw(2)))

    assert model.rebound == 1
    for name, array in model.parameters().items():
        assert array is bound[name]
        assert np.all(nnx.to_numpy(array) != before[name])


def test_arrays_of_before_the_first_update_are_left_alone(arrays, on, flag, make):
    model, optimizer = arrays(flag, draw(0)), make()
    first = model.parameters()
    optimizer.update(model, on(flag, draw(1)))
    optimizer.update(model, on(flag, draw(2)))

    assert_equal(host(first), draw(0))


def test_gradients_are_left_alone(arrays, on, flag, make):
    model, optimizer = arrays(flag, draw(0)), make(clip_norm=0.1)
    grads = on(flag, draw(1))
    for _ in range(2):
        optimizer.update(model, grads)

    assert_equal(host(grads), draw(1))


def test_arrays_that_are_loaded_between_updates_are_taken_over(arrays, on, flag):
    model, optimizer = arrays(flag, draw(0)), nnx.optim.SGD(0.5)
    grads = draw(1)
    optimizer.update(model, on(flag, grads))
    loaded = draw(2)
    other = nnx.to_numpy(model["c"])
    mine = on(flag, {"a": loaded["a"], "b": loaded["b"]})
    model._rebind(mine)

    optimizer.update(model, on(flag, grads))

    for name, expected in {"a": loaded["a"], "b": loaded["b"], "c": other}.items():
        np.testing.assert_allclose(nnx.to_numpy(model[name]), expected - 0.5 * grads[name], rtol=1e-6)
    assert_equal(host(mine), {name: loaded[name] for name in mine})


def test_arrays_that_changed_places_are_taken_over(arrays, on, flag):
    start = draw(0, shapes={"a": (4,), "b": (4,), "c": (4,)})
    model, optimizer = arrays(flag, start), nnx.optim.SGD(0.5)
    zeros = {name: 0 * a for name, a in start.items()}
    optimizer.update(model, on(flag, zeros))
    xp = nnx.namespace_of(model["a"])
    model._rebind({"a": model["b"], "b": model["a"], "c": xp.flip(model["c"])})

    optimizer.update(model, on(flag, zeros))

    assert_equal(host(model.parameters()), {"a": start["b"], "b": start["a"], "c": start["c"][::-1]})


def test_two_optimisers_may_take_turns(arrays, on, flag):
    model = arrays(flag, draw(0))
    expected = draw(0)
    optimizers = nnx.optim.SGD(0.5), nnx.optim.SGD(0.25)

    for turn in range(4):
        optimizers[turn % 2].update(model, on(flag, draw(turn)))
        for name, g in draw(turn).items():
            expected[name] = expected[name] - np.float32((0.5, 0.25)[turn % 2]) * g

    for name, array in host(model.parameters()).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_two_dtypes_are_two_buffers_that_do_not_mix(arrays, on, flag, make, clip):
    start = draw(0) | draw(1, "float64", {"d": (4,), "e": (2, 2)})
    order = ["a", "d", "b", "e", "c"]
    start = {name: start[name] for name in order}
    model, optimizer = arrays(flag, start), make(clip_norm=clip)
    wide, reference = arrays(flag, {k: a.astype("float64") for k, a in start.items()}), make(clip_norm=clip)

    for seed in range(3):
        grads = draw(seed, "float64", {name: start[name].shape for name in order})
        grads = {name: g.astype("float32").astype("float64") for name, g in grads.items()}
        optimizer.update(model, on(flag, {k: g.astype(start[k].dtype) for k, g in grads.items()}))
        reference.update(wide, on(flag, grads))

    found = host(model.parameters())
    assert {name: a.dtype for name, a in found.items()} == {name: a.dtype for name, a in start.items()}
    for name, expected in host(wide.parameters()).items():
        tolerance = 1e-5 if start[name].dtype == "float32" or clip else 1e-14
        np.testing.assert_allclose(found[name], expected, rtol=tolerance, atol=tolerance, err_msg=name)


@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=6),
    name=st.sampled_from(sorted(MAKERS)),
    seed=st.integers(0, 2**16),
)
def test_any_shapes(shapes, name, seed):
    """All parameters in one buffer change as each would alone."""
    shapes = {f"p{i}": shape for i, shape in enumerate(shapes)}
    cases = {"all": shapes, **{key: {key: shape} for key, shape in shapes.items()}}
    start, grads = draw(seed, shapes=shapes), [draw(seed + k, shapes=shapes) for k in (1, 2)]
    found = {}
    for case, names in cases.items():
        model = Bag({key: start[key].copy() for key in names})
        optimizer = MAKERS[name]()
        for each in grads:
            optimizer.update(model, {key: each[key] for key in names})
        found[case] = model.bound

    for key in shapes:
        assert found["all"][key].shape == shapes[key]
        np.testing.assert_array_equal(found["all"][key], found[key][key])


class Bag:
    """A model that is nothing but named arrays; hypothesis asks for no fixtures."""

    def __init__(self, arrays):
        self.bound = arrays

    def parameters(self):
        return dict(self.bound)

    def _rebind(self, arrays):
        self.bound.update(arrays)


# --- state ----------------------------------------------------------------------------------------


def test_state_holds_the_step_and_an_array_for_each_slot_and_dtype(arrays, on, flag):
    start = draw(0) | draw(1, "float64", {"d": (4,)})
    model, optimizer = arrays(flag, start), nnx.optim.Adam(0.1)
    assert optimizer.state == {}

    for _ in range(3):
        optimizer.update(model, on(flag, start))

    state = host(optimizer.state)
    assert {name: (a.shape, str(a.dtype)) for name, a in state.items()} == {
        "step": ((), "int32"),
        "gradient_sum.float32": ((9,), "float32"),
        "square_sum.float32": ((9,), "float32"),
        "gradient_sum.float64": ((4,), "float64"),
        "square_sum.float64": ((4,), "float64"),
    }
    assert state["step"] == 3
    assert {device_of(a) for a in optimizer.state.values()} == {nnx.device(flag)}


def test_state_is_a_copy(arrays, on, flag, make):
    model, optimizer = arrays(flag, draw(0)), make()
    optimizer.update(model, on(flag, draw(1)))
    state = optimizer.state
    before = host(state)

    optimizer.update(model, on(flag, draw(2)))

    assert_equal(host(state), before)


@pytest.mark.parametrize("by", ["arrays", "host arrays", "pickle", "deepcopy"])
def test_training_goes_on_from_a_state_as_if_nothing_had_been(arrays, on, flag, make, by):
    model, optimizer = arrays(flag, draw(0)), make(clip_norm=1.0)
    for seed in range(3):
        optimizer.update(model, on(flag, draw(seed)))
    again = arrays(flag, host(model.parameters()))
    if by == "pickle" and device_of(model["a"]).backend.name in ("strict",):
        pytest.skip("arrays of this library cannot be pickled")
    if by == "pickle":
        resumed = pickle.loads(pickle.dumps(optimizer))
    elif by == "deepcopy":
        again, resumed = copy.deepcopy((model, optimizer))
    else:
        resumed = make(clip_norm=1.0)
        resumed.load(optimizer.state if by == "arrays" else host(optimizer.state))
    resumed_state = host(resumed.state)
    assert_equal(resumed_state, host(optimizer.state))

    for seed in range(3, 6):
        optimizer.update(model, on(flag, draw(seed)))
        resumed.update(again, on(flag, draw(seed)))

    assert_equal(host(again.parameters()), host(model.parameters()))
    assert_equal(host(resumed.state), host(optimizer.state))


def test_loaded_arrays_are_left_alone(arrays, on, flag, make):
    model, optimizer = arrays(flag, draw(0)), make()
    optimizer.update(model, on(flag, draw(1)))
    state = optimizer.state
    before = host(state)
    optimizer.load(state)

    optimizer.update(model, on(flag, draw(2)))

    assert_equal(host(state), before)


def test_an_empty_state_starts_anew(arrays, on, flag, make):
    model, optimizer = arrays(flag, draw(0)), make()
    optimizer.update(model, on(flag, draw(1)))
    optimizer.load({})
    fresh, again = make(), arrays(flag, host(model.parameters()))

    optimizer.update(model, on(flag, draw(2)))
    fresh.update(again, on(flag, draw(2)))

    assert_equal(host(model.parameters()), host(again.parameters()))


def test_the_state_moves_with_the_model(flag, make):
    model, optimizer = Net("cpu"), make()
    stay, reference = Net("cpu"), make()
    grads = {"weight": np.ones((3, 2), "float32"), "gain": np.asarray(-1.0, "float32")}
    optimizer.update(model, grads)
    reference.update(stay, grads)
    moved = {name: nnx.asarray(g, device=flag) for name, g in grads.items()}
    model.to(flag)
    if nnx.device(flag) != nnx.device("cpu"):
        with pytest.raises(nnx.StateError, match=r"optimizer\.load\(optimizer\.state\)"):
            optimizer.update(model, moved)
    optimizer.load(optimizer.state)

    optimizer.update(model, moved)
    reference.update(stay, grads)

    for name, array in host(model.parameters()).items():
        np.testing.assert_allclose(array, nnx.to_numpy(stay.parameters()[name]), rtol=1e-5)
    assert nnx.to_numpy(optimizer.state["step"]) == 2


def test_the_rate_follows_the_schedule(arrays, on, flag):
    schedule = nnx.optim.schedules.cosine(1.0, 4)
    start = {"w": np.zeros(1, "float32")}
    model, optimizer = arrays(flag, start), nnx.optim.SGD(schedule)
    assert optimizer.rate == 1.0
    rates, values = [], [0.0]

    for _ in range(5):
        rates.append(float(nnx.to_numpy(nnx.asarray(optimizer.rate))))
        optimizer.update(model, on(flag, {"w": -np.ones(1, "float32")}))
        values.append(float(nnx.to_numpy(model["w"])[0]))

    expected = [0.5 * (1 + np.cos(np.pi * t / 4)) for t in range(5)]
    np.testing.assert_allclose(rates, expected, atol=1e-7)
    np.testing.assert_allclose(np.diff(values), expected, atol=3e-7)
    resumed = nnx.optim.SGD(schedule)
    resumed.load({"step": np.int32(2)})
    np.testing.assert_allclose(resumed.rate, 0.5)


def test_a_schedule_of_ones_own_gets_a_step_in_the_parameters_dtype(arrays, on, flag):
    seen = []

    def schedule(step):
        seen.append(step)
        return 0.5 / (1 + step)

    start = {"w": np.zeros(2, "float64")}
    model, optimizer = arrays(flag, start), nnx.optim.SGD(schedule)
    for _ in range(3):
        optimizer.update(model, on(flag, {"w": -np.ones(2)}))

    assert [float(nnx.to_numpy(step)) for step in seen] == [0, 1, 2]
    assert {str(nnx.to_numpy(step).dtype) for step in seen} == {"float64"}
    np.testing.assert_allclose(nnx.to_numpy(model["w"]), 0.5 * (1 + 1 / 2 + 1 / 3), rtol=1e-15)


def test_a_step_is_a_function_of_arrays():
    """A whole update, state and all, can be traced by a compiler: nothing reads a value."""
    jax = pytest.importorskip("jax")

    def step(parameters, grads, state):
        model = Bag(parameters)
        optimizer = nnx.optim.AdamW(nnx.optim.schedules.warmup(2, 0.1), clip_norm=1.0)
        optimizer.load(state)
        optimizer.update(model, grads)
        return model.bound, optimizer.state

    def jax_arrays(seed):
        return {name: nnx.asarray(a, device="jax") for name, a in draw(seed).items()}

    model, optimizer = Bag(jax_arrays(0)), nnx.optim.AdamW(nnx.optim.schedules.warmup(2, 0.1), clip_norm=1.0)
    optimizer.update(model, jax_arrays(1))
    parameters, state, compiled = model.bound.copy(), optimizer.state, jax.jit(step)

    for seed in (2, 3, 4):
        parameters, state = compiled(parameters, jax_arrays(seed), state)
        optimizer.update(model, jax_arrays(seed))

    assert compiled._cache_size() == 1
    assert state["step"] == 4
    for name, array in parameters.items():
        np.testing.assert_allclose(array, model.bound[name], rtol=1e-5, atol=1e-6)


# --- bad input ------------------------------------------------------------------------------------


def fails_and_changes_nothing(optimizer, model, grads, error, match):
    before, state = host(model.parameters()), host(optimizer.state)
    with pytest.raises(error, match=match):
        optimizer.update(model, grads)
    assert_equal(host(model.parameters()), before)
    assert_equal(host(optimizer.state), state)


@pytest.mark.parametrize("updates", [0, 1])
@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"b": None}, nnx.StateError, "missing: b"),
        ({"z": np.ones(1, "float32")}, nnx.StateError, "unknown: z"),
        ({"b": np.ones(3, "float32")}, nnx.ShapeError, r"gradient of b must have shape \(2,\).*\(3,\)"),
        ({"b": np.ones((1, 2), "float32")}, nnx.ShapeError, r"\(1, 2\)"),
        ({"b": np.ones(2, "float64")}, nnx.DTypeError, "gradient of b.*float32.*float64"),
        ({"c": np.asarray(1, "int32")}, nnx.DTypeError, "gradient of c.*float32.*int32"),
    ],
)
def test_gradients_that_do_not_fit(arrays, on, flag, updates, change, error, match):
    model, optimizer = arrays(flag, draw(0)), nnx.optim.Adam(0.1)
    for _ in range(updates):
        optimizer.update(model, on(flag, draw(1)))
    grads = on(flag, draw(1)) | {name: a if a is None else on(flag, {name: a})[name] for name, a in change.items()}
    grads = {name: g for name, g in grads.items() if g is not None}
    with pytest.raises(error, match=match):
        optimizer.update(model, grads)
    if updates:
        fails_and_changes_nothing(optimizer, model, grads, error, match)


def test_a_gradient_that_is_no_array(arrays, on, flag):
    model, optimizer = arrays(flag, draw(0)), nnx.optim.Adam(0.1)
    with pytest.raises(nnx.ShapeError, match=r"gradient of c.*a float"):
        optimizer.update(model, on(flag, draw(0)) | {"c": 1.0})


def test_gradients_of_another_library(arrays, on):
    pytest.importorskip("array_api_strict")
    model, optimizer = arrays("cpu", draw(0)), nnx.optim.Adam(0.1)
    optimizer.update(model, on("cpu", draw(0)))
    fails_and_changes_nothing(optimizer, model, on("strict", draw(0)), nnx.MixedLibrariesError, "two libraries")


def test_tracked_gradients(arrays, on, flag):
    model, optimizer = arrays(flag, draw(0)), nnx.optim.SGD(0.1)
    grads = on(flag, draw(1))

    def inside(c):
        optimizer.update(model, grads | {"c": c * 1.0})
        return c

    with pytest.raises(nnx.StateError, match="outside the function that is differentiated"):
        nnx.grad(inside)(grads["c"])


def test_another_model(arrays, on, flag, make):
    model, other, optimizer = arrays(flag, draw(0)), arrays(flag, draw(5)), make()
    optimizer.update(model, on(flag, draw(1)))
    fails_and_changes_nothing(optimizer, other, on(flag, draw(1)), nnx.StateError, "another model")


def test_parameters_that_are_frozen_after_the_first_update(flag, make):
    model, optimizer = Net(flag), make()
    grads = {name: 0 * a + 1 for name, a in model.parameters().items()}
    optimizer.update(model, grads)
    model.freeze("gain")
    fails_and_changes_nothing(
        optimizer, model, {"weight": grads["weight"]}, nnx.StateError, "gone: gain.*new optimiser"
    )


@pytest.mark.parametrize("to", [np.zeros(5, "float32"), np.zeros(2, "float64")])
def test_parameters_whose_shape_or_dtype_has_changed(arrays, on, flag, to):
    model, optimizer = arrays(flag, draw(0)), nnx.optim.Adam(0.1)
    optimizer.update(model, on(flag, draw(1)))
    model._rebind(on(flag, {"b": to}))
    grads = on(flag, draw(1) | {"b": to})
    fails_and_changes_nothing(optimizer, model, grads, nnx.StateError, "b had shape .* now: make a new optimiser")


def test_nothing_to_train(flag):
    model = Net(flag).freeze()
    with pytest.raises(nnx.StateError, match="no parameters to train"):
        nnx.optim.Adam(0.1).update(model, {})


def test_parameters_that_are_no_floats(arrays, on, flag):
    host = {"w": np.ones(2, "float32"), "count": np.ones(3, "int32")}
    with pytest.raises(nnx.DTypeError, match=r"count has dtype .*int32.*nnx\.Buffer"):
        nnx.optim.SGD(0.1).update(arrays(flag, host), on(flag, host))


def test_state_of_another_kind_of_optimiser(arrays, on, flag):
    model, optimizer = arrays(flag, draw(0)), nnx.optim.Adam(0.1)
    optimizer.update(model, on(flag, draw(1)))
    with pytest.raises(nnx.StateError, match="the state of SGD has step, velocity; got gradient_sum, square_sum, step"):
        nnx.optim.SGD(0.1, momentum=0.9).load(optimizer.state)
    with pytest.raises(nnx.StateError, match="got velocity"):
        nnx.optim.SGD(0.1, momentum=0.9).load({"velocity.float32": np.zeros(9, "float32")})


@pytest.mark.parametrize(
    ("state", "match"),
    [
        (
            {"step": np.int32(1), "velocity.float64": np.zeros(9)},
            r"needs step, velocity\.float32; got step, velocity\.float64",
        ),
        ({"step": np.int32(1), "velocity.float32": np.zeros(8, "float32")}, r"shape \(9,\).*got \(8,\)"),
        ({"step": np.int32(1), "velocity.float32": np.zeros(9)}, r"float32.*got \(9,\) and .*float64"),
    ],
)
def test_state_of_another_model(arrays, on, flag, state, match):
    model, optimizer = arrays(flag, draw(0)), nnx.optim.SGD(0.1, momentum=0.9)
    optimizer.load(state)
    with pytest.raises(nnx.StateError, match=match):
        optimizer.update(model, on(flag, draw(1)))
    assert_equal(host(model.parameters()), draw(0))


BAD = [0, 0.0, -0.1, float("nan"), float("inf"), "fast", None, True, 1j]


@pytest.mark.parametrize("rate", BAD)
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_bad_rates(kind, rate):
    with pytest.raises(nnx.ArgumentError, match="rate must be"):
        getattr(nnx.optim, kind)(rate)


@pytest.mark.parametrize(
    "call",
    [
        lambda: nnx.optim.SGD(0.1, momentum=1.0),
        lambda: nnx.optim.SGD(0.1, momentum=-0.1),
        lambda: nnx.optim.SGD(0.1, momentum=float("nan")),
        lambda: nnx.optim.SGD(0.1, nesterov=True),
        lambda: nnx.optim.SGD(0.1, weight_decay=-1.0),
        lambda: nnx.optim.SGD(0.1, clip_norm=0.0),
        lambda: nnx.optim.SGD(0.1, clip_norm=float("nan")),
        lambda: nnx.optim.Adam(0.1, betas=(1.0, 0.9)),
        lambda: nnx.optim.Adam(0.1, betas=(0.9, -0.1)),
        lambda: nnx.optim.Adam(0.1, betas=0.9),
        lambda: nnx.optim.Adam(0.1, betas=(0.9, 0.99, 0.999)),
        lambda: nnx.optim.Adam(0.1, eps=0.0),
        lambda: nnx.optim.Adam(0.1, weight_decay=float("inf")),
        lambda: nnx.optim.AdamW(0.1, weight_decay=-0.1),
        lambda: nnx.optim.AdamW(0.1, clip_norm=-1.0),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(nnx.ArgumentError, match=r"must be|needs"):
        call()


def test_numbers_of_numpy_do_not_widen(arrays, on, flag, make):
    model = arrays(flag, draw(0))
    optimizer = nnx.optim.AdamW(np.float64(0.1), betas=(np.float64(0.9), np.float64(0.99)), clip_norm=np.float64(1.0))
    optimizer.update(model, on(flag, draw(1)))
    assert {str(a.dtype) for a in host(model.parameters()).values()} == {"float32"}


def test_an_optimiser_without_a_rule_says_what_to_write(arrays, on, flag):
    with pytest.raises(NotImplementedError, match="Optimizer has no update rule: write _advance"):
        nnx.optim.Optimizer(0.1).update(arrays(flag, draw(0)), on(flag, draw(1)))
