"""nnx.remat: the gradients of the function, and nothing kept on the way."""

from __future__ import annotations

import functools
import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from nnx.tape.node import CONSTANT
from nnx.tape.tracked import Tracked

X = np.asarray([0.5, -1.0, 2.0])


def total(x):
    return nnx.namespace_of(x).sum(x)


def f(x):
    xp = nnx.namespace_of(x)
    return xp.sin(xp.exp(x) * x)


def close(a, b):
    assert_allclose(nnx.to_numpy(a), nnx.to_numpy(b), rtol=1e-12)


class Counting(nnx.Module):
    """Counts its calls, and takes a running mean through which a gradient flows."""

    factor: nnx.Parameter
    calls: nnx.Buffer
    last: nnx.Buffer
    unused: nnx.Buffer

    def __init__(self, make):
        self.factor, self.calls = make(X, "float64"), make(0, "int32")
        self.last = None
        self.unused = make(X, "float64")

    def __call__(self, x):
        self.calls = self.calls + 1
        self.last = x * self.factor
        return nnx.tanh(self.last)

    def double(self, x):
        return self(self(x))


# --- gradients --------------------------------------------------------------------------------


def test_gradients_of_every_order_are_equal(make):
    x = make(X, "float64")
    again = nnx.remat(f)
    close(again(x), f(x))
    close(nnx.grad(lambda x: total(again(x)))(x), nnx.grad(lambda x: total(f(x)))(x))
    close(nnx.hessian(lambda x: total(again(x)))(x), nnx.hessian(lambda x: total(f(x)))(x))
    close(nnx.jvp(again, (x,), (x,))[1], nnx.jvp(f, (x,), (x,))[1])
    third = [nnx.jacobian(nnx.hessian(lambda x, g=g: total(g(x))))(x) for g in (again, f)]
    close(*third)
    close(
        nnx.grad(lambda x: total(nnx.remat(nnx.grad(lambda x: total(f(x))))(x)))(x),
        nnx.grad(lambda x: total(nnx.grad(lambda x: total(f(x)))(x)))(x),
    )


def test_dtype_and_device_are_kept(make, assert_kept):
    assert_kept(nnx.remat(f), make(X))


def test_a_pull_back_may_be_called_many_times(make):
    x = make(X, "float64")
    _, pull = nnx.vjp(nnx.remat(f), x)
    first, second = pull(x)[0], pull(x)[0]
    close(first, second)
    close(first, nnx.vjp(f, x)[1](x)[0])


def test_nested(make):
    x = make(X, "float64")
    chain = nnx.remat(lambda x: nnx.remat(f)(nnx.remat(lambda x: f(x) * x)(x)) + x)
    close(nnx.grad(lambda x: total(chain(x)))(x), nnx.grad(lambda x: total(f(f(x) * x) + x))(x))


def test_trees_options_and_what_is_no_array(make):
    def g(p, n, *, scale, mode):
        assert (n, mode) == (7, "mode")
        out = p["a"] * p["b"][0] * scale
        return {"y": out, "sign": out > 0, "rest": [n, None, nnx.namespace_of(out).sum(out * p["a"])]}

    def loss(g):
        def of(p, scale):
            out = g(p, 7, scale=scale, mode="mode")
            assert out["rest"][:2] == [7, None]
            xp = nnx.namespace_of(out["y"])
            return total(xp.where(out["sign"], out["y"] ** 2, out["y"])) * out["rest"][2]

        return nnx.grad(of, (0, 1))

    p, scale = {"a": make(X, "float64"), "b": (make(X[::-1], "float64"),)}, make(1.5, "float64")
    found, expected = loss(nnx.remat(g))(p, scale), loss(g)(p, scale)
    close(found[0]["a"], expected[0]["a"])
    close(found[0]["b"][0], expected[0]["b"][0])
    close(found[1], expected[1])


def test_arguments_of_two_differentiations(make):
    x, y = make(X, "float64"), make(2.0, "float64")
    g = lambda x, y: f(x * y)  # noqa: E731
    mixed = lambda g: nnx.grad(lambda y: total(nnx.grad(lambda x: total(g(x, y)))(x) ** 2))(y)  # noqa: E731
    close(mixed(nnx.remat(g)), mixed(g))


def test_an_array_further_out_that_is_no_argument():
    outer = lambda make: nnx.grad(lambda y: total(nnx.grad(lambda x: total(make(lambda x: f(x * y))(x)))(X)))(2.0)  # noqa: E731
    close(outer(nnx.remat), outer(lambda g: g))


def test_results_and_arguments_that_matter_not(make):
    x = make(X, "float64")
    g = nnx.remat(lambda x, y: (x * 2.0, y * 3.0, x))
    a, b = nnx.grad(lambda x, y: total(g(x, y)[0]), (0, 1))(x, x)
    assert_array_equal(nnx.to_numpy(a), [2, 2, 2])
    assert_array_equal(nnx.to_numpy(b), [0, 0, 0])
    constant = nnx.remat(lambda x: nnx.namespace_of(x).ones_like(x))
    assert_array_equal(nnx.to_numpy(nnx.grad(lambda x: total(constant(x)))(x)), [0, 0, 0])


def test_the_function_is_called_once_more_for_the_gradient_and_gets_constants_first():
    kinds = []

    def g(x):
        kinds.append(type(x) is Tracked and (x.node is CONSTANT or "recorded"))
        return x * x

    assert_array_equal(nnx.grad(lambda x: total(nnx.remat(g)(x)))(X), 2 * X)
    assert kinds == [True, "recorded"]
    nnx.remat(g)(X)
    assert kinds[2:] == [False]


def test_under_jit():
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray(X)
    g = nnx.grad(lambda x: total(nnx.remat(f)(x)))
    assert_allclose(jax.jit(g)(x), g(x), rtol=1e-12, atol=1e-15)


def test_a_run_that_is_compared_step_by_step_on_every_backend(flags):
    nnx.testing.check_backends(lambda x: nnx.remat(f)(x * 2.0) * x, X, backends=flags)


# --- models -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run",
    [
        lambda model, x: nnx.remat(model)(x),
        lambda model, x: nnx.remat(model.double)(x),
        lambda model, x: nnx.remat(lambda parts, x: parts[0](x) * x)([model], x),
        lambda model, x: nnx.remat(lambda x, *, model: model(x))(x, model=model),
    ],
)
def test_models_and_their_buffers(make, monkeypatch, run):
    x = make(X[::-1], "float64")
    results = []
    for remat in (nnx.remat, lambda f: f):
        monkeypatch.setattr(nnx, "remat", remat)
        model = Counting(make)
        value, g = nnx.value_and_grad(lambda model, x: total(run(model, x)))(model, x)
        assert type(model.last) is type(model.unused) is type(x)
        results.append((value, g["factor"], model.calls, model.last, model.unused))
    for a, b in zip(*results, strict=True):
        close(a, b)


def test_a_gradient_through_a_buffer(make):
    def loss(remat):
        def of(model, x):
            remat(model)(x)
            return total(model.last**2)

        return nnx.grad(of)(Counting(make), make(X, "float64"))["factor"]

    close(loss(nnx.remat), loss(lambda f: f))


def test_dropout_draws_the_same_mask_again(make, flag):
    x = make(np.ones((4, 50)))
    results = []
    for remat in (nnx.remat, lambda f: f):
        block = nnx.Sequential(
            nnx.Linear(50, 8, device=flag, rng=nnx.Generator(1)), nnx.Dropout(0.5, device=flag, rng=nnx.Generator(2))
        )

        def loss(block, x, remat=remat):
            return total(remat(block)(remat(block)(x)[:, :1] * x) ** 2)

        for _ in range(2):
            value, g = nnx.value_and_grad(loss)(block, x)
            results.append([value, *g.values(), *block.buffers().values()])
    for a, b in zip(results[0] + results[1], results[2] + results[3], strict=True):
        assert_allclose(nnx.to_numpy(a), nnx.to_numpy(b), rtol=1e-5, atol=1e-7)
    assert not np.allclose(nnx.to_numpy(results[0][1]), nnx.to_numpy(results[1][1]))


def test_the_mode_of_a_model_is_kept(make, flag):
    x, block = make(np.ones((2, 20))), nnx.Dropout(0.5, device=flag)
    g = nnx.grad(lambda x, block: total(nnx.remat(block)(x)))(x, block)
    assert_array_equal(nnx.to_numpy(g), np.ones((2, 20)))
    g, _ = nnx.grad(lambda x, block: total(nnx.remat(block)(x)), (0, 1))(x, block)
    assert set(np.unique(nnx.to_numpy(g))) == {0, 2}


# --- memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True])
def test_what_is_computed_on_the_way_is_freed(nested):
    def kept(remat):
        alive = []

        def g(x):
            for _ in range(5):
                x = nnx.namespace_of(x).exp(x * 0.1)
                alive.append(weakref.ref(x.value if type(x) is Tracked else x))
            return x * x

        h = remat(lambda x: remat(g)(x) * x) if nested else remat(g)
        gc.disable()  # nothing is freed by luck: there are no circles
        try:
            value, pull = nnx.vjp(lambda x: total(h(x)), X)
            count = sum(ref() is not None for ref in alive)
            alive.clear()
            pull(value)
            return count, sum(ref() is not None for ref in alive)
        finally:
            gc.enable()

    assert kept(lambda f: f)[0] == 5
    assert kept(nnx.remat) == (0, 0)


def test_the_graph_of_a_model_is_freed_without_the_garbage_collector():
    model = nnx.Sequential(nnx.Linear(3, 3, dtype="float64"), nnx.Dropout(0.5))
    alive = []

    def loss(model, x):
        y = nnx.remat(model)(x)
        alive.append(weakref.ref(y))
        return total(y)

    gc.collect()
    gc.disable()
    try:
        nnx.grad(loss)(model, X[None, :])
        assert [ref() for ref in alive] == [None]
    finally:
        gc.enable()


def test_the_peak_of_memory_of_a_chain_falls():
    x = np.ones(50_000)

    def segment(x):
        for _ in range(8):
            x = nnx.namespace_of(x).sin(x)
        return x

    def peak(segment):
        def loss(x):
            for _ in range(8):
                x = segment(x)
            return total(x)

        tracemalloc.start()
        try:
            g = nnx.grad(loss)(x)
            return tracemalloc.get_traced_memory()[1] / x.nbytes, g
        finally:
            tracemalloc.stop()

    (whole, expected), (less, found) = peak(segment), peak(nnx.remat(segment))
    assert_allclose(found, expected, rtol=1e-12)
    assert whole > 64  # arrays: one for each of 64 steps
    assert less < 24  # 8 at the seams, 8 within one segment, and a few at work


# --- mistakes ---------------------------------------------------------------------------------


def test_arrays_that_are_used_and_are_no_arguments():
    with pytest.raises(nnx.DifferentiationError, match="not among its arguments: pass it as an argument"):
        nnx.grad(lambda w, x: total(nnx.remat(lambda x: x * w)(x)), (0, 1))(X, X)


def held_by_default(model):
    return lambda x, model=model: model(x)


@pytest.mark.parametrize(
    "hold",
    [
        lambda model: lambda x: model(x),
        lambda model: (lambda models: lambda x: models["a"][0](x))({"a": [model]}),
        lambda model: (lambda call: lambda x: call(x))(model.__call__),
        lambda model: functools.partial(lambda model, x: model(x), model),
        lambda model: functools.partial(model, flag=True),
        held_by_default,
        nnx.remat,
    ],
)
def test_a_function_that_holds_a_model(hold):
    """It would draw another mask of dropout when it is called again."""
    with pytest.raises(nnx.DifferentiationError, match="holds a model: pass the model as an argument"):
        nnx.remat(hold(nnx.Dropout(0.5)))


def test_a_function_that_is_given_a_generator():
    rng = nnx.Generator(0)
    with pytest.raises(nnx.DifferentiationError, match="would draw other numbers"):
        nnx.remat(lambda x: x * rng.normal((3,)))
    with pytest.raises(nnx.DifferentiationError, match="would draw other numbers"):
        nnx.remat(lambda x, rng: x * rng.normal((3,)))(X, rng)


@pytest.mark.parametrize("layer", [lambda model: model, lambda model: model.__call__], ids=["model", "method"])
def test_a_function_of_a_model_is_no_part_of_another(layer):
    hidden = nnx.remat(layer(nnx.Linear(3, 1)))
    with pytest.raises(nnx.UndeclaredStateError, match="modules in a function.*make the function of one where it is"):
        nnx.Sequential(nnx.relu, hidden)
    assert len(nnx.Sequential(nnx.relu, nnx.remat(nnx.relu)).parameters()) == 0


def test_a_function_that_answers_otherwise_when_it_is_called_again():
    answers = iter([2, 1])
    with pytest.raises(nnx.DifferentiationError, match="other arrays when it was called again"):
        nnx.grad(lambda x: total(nnx.remat(lambda x: x[: next(answers)])(x)))(X)
    answers = iter([True, False])
    with pytest.raises(nnx.DifferentiationError, match="other arrays when it was called again"):
        nnx.grad(lambda x: total(nnx.remat(lambda x: [x * x] if next(answers) else [])(x)[0]))(X)


def test_the_function_made_looks_like_the_one_given():
    assert nnx.remat(f).__name__ == "f"
    assert nnx.remat(f).__wrapped__ is f
