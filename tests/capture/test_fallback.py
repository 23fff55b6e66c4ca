"""What cannot be captured is run plainly, with a warning, and is right."""

from __future__ import annotations

import collections

import numpy as np
import pytest

import nnx

X = np.arange(6, dtype="float32").reshape(2, 3)


def assert_plain(step, *args, match, calls=4):
    """A captured step warns once, and answers what the step does."""
    captured = nnx.capture(step)
    found = [captured(*args)]
    with pytest.warns(UserWarning, match=match) as caught:
        found.append(captured(*args))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    found += [captured(*args) for _ in range(calls - 2)]
    for y in found:
        np.testing.assert_array_equal(y, step(*args))
        assert type(y) is type(step(*args))
    assert captured.replays == 0


def if_positive(x):
    return x + 1 if nnx.namespace_of(x).sum(x) > 0 else x - 1


def masked(x):
    return x[x > 2]


def of_values(x):
    return nnx.namespace_of(x).unique_values(x)


def own_method(x):
    return x.astype("float64")


def drawn(x):
    return x + nnx.Generator(0).uniform((3,)).astype("float32")


def on_the_host(x):
    return nnx.to_numpy(x) * 2


def written(x):
    y = np.zeros((2, 3), "float32")
    np.add(x, x, out=y)
    return y


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda x: x * float(x[0, 0]), "float"),
        (lambda x: x * int(x[0, 1]), "int"),
        (lambda x: X[x[0, 1].astype("int64"), :] if isinstance(x, np.ndarray) else X[int(x[0, 1]), :], "int"),
        (if_positive, "bool.*test_fallback.py:.*in if_positive"),
        (masked, "boolean mask"),
        (of_values, "unique_values"),
        (own_method, "astype"),
        (drawn, "Generator"),
        (on_the_host, "host"),
        (written, "add.*writes"),
        (lambda x: X + 0 * float(1), "made of nothing"),
        (lambda x: x.tolist(), "tolist"),
        (lambda x: x * len(f"{x[1, 2]:.1f}"), "string"),
        (lambda x: x + np.ones(3, "float32"), "neither given .* nor found"),
        (lambda x: x + X[0], "neither given .* nor found"),
    ],
)
def test_reads_on_the_host(step, reason):
    assert_plain(step, X, match=reason)


def test_the_step_that_falls_back_is_done_once(make_pair):
    def step(model, optimizer, x, y):
        loss, grads = nnx.value_and_grad(lambda model: nnx.losses.cross_entropy(model(x), y))(model)
        optimizer.update(model, grads)
        return loss if float(loss) > 0 else loss + 1

    pair = make_pair(step, layers=[nnx.BatchNorm(8)])
    pair.steps(1)
    with pytest.warns(UserWarning, match="float"):
        pair.steps(1)
    assert pair.steps(3) == 0


def test_a_model_that_is_not_found():
    hidden = collections.deque([nnx.Linear(3, 2), nnx.optim.SGD(0.01)])
    value_and_grad = nnx.value_and_grad(lambda model, x: nnx.losses.mse(model(x), x[:, :2]))

    def step(x):
        loss, grads = value_and_grad(hidden[0], x)
        hidden[1].update(hidden[0], grads)
        return loss

    def of_constants(_):
        return step(X)

    for f in (step, of_constants):
        captured = nnx.capture(f)
        losses = [captured(X)]
        with pytest.warns(UserWarning, match="a model that is differentiated was not found"):
            losses.append(captured(X))
        losses.append(captured(X))
        assert losses[0] > losses[1] > losses[2]


def test_a_model_that_only_predicts_and_is_not_found():
    hidden = collections.deque([nnx.Linear(3, 2)])
    model = hidden[0]
    captured = nnx.capture(lambda x: hidden[0](x))
    captured(X)
    with pytest.warns(UserWarning, match="a model that was not found"):
        captured(X)
    model.load({name: a + 1 for name, a in model.arrays().items()})
    np.testing.assert_array_equal(captured(X), model(X))


def test_arrays_made_of_numbers_are_constants():
    captured = nnx.capture(lambda x: x * nnx.asarray([1.0, 2.0, 3.0]))
    for _ in range(4):
        np.testing.assert_array_equal(captured(X), X * np.array([1, 2, 3], "float32"))
    assert captured.replays == 1


def add_in_place(totals, x):
    totals["a"] += x


def add(totals, x):
    totals["a"] = totals["a"] + x


def add_another(totals, x):
    totals["b"] = x + 1


@pytest.mark.parametrize(
    ("keep", "reason"), [(add_in_place, "writes to an array"), (add, "'a'.* keeps"), (add_another, "'b'.* keeps")]
)
def test_arrays_that_are_kept_where_the_step_can_be_seen_to(keep, reason):
    totals, twins = {"a": np.zeros((2, 3), "float32")}, {"a": np.zeros((2, 3), "float32")}

    def step(x):
        keep(totals, x)
        return x * 1

    captured = nnx.capture(step)
    for i in range(4):
        if i == 1:
            with pytest.warns(UserWarning, match=reason):
                captured(X)
        else:
            captured(X)
        keep(twins, X)
        assert totals.keys() == twins.keys()
        for name, array in totals.items():
            assert type(array) is np.ndarray
            np.testing.assert_array_equal(array, twins[name])


def test_arrays_that_are_kept_in_variables_attributes_and_lists():
    class Holder:
        last = None

    total, holder, seen = np.float32(0), Holder(), []
    holder.last = np.float32(0)

    def step(x):
        nonlocal total
        total = total + x[0, 1]
        holder.last = x[0, 2]
        seen.append(x[0, 2])
        return x * 1

    captured = nnx.capture(step)
    captured(X)
    with pytest.warns(UserWarning, match="'total', which the step reaches, keeps an array"):
        captured(X)
    captured(X)
    assert (total, holder.last, seen) == (3, 2, [2, 2, 2])
    assert all(type(value) is np.float32 for value in (total, holder.last, *seen))


def test_arguments_that_are_lists_or_dicts_and_are_changed(device, make):
    def step(state):
        state["x"] = state["x"] + 1
        return state["x"] * 2

    captured, state = nnx.capture(step), {"x": make(X)}
    captured(state)
    if device.backend.capture is not None:
        with pytest.warns(UserWarning, match="changes a list or a dict among its arguments"):
            captured(state)
    captured(state)
    np.testing.assert_array_equal(nnx.to_numpy(state["x"]), X + (3 if device.backend.capture is not None else 2))


def test_an_optimiser_that_is_not_found():
    model, hidden = nnx.Linear(3, 2), collections.deque([nnx.optim.SGD(0.1)])
    grads = {name: np.ones_like(a) for name, a in model.parameters().items()}

    def step(x):
        hidden[0].update(model, grads)
        return model(x)

    captured = nnx.capture(step)
    before = model.weight.copy()
    captured(X)
    with pytest.warns(UserWarning, match="optimiser was not found"):
        captured(X)
    captured(X)
    np.testing.assert_allclose(model.weight, before - 0.3, rtol=1e-6)


def test_errors_while_recording_leave_all_as_it_was(pair):
    pair.steps(1)
    x, y = pair.batch()
    wrong = y.copy()
    wrong[3] = 7
    state = pair.optimizer.state
    for labels in (wrong, wrong, wrong):
        with pytest.raises(nnx.LabelError):
            pair.captured(pair.model, pair.optimizer, x, labels)
        pair.agree()
        assert pair.optimizer.state["step"] == state["step"]
    assert pair.steps(4) >= 2
    for labels in (wrong, wrong, wrong):  # while it is replayed
        with pytest.raises(nnx.LabelError):
            pair.captured(pair.model, pair.optimizer, x, labels)
        pair.agree()
    assert pair.steps(3) == 3


def test_an_interrupt_while_recording(make_pair):
    stop = []

    def step(model, optimizer, x, y):
        loss, grads = nnx.value_and_grad(lambda model: nnx.losses.cross_entropy(model(x), y))(model)
        optimizer.update(model, grads)
        if stop:
            stop.clear()
            raise KeyboardInterrupt
        return loss

    pair = make_pair(step)
    pair.steps(1)
    stop.append(1)
    with pytest.raises(KeyboardInterrupt):
        pair.captured(pair.model, pair.optimizer, *pair.batch())
    pair.agree()
    assert pair.steps(4) >= 2


def test_what_a_step_keeps_elsewhere_cannot_be_used():
    kept = collections.deque()  # into which nobody looks

    @nnx.capture
    def step(x):
        kept.append(x + 1)
        return x * 2

    for _ in range(4):
        np.testing.assert_array_equal(step(X), X * 2)
    assert len(kept) == 3
    np.testing.assert_array_equal(kept[0], X + 1)
    for use in (lambda a: a + 1, lambda a: float(a[0, 0]), lambda a: a[0], np.asarray, nnx.relu):
        with pytest.raises(nnx.StateError, match="Have the step answer it"):
            use(kept[1])


def test_an_attribute_of_a_model_that_is_kept():
    class Layer(nnx.Module):
        seen: nnx.Buffer

        def __init__(self):
            self.seen = None

        def __call__(self, x):
            return x

    model = Layer()

    def step(x):
        model.seen = x + 1
        return x

    captured = nnx.capture(step)
    for i in range(4):
        captured(X + i)
        np.testing.assert_array_equal(model.seen, X + i + 1)
    assert captured.replays == 1


def test_signatures_without_end():
    captured = nnx.capture(lambda x, n: x * n)
    calls = [n for n in range(30) for _ in range(4)]
    with pytest.warns(UserWarning, match="more than 16 signatures") as caught:
        found = [captured(X, n) for n in calls]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(found, [X * n for n in calls])
    assert captured.replays == 16


def test_something_that_changes_from_call_to_call():
    count = 0

    def step(x):
        nonlocal count
        count += 1
        return x * count

    captured = nnx.capture(step)
    with pytest.warns(UserWarning, match="changes from call to call") as caught:
        found = [captured(X) for _ in range(60)]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(found, [X * n for n in range(1, 61)])


def test_lbfgs_runs_plainly():
    model, twin = nnx.Linear(3, 2, rng=nnx.Generator(0)), nnx.Linear(3, 2, rng=nnx.Generator(0))

    def step(model, x):
        found = nnx.optim.LBFGS().minimize(lambda model: nnx.losses.mse(model(x), x[:, :2]), model, steps=2)
        return found.value

    captured = nnx.capture(step)
    assert captured(model, X) == step(twin, X)
    with pytest.warns(UserWarning, match="runs .* plainly"):
        assert captured(model, X) == step(twin, X)
    np.testing.assert_array_equal(model.weight, twin.weight)


def test_a_step_is_a_function():
    with pytest.raises(nnx.ArgumentError, match="a step is a function"):
        nnx.capture(3)
