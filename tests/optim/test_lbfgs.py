"""L-BFGS: the minima of SciPy and torch, on every backend, and what happens where there is none."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.optim import LBFGS
from nnx.regularizers import l2


class Vector(nnx.Module):
    """A model that is one vector."""

    x: nnx.Parameter

    def __init__(self, values, flag="cpu", dtype="float64"):
        self.x = nnx.asarray(np.array(values), device=flag, dtype=dtype)


def rosenbrock(model):
    x = model.x
    xp = nnx.namespace_of(x)
    return xp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


START = np.tile([-1.2, 1.0], 3)


def quadratic(scales, minimum):
    def loss(model):
        x = model.x
        xp = nnx.namespace_of(x)
        here = nnx.backend.native_device(x)
        a, b = (xp.asarray(np.asarray(v).tolist(), dtype=x.dtype, device=here) for v in (scales, minimum))
        return 0.5 * xp.sum((x - b) * (x - b) * a)

    return loss


# --- against SciPy and torch ------------------------------------------------------------------


@pytest.mark.parametrize("history", [1, 3, 10])
def test_the_minimum_of_rosenbrock_is_that_of_scipy(history, flag):
    optimize = pytest.importorskip("scipy.optimize")
    options = {"maxcor": history, "gtol": 1e-8, "ftol": 0, "maxiter": 300}
    theirs = optimize.minimize(optimize.rosen, START, jac=optimize.rosen_der, method="L-BFGS-B", options=options)
    model = Vector(START, flag)
    found = LBFGS(history).minimize(rosenbrock, model, steps=300, tolerance=1e-8)
    assert found.converged
    np.testing.assert_allclose(nnx.to_numpy(model.x), np.ones(6), atol=1e-7)
    np.testing.assert_allclose(nnx.to_numpy(model.x), theirs.x, atol=1e-7)
    assert found.evaluations <= 1.5 * theirs.nfev + 5


def test_the_steps_are_about_as_many_as_those_of_torch():
    torch = pytest.importorskip("torch")
    x, count = torch.tensor(START, requires_grad=True), 0
    options = {"tolerance_grad": 1e-8, "tolerance_change": 0, "max_eval": 1000, "line_search_fn": "strong_wolfe"}
    theirs = torch.optim.LBFGS([x], max_iter=300, history_size=10, **options)

    def closure():
        nonlocal count
        count += 1
        theirs.zero_grad()
        loss = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
        loss.backward()
        return loss

    theirs.step(closure)
    model = Vector(START)
    found = LBFGS().minimize(rosenbrock, model, steps=300, tolerance=1e-8)
    np.testing.assert_allclose(model.x, x.detach().numpy(), atol=1e-6)
    assert found.evaluations <= 1.3 * count + 3


@given(
    scales=st.lists(st.floats(1e-2, 1e2), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_quadratics(scales, seed):
    rng = np.random.default_rng(seed)
    minimum, start = rng.uniform(-5, 5, (2, len(scales)))
    model = Vector(start)
    found = LBFGS(history=10).minimize(quadratic(scales, minimum), model, steps=200, tolerance=1e-9)
    assert found.converged
    np.testing.assert_allclose(model.x, minimum, atol=1e-6)


def classes(n=80):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 5))
    return x, np.argmax(x[:, :3] + 0.8 * rng.standard_normal((n, 3)), axis=1)


def test_logistic_regression_is_that_of_scikit_learn(flag):
    """A convex loss of a model with a matrix and a vector: there is one minimum."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = classes()
    theirs = linear_model.LogisticRegression(C=1 / (0.1 * len(x)), tol=1e-10, max_iter=1000).fit(x, y)
    model = nnx.Linear(5, 3, dtype="float64", device=flag, rng=nnx.Generator(0))
    data = nnx.asarray(x, device=flag), nnx.asarray(y, device=flag)

    def loss(model, x, y):
        return nnx.losses.cross_entropy(model(x), y) + l2(0.1)(model)

    found = LBFGS().minimize(loss, model, *data, tolerance=1e-9)
    assert found.converged
    np.testing.assert_allclose(nnx.to_numpy(model.weight).T, theirs.coef_, atol=1e-6)
    bias = nnx.to_numpy(model.bias)
    np.testing.assert_allclose(bias - bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=1e-6)


def test_a_network_is_trained_further_than_by_adam(flag):
    rng = np.random.default_rng(0)
    x = nnx.asarray(rng.uniform(-2, 2, (60, 1)), device=flag, dtype="float32")
    y = nnx.asarray(np.sin(2 * nnx.to_numpy(x)), device=flag)

    def network():
        g = nnx.Generator(0)
        return nnx.Sequential(nnx.Linear(1, 12, rng=g), nnx.tanh, nnx.Linear(12, 1, rng=g)).to(flag)

    def loss(model):
        return nnx.losses.mse(model(x), y)

    model, other = network(), network()
    found = LBFGS().minimize(loss, model, steps=60)
    optimizer, step = nnx.optim.Adam(0.01), nnx.value_and_grad(loss)
    for _ in range(found.evaluations):
        optimizer.update(other, step(other)[1])
    assert float(nnx.to_numpy(loss(model))) < 0.1 * float(nnx.to_numpy(loss(other)))
    assert type(model[0].weight) is type(x)
    assert model[0].weight.dtype == x.dtype
    assert nnx.backend.device_of(model[0].weight) == nnx.device(flag)


def test_every_backend_takes_the_same_steps(flag):
    model, reference = Vector(START, flag), Vector(START)
    found, expected = (LBFGS().minimize(rosenbrock, each, steps=15) for each in (model, reference))
    assert found.evaluations == expected.evaluations
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-6)
    np.testing.assert_allclose(nnx.to_numpy(model.x), reference.x, rtol=1e-6)


# --- what it answers --------------------------------------------------------------------------


def test_the_answer_agrees_with_the_model(flag):
    model, seen = Vector(START, flag), []
    found = LBFGS().minimize(rosenbrock, model, steps=20, callback=seen.append)
    value, gradients = nnx.value_and_grad(rosenbrock)(model)
    np.testing.assert_allclose(float(nnx.to_numpy(value)), found.value, rtol=1e-12)
    np.testing.assert_allclose(np.abs(nnx.to_numpy(gradients["x"])).max(), found.gradient_norm, rtol=1e-9)
    assert len(found.losses) == found.steps + 1
    assert all(b < a for a, b in zip(found.losses, found.losses[1:], strict=False))
    assert [each.steps for each in seen] == list(range(1, found.steps + 1))
    assert [each.value for each in seen] == list(found.losses[1:])
    assert seen[-1].evaluations <= found.evaluations
    assert all(type(figure) is float for figure in (found.value, found.gradient_norm, *found.losses))


def test_it_stops_when_the_steps_are_taken():
    found = LBFGS().minimize(rosenbrock, Vector(START), steps=3)
    assert (found.steps, found.converged) == (3, False)
    assert found.message == "3 steps were taken, and the gradient is still greater than 1e-05"


def test_it_stops_at_the_tolerance():
    loose = LBFGS().minimize(rosenbrock, Vector(START), tolerance=1.0)
    tight = LBFGS().minimize(rosenbrock, Vector(START), tolerance=1e-6)
    assert loose.converged
    assert tight.converged
    assert loose.gradient_norm <= 1.0
    assert tight.gradient_norm <= 1e-6
    assert loose.steps < tight.steps
    assert tight.message == "no element of the gradient is greater than 1e-06"


def test_nothing_is_done_at_a_minimum(flag):
    model = Vector(np.ones(4), flag)
    before = model.x
    found = LBFGS().minimize(rosenbrock, model)
    assert (found.steps, found.value, found.converged, found.evaluations) == (0, 0.0, True, 2)
    assert model.x is before


def test_a_loss_that_does_not_depend_on_the_model():
    found = LBFGS().minimize(lambda model: 3.0, Vector(START))
    assert (found.value, found.gradient_norm, found.converged) == (3.0, 0.0, True)


def test_float32_ends_where_no_decrease_can_be_seen(flag):
    """A minimum of 1000: float32 has nothing within 6e-5 of it."""
    model = Vector([3.0, -2.0, 1.0], flag, "float32")
    found = LBFGS().minimize(
        lambda model: 1000 + quadratic([1.0, 2.0, 3.0], [0.1, 0.2, 0.3])(model), model, steps=100, tolerance=0.0
    )
    assert found.steps < 50
    assert found.evaluations < 200
    assert "float32" in found.message
    np.testing.assert_allclose(nnx.to_numpy(model.x), [0.1, 0.2, 0.3], atol=2e-2)


def test_frozen_parameters_stay(flag):
    rng = nnx.Generator(0)
    model = nnx.Sequential(nnx.Linear(2, 3, rng=rng), nnx.tanh, nnx.Linear(3, 1, rng=rng)).to(flag).freeze("0.*")
    before = {name: nnx.to_numpy(array) for name, array in model.arrays().items()}
    x = nnx.asarray(np.random.default_rng(0).standard_normal((9, 2)), device=flag, dtype="float32")
    LBFGS().minimize(lambda model: nnx.losses.mse(model(x), x[:, :1]), model, steps=5)
    changed = [name for name, array in model.arrays().items() if (nnx.to_numpy(array) != before[name]).any()]
    assert changed == ["2.weight", "2.bias"]


def test_parameters_of_two_dtypes(flag):
    model = nnx.Sequential(Vector([3.0, 1.0], flag, "float32"), Vector([2.0], flag, "float64"))

    def loss(model):
        a, b = model.layers[0].x, model.layers[1].x
        xp = nnx.namespace_of(a, b)
        return xp.sum((xp.astype(a, xp.float64) - 0.5) ** 2) + xp.sum((b + 1) ** 2)

    model.layers[0].__class__ = model.layers[1].__class__ = type("Part", (Vector,), {"__call__": lambda self, x: x})
    assert LBFGS().minimize(loss, model).converged
    np.testing.assert_allclose(nnx.to_numpy(model.layers[0].x), [0.5, 0.5], atol=1e-5)
    np.testing.assert_allclose(nnx.to_numpy(model.layers[1].x), [-1], atol=1e-5)
    assert "float32" in str(model.layers[0].x.dtype)


def test_an_optimiser_goes_on_where_it_ends():
    model = Vector(START)
    adam, step = nnx.optim.Adam(1e-3), nnx.value_and_grad(rosenbrock)
    adam.update(model, step(model)[1])
    found = LBFGS().minimize(rosenbrock, model, steps=10)
    adam.update(model, step(model)[1])
    assert rosenbrock(model) == pytest.approx(found.value, rel=0.5)


def test_the_device_is_waited_for_once_an_evaluation(monkeypatch):
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

    model = Vector(START, "torch")
    with Reads():
        found = LBFGS().minimize(rosenbrock, model, steps=30)
    assert len(reads) == found.evaluations


# --- losses that are random, or not finite ------------------------------------------------------


def dropped(rate=0.5):
    rng = nnx.Generator(0)
    model = nnx.Sequential(nnx.Linear(4, 8, rng=rng), nnx.Dropout(rate, rng=rng), nnx.Linear(8, 1, rng=rng))
    x = np.random.default_rng(0).standard_normal((20, 4)).astype("float32")
    return model, lambda model: nnx.losses.mse(model(x), x[:, :1])


def test_a_random_loss_is_warned_of_once():
    model, loss = dropped()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LBFGS().minimize(loss, model, steps=5)
    assert [w.category for w in caught] == [UserWarning]
    assert "two evaluations of the loss at one point differ" in str(caught[0].message)
    assert "training=False" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_a_model_that_predicts_is_not_random():
    model, loss = dropped()
    before = float(loss(model))
    found = LBFGS().minimize(loss, model, steps=20, training=False)
    assert found.value < 0.1 * before


def test_a_loss_on_random_batches_is_warned_of():
    rng = np.random.default_rng(0)
    x, y = classes()
    model = nnx.Linear(5, 3, dtype="float64")

    def loss(model):
        at = rng.integers(0, len(x), 16)
        return nnx.losses.cross_entropy(model(x[at]), y[at])

    with pytest.warns(UserWarning, match="needs a loss that is not random"):
        LBFGS().minimize(loss, model, steps=3)


@pytest.mark.parametrize("beyond", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_on_the_way_shortens_the_step(beyond, flag):
    """Defined within a ball of radius 2; the first steps lead out of it."""

    def loss(model):
        x = model.x
        xp = nnx.namespace_of(x)
        square = xp.sum(x * x)
        inside = square < 4
        bowl = 50 * xp.sum((x - 1) ** 2)
        return xp.where(inside, bowl, xp.full_like(bowl, beyond))

    model = Vector([-1.9, 0.0], flag)
    found = LBFGS().minimize(loss, model, steps=50)
    assert found.converged
    np.testing.assert_allclose(nnx.to_numpy(model.x), [1, 1], atol=1e-5)


@pytest.mark.parametrize("start", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_at_the_start(start, flag):
    model = Vector(START, flag)
    before = model.x
    with pytest.raises(nnx.NonFiniteLossError, match=rf"the loss is {start} at the start: look for NaN") as caught:
        LBFGS().minimize(lambda model: rosenbrock(model) * 0 + start, model)
    assert caught.value.step == 0
    assert model.x is before


def test_a_gradient_that_is_not_finite_at_the_start(flag):
    model = Vector([0.0], flag)

    def loss(model):
        x = model.x
        return nnx.namespace_of(x).sum(nnx.namespace_of(x).where(x >= 0, x, x) * float("nan") * 0 + 1) * 0 + 1

    def kinked(model):
        return nnx.custom_vjp(lambda x: (x * x)[0], lambda g, y, x: (x * float("nan"),))(model.x)

    with pytest.raises(nnx.NonFiniteLossError, match="the loss is nan at the start"):
        LBFGS().minimize(loss, model)
    with pytest.raises(nnx.NonFiniteLossError, match=r"the loss is 0\.0 at the start, and its gradient has NaN"):
        LBFGS().minimize(kinked, model)


def test_a_loss_that_falls_for_ever():
    found = LBFGS().minimize(lambda model: -nnx.namespace_of(model.x).sum(model.x), Vector([0.0]), steps=5)
    assert not found.converged
    assert found.steps == 5
    assert found.value < -1e10


@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["float32", "float64"]), steps=st.integers(1, 30))
def test_the_model_is_never_worse_than_at_the_start(seed, dtype, steps):
    """A function of many minima, steep and flat, that is not defined everywhere."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-5, 5, (2, 4)).astype(dtype)

    def loss(model):
        x = model.x
        xp = nnx.namespace_of(x)
        value = xp.sum(xp.sin(x * a) * b + 0.05 * x * x) * float(10.0 ** (seed % 7 - 3))
        return xp.where(xp.max(xp.abs(x)) < 6, value, xp.full_like(value, float("nan")))

    model = Vector(rng.uniform(-5, 5, 4), dtype=dtype)
    before = float(loss(model))
    found = LBFGS(history=3, search=8).minimize(loss, model, steps=steps)
    assert float(loss(model)) == pytest.approx(found.value, rel=1e-5, abs=1e-6)
    assert found.value <= before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", [1, 2, 9, 20])
def test_an_exception_leaves_the_best_parameters(error, at, flag):
    model, count, accepted = Vector(START, flag), 0, [START]

    def loss(model):
        nonlocal count
        count += 1
        if count == at:
            raise error
        return rosenbrock(model)

    def keep(found):
        accepted.append(nnx.to_numpy(model.x))

    with pytest.raises(error):
        LBFGS().minimize(loss, model, callback=keep)
    np.testing.assert_array_equal(nnx.to_numpy(model.x), accepted[-1])
    assert float(nnx.to_numpy(rosenbrock(model))) <= float(rosenbrock(Vector(START)))


# --- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": 0}, "history must be a whole number of at least 1"),
        ({"search": 1.5}, "search must be a whole number of at least 1"),
        ({"c1": 0.0}, "c1 must be a finite number greater than 0"),
        ({"c2": 1.0}, "c2 must be at least 0 and less than 1"),
        ({"c1": 0.5, "c2": 0.4}, r"0 < c1 < c2 < 1, got 0\.5 and 0\.4"),
    ],
)
def test_constants_that_make_no_sense(options, message):
    with pytest.raises(nnx.ArgumentError, match=message):
        LBFGS(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 0}, "steps must be a whole number"), ({"tolerance": -1e-5}, "tolerance must be a finite number")],
)
def test_limits_that_make_no_sense(options, message):
    with pytest.raises(nnx.ArgumentError, match=message):
        LBFGS().minimize(rosenbrock, Vector(START), **options)


def test_there_must_be_parameters_to_train():
    with pytest.raises(nnx.StateError, match="no parameters to train"):
        LBFGS().minimize(rosenbrock, Vector(START).freeze())


def test_a_loss_that_is_no_number():
    model = Vector(START)
    before = model.x
    with pytest.raises(nnx.DifferentiationError, match="one number"):
        LBFGS().minimize(lambda model: model.x * 2, model)
    assert model.x is before


def test_text():
    assert repr(LBFGS()) == "nnx.optim.LBFGS(history=10, c1=0.0001, c2=0.9, search=25)"
