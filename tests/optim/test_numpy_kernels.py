"""The in-place updates of NumPy compute what their references compute."""

from __future__ import annotations

import threading
from functools import partial

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnx.optim import adam, clip, flat, sgd
from nnx_numpy import optim as kernels

ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
SGD = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
LIMIT = kernels.CHUNK // 4
TOTALS = [0, 1, 7, 2410, LIMIT, LIMIT + 1, 3 * LIMIT - 5]


def draw(seed, total, dtype="float32"):
    return np.random.default_rng(seed).normal(size=total).astype(dtype)


def pieces(array, cuts):
    """Arrays that are ``array`` when laid end to end, none of them a view of it."""
    return [part.copy() for part in np.split(array, sorted(cut % (array.size + 1) for cut in cuts))]


def run_adam(function, total, cuts, dtype, scale, options, steps=3):
    p, m, v = draw(0, total, dtype), np.zeros(total, dtype), np.zeros(total, dtype)
    for t in range(1, steps + 1):
        gradients = pieces(draw(t, total, dtype), cuts)
        if function is adam.adam_update:
            gradients = flat.gather_gradients(xp, p, gradients)
        p, m, v = function(xp, p, gradients, m, v, xp.asarray(t, dtype=xp.int32), 0.01, scale, **options)
    return p, m, v


def run_sgd(function, total, cuts, dtype, scale, options, steps=3):
    p, v = draw(0, total, dtype), np.zeros(total, dtype) if options["momentum"] else None
    for t in range(1, steps + 1):
        gradients = pieces(draw(t, total, dtype), cuts)
        if function is sgd.sgd_update:
            gradients = flat.gather_gradients(xp, p, gradients)
        p, v = function(xp, p, gradients, v, 0.01, scale, **options)
    return (p,) if v is None else (p, v)


def assert_close(found, expected, dtype):
    rtol = 2e-6 if dtype == "float32" else 1e-13
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


SETTINGS = st.fixed_dictionaries(
    {
        "total": st.one_of(st.sampled_from(TOTALS), st.integers(0, 3000)),
        "cuts": st.lists(st.integers(0, 2**20), max_size=5),
        "dtype": st.sampled_from(["float32", "float64"]),
        "scale": st.sampled_from([None, 1.0, 0.3]),
    }
)


@given(SETTINGS, st.floats(0, 0.99), st.floats(0.5, 0.9999), st.sampled_from([0.0, 0.1]), st.booleans())
def test_adam(settings, beta1, beta2, weight_decay, decoupled):
    options = ADAM | {"beta1": beta1, "beta2": beta2, "weight_decay": weight_decay, "decoupled": decoupled}
    found = run_adam(kernels.adam_update, **settings, options=options)
    assert_close(found, run_adam(adam.adam_update, **settings, options=options), settings["dtype"])


@given(SETTINGS, st.sampled_from([0.0, 0.9]), st.booleans(), st.sampled_from([0.0, 0.1]))
def test_sgd(settings, momentum, nesterov, weight_decay):
    options = {"momentum": momentum, "nesterov": nesterov and momentum > 0, "weight_decay": weight_decay}
    found = run_sgd(kernels.sgd_update, **settings, options=options)
    assert_close(found, run_sgd(sgd.sgd_update, **settings, options=options), settings["dtype"])


@given(sizes=st.lists(st.integers(0, 30), max_size=8).map(tuple), limit=st.integers(1, 40))
def test_chunks_cover_every_element_once_and_in_order(sizes, limit):
    whole = np.arange(sum(sizes))
    parts = np.split(whole, np.cumsum(sizes)[:-1]) if sizes else []
    plan = kernels._plan(sizes, limit)

    assert [i for part, _ in plan for i in whole[part]] == whole.tolist()
    for part, found in plan:
        assert 0 < part.stop - part.start <= limit
        assert np.concatenate([parts[i][piece] for i, piece in found]).tolist() == whole[part].tolist()


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_squared_norm(total, dtype):
    gradients = pieces(draw(0, total, dtype), [5, 100_000])
    found = kernels.squared_norm(xp, gradients)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, clip.squared_norm(xp, gradients), rtol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("total", TOTALS)
def test_gathered_gradients_are_those_of_the_reference(total):
    gradients = pieces(draw(0, total), [3, 9, 4000])
    found = kernels.gather_gradients(xp, np.zeros(total, "float32"), gradients)
    np.testing.assert_array_equal(np.concatenate(found), flat.gather_gradients(xp, None, gradients)[0])


def test_contiguous_gradients_are_not_copied():
    gradients = [draw(0, 12).reshape(3, 4), draw(1, 2)]
    found = kernels.gather_gradients(xp, np.zeros(14, "float32"), gradients)
    assert [np.shares_memory(a, b) for a, b in zip(found, gradients, strict=True)] == [True, True]


@pytest.mark.parametrize("of", [partial(run_adam, options=ADAM), partial(run_sgd, options=SGD)])
def test_updates_are_in_place(of):
    total = LIMIT + 100
    before = []

    def kernel(xp, p, gradients, *rest, **options):
        before.append(p)
        update = kernels.adam_update if options.keys() == ADAM.keys() else kernels.sgd_update
        return update(xp, p, gradients, *rest, **options)

    p, *_ = of(kernel, total, [10], "float32", None)
    assert all(p is each for each in before)


def by_kernel(gradients, parameters):
    state = np.zeros_like(parameters), np.zeros_like(parameters)
    gathered = kernels.gather_gradients(xp, parameters, gradients)
    return kernels.adam_update(xp, parameters, gathered, *state, np.int32(1), 0.1, None, **ADAM)


def by_reference(gradients, parameters):
    state = np.zeros_like(parameters), np.zeros_like(parameters)
    gathered = flat.gather_gradients(xp, parameters, gradients)
    return adam.adam_update(xp, parameters, gathered, *state, np.asarray(1, "int32"), 0.1, None, **ADAM)


def awkward(name):
    g = draw(3, 60).reshape(6, 10)
    match name:
        case "broadcast":
            return [np.broadcast_to(np.float32(0.5), (6, 10)), np.broadcast_to(g[:, :1], (6, 10))]
        case "transposed":
            return [g.T, draw(4, 60).reshape(10, 6).T]
        case "strided":
            return [np.repeat(g, 2, axis=1)[:, ::2], draw(4, 120)[::-2]]
        case "read-only":
            g.flags.writeable = False
            return [g, g]
        case "scalars":
            return [draw(4, 119), np.float32(2.0)]
    raise AssertionError(name)


@pytest.mark.parametrize("name", ["broadcast", "transposed", "strided", "read-only", "scalars"])
def test_awkward_gradients(name):
    gradients = awkward(name)
    before = [np.array(g) for g in gradients]
    assert_close(by_kernel(gradients, draw(0, 120)), by_reference(gradients, draw(0, 120)), "float32")
    for g, old in zip(gradients, before, strict=True):
        np.testing.assert_array_equal(g, old)


def test_gradients_that_are_views_of_the_parameters():
    """The gradient of Σ a b by a is b itself, which the update changes in place."""
    total = 4 * LIMIT
    ours, theirs = draw(0, total), draw(0, total)
    swapped = [ours[total // 2 :], ours[: total // 2]]
    expected = by_reference([theirs[total // 2 :], theirs[: total // 2]], theirs)
    assert_close(by_kernel(swapped, ours), expected, "float32")


def test_one_buffer_of_gradients_is_read_where_it_lies():
    """As a backward pass that writes into a buffer will hand it over."""
    g = draw(1, 2 * LIMIT + 3)
    (gathered,) = kernels.gather_gradients(xp, draw(0, g.size), [g])
    assert np.shares_memory(gathered, g)
    assert_close(by_kernel([g], draw(0, g.size)), by_reference([g], draw(0, g.size)), "float32")


def test_threads_do_not_share_their_scratch():
    totals = [2410, LIMIT + 7, 2 * LIMIT, 333]
    expected = {total: run_adam(kernels.adam_update, total, [9], "float32", 0.5, ADAM, steps=8) for total in totals}
    found = {}

    def work(total):
        found[total] = run_adam(kernels.adam_update, total, [9], "float32", 0.5, ADAM, steps=8)

    threads = [threading.Thread(target=work, args=(total,)) for total in totals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for total in totals:
        for a, b in zip(found[total], expected[total], strict=True):
            np.testing.assert_array_equal(a, b)
