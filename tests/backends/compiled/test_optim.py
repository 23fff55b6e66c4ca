"""What the compiled updates do beyond the cases of tests/ops/test_kernels.py."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import nnx
from nnx.optim.adam import adam_update as adam_reference
from nnx.optim.sgd import sgd_update as sgd_reference
from nnx_numpy import optim as native

pytest.importorskip("numba")
compiled = pytest.importorskip("nnx_numpy.compiled.optim")

SIZES = [(1,), (5, 0, 3), (2048, 32, 320, 10), (5000, 3, 4096, 1, 4097, 20), (4096,), (4097,)]
ADAM = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1}
XP = nnx.namespace_of(np.zeros(1))


def arrays(sizes, dtype="float32", seed=0):
    """Parameters, their gradients, and two arrays of state, of which the second is positive."""
    rng = np.random.default_rng(seed)
    total = sum(sizes)
    p, m, v = rng.standard_normal((3, total)).astype(dtype)
    return p.copy(), [rng.standard_normal(n).astype(dtype) for n in sizes], m.copy(), np.abs(v)


def shifted(a, by):
    """A copy that begins ``by`` elements behind an address that is divisible by 64."""
    memory = np.empty(a.size + 64, a.dtype)
    first = -memory.ctypes.data % 64 // a.itemsize + by
    copy = memory[first : first + a.size]
    copy[:] = a
    return copy


def address(a):
    return a.ctypes.data % 64


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", SIZES)
def test_several_gradients_are_as_one(sizes, dtype):
    tolerance = {"rtol": 2e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-13}
    p, gradients, m, v = arrays(sizes, dtype)
    whole = [np.concatenate(gradients)]
    for decoupled in (False, True):
        expected = adam_reference(XP, p, whole, m, v, np.asarray(3), 0.05, 0.3, **ADAM, decoupled=decoupled)
        state = p.copy(), gradients, m.copy(), v.copy()
        found = compiled.adam_update(XP, *state, np.int32(3), 0.05, 0.3, **ADAM, decoupled=decoupled)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, **tolerance)
    for nesterov in (False, True):
        options = {"momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.1}
        expected = sgd_reference(XP, p, whole, m, 0.05, 0.3, **options)
        found = compiled.sgd_update(XP, p.copy(), gradients, m.copy(), 0.05, 0.3, **options)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, **tolerance)


def test_gradients_may_lie_anyhow():
    p, (a, b), m, v = arrays((5000, 6000))
    read_only, strided = a.copy(), np.repeat(b, 2)[::2]
    read_only.flags.writeable = False
    misaligned = np.frombuffer(b"." + a.tobytes(), "uint8")[1:].view("float32")
    assert not misaligned.flags.aligned
    expected = compiled.adam_update(XP, p.copy(), [a, b], m.copy(), v.copy(), 1, 0.1, None, **ADAM, decoupled=False)
    for first in (read_only, misaligned):
        state = p.copy(), [first, strided], m.copy(), v.copy()
        found = compiled.adam_update(XP, *state, 1, 0.1, None, **ADAM, decoupled=False)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 40, 2000])
def test_parameters_may_begin_anywhere_in_a_line(size):
    p, gradients, m, v = arrays((size,))
    for by, beside in itertools.product([0, 1, 7, 15], [0, 3]):
        state = [shifted(a, (by + beside * k) % 16) for k, a in enumerate((p, m, v))]
        before, after = np.full(16, 7, np.float32), np.full(16, 7, np.float32)
        memory = np.concatenate([before, p, after])
        state[0] = memory[16 : 16 + size]
        expected = adam_reference(XP, p, gradients, m, v, np.asarray(2), 0.1, None, **ADAM, decoupled=True)
        found = compiled.adam_update(XP, state[0], gradients, *state[1:], 2, 0.1, None, **ADAM, decoupled=True)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
        assert found[0] is state[0]
        np.testing.assert_array_equal(memory[:16], before)
        np.testing.assert_array_equal(memory[16 + size :], after)


def test_state_is_moved_once_to_lie_as_the_parameters_do():
    p, gradients, m, v = arrays((3000,))
    p, m, v = shifted(p, 4), shifted(m, 9), shifted(v, 4)
    options = {**ADAM, "decoupled": False}
    expected = [p.copy(), m.copy(), v.copy()]
    parameters, moved, second = compiled.adam_update(XP, p, gradients, m, v, 1, 0.1, None, **options)
    assert parameters is p
    assert address(moved) == address(second) == address(p) != address(m)
    again = compiled.adam_update(XP, p, gradients, moved, second, 2, 0.1, None, **options)
    assert again[1] is moved
    assert again[2] is second
    for t in (1, 2):
        native.adam_update(XP, expected[0], gradients, *expected[1:], t, 0.1, None, **options)
    for a, b in zip(again, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)

    options = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
    _, velocity = compiled.sgd_update(XP, p, gradients, m, 0.1, None, **options)
    assert address(velocity) == address(p)
    np.testing.assert_array_equal(velocity, m)
    assert compiled.sgd_update(XP, p, gradients, velocity, 0.1, None, **options)[1] is velocity


def test_an_optimizer_keeps_the_state_that_was_moved():
    """With the parameters of one that works on NumPy's kernels, over several steps."""
    model = nnx.Sequential(nnx.Linear(40, 60), nnx.Linear(60, 1))
    optimizer = nnx.optim.Adam(0.01, clip_norm=1.0)
    p = np.concatenate([a.ravel() for a in model.parameters().values()])
    m, v = np.zeros_like(p), np.zeros_like(p)
    rng = np.random.default_rng(0)
    for t in range(1, 5):
        grads = {name: rng.standard_normal(a.shape).astype("float32") for name, a in model.parameters().items()}
        optimizer.update(model, grads)
        flat = [g.ravel() for g in grads.values()]
        scale = min(1.0, 1.0 / (np.sqrt(native.squared_norm(XP, flat)) + 1e-6))
        options = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
        native.adam_update(XP, p, flat, m, v, t, 0.01, scale, **options)
    found = np.concatenate([a.ravel() for a in model.parameters().values()])
    np.testing.assert_allclose(found, p, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(optimizer.state["gradient_sum.float32"], m, rtol=2e-5, atol=1e-6)


def test_nothing_spreads_beyond_its_element():
    """NaN and infinity stay what and where they are, also without a penalty, which would make 0 · ∞ of them."""
    p, gradients, m, v = arrays((40,))
    p[3], gradients[0][5], gradients[0][7] = np.inf, np.nan, np.inf
    options = {**ADAM, "weight_decay": 0.0, "decoupled": False}
    found, *state = compiled.adam_update(XP, p.copy(), gradients, m, v, 1, 0.1, None, **options)
    assert found[3] == np.inf
    assert np.isnan(found[[5, 7]]).all()
    assert np.isfinite(np.delete(found, [3, 5, 7])).all()
    assert np.isnan(state[0][5])
    assert state[1][7] == np.inf
    options = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    found, _ = compiled.sgd_update(XP, p.copy(), gradients, None, 0.1, None, **options)
    assert found[3] == np.inf
    assert found[7] == -np.inf
    assert np.isnan(found[5])
    assert np.isfinite(np.delete(found, [3, 5, 7])).all()


def test_numbers_may_be_of_any_kind_and_widen_nothing():
    p, gradients, m, v = arrays((7,))
    results = []
    for kind in (float, np.float64, np.float32, np.asarray):
        for step in (4, np.int32(4), np.asarray(4)):
            state = p.copy(), gradients, m.copy(), v.copy()
            found = compiled.adam_update(XP, *state, step, kind(0.125), kind(0.5), **ADAM, decoupled=True)
            assert {a.dtype for a in found} == {np.dtype("float32")}
            results.append(found[0])
    for found in results[1:]:
        np.testing.assert_array_equal(found, results[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_squares_are_as_exact_as_their_dtype(dtype):
    rng = np.random.default_rng(0)
    for shape in [(1,), (1000, 3), (300_001,)]:
        x = (1000 * rng.random(shape)).astype(dtype)
        exact = np.sum(x.astype("longdouble") ** 2)
        precision = np.finfo(dtype).eps
        assert abs(compiled.sum_squares_forward(XP, x) - exact) <= precision * exact
        assert abs(compiled.squared_norm(XP, [x.ravel(), x.ravel()]) - 2 * exact) <= 2 * precision * exact
        assert compiled.sum_squares_forward(XP, x).dtype == dtype


def test_other_dtypes_are_left_to_numpy():
    p, gradients, m, v = arrays((9,), "float16")
    state = p.copy(), gradients, m.copy(), v.copy()
    options = {**ADAM, "decoupled": False}
    expected = native.adam_update(XP, p, gradients, m, v, 1, 0.1, None, **options)
    for a, b in zip(compiled.adam_update(XP, *state, 1, 0.1, None, **options), expected, strict=True):
        assert a.dtype == np.float16
        np.testing.assert_array_equal(a, b)
    assert compiled.squared_norm(XP, gradients) == native.squared_norm(XP, gradients)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [9, 100, 1000])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("update", ["adam", "sgd"])
def test_bits_do_not_depend_on_where_arrays_lie(update, momentum, n, dtype):
    """A run that goes on from a checkpoint has its arrays elsewhere."""
    rng = np.random.default_rng(0)
    values = [np.abs(rng.standard_normal(n)).astype(dtype) for _ in range(4)]
    found = []
    for offset in range(16):
        arrays = [np.empty(n + 64, dtype)[offset * (k + 1) % 16 :][:n] for k in range(4)]
        for array, value in zip(arrays, values, strict=True):
            array[:] = value
        p, g, m, v = arrays
        if update == "adam":
            options = {"beta1": momentum, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decoupled": False}
            found.append(compiled.adam_update(np, p, [g], m, v, np.int32(3), 0.01, 0.7, **options))
        else:
            options = {"momentum": momentum, "nesterov": momentum > 0, "weight_decay": 0.0}
            p, m = compiled.sgd_update(np, p, [g], m if momentum else None, 0.01, 0.7, **options)
            found.append([p] if m is None else [p, m])
    for each in found[1:]:
        for a, b in zip(each, found[0], strict=True):
            np.testing.assert_array_equal(a, b)
