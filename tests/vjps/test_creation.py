"""Functions that make arrays of tracked numbers, and those that answer several: types, dtypes, options, errors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from nnx.tape.node import CONSTANT
from nnx.tape.observe import observe
from nnx.tape.tracked import Tracked

X = np.asarray([[0.5, 1.5, -2.0], [3.0, 0.25, 1.0]])


def during_grad(f, x):
    """What ``f(xp, x)`` answers while ``x`` is differentiated."""
    found = []

    def loss(x):
        xp = nnx.namespace_of(x)
        found.append(f(xp, x))
        return xp.sum(x)

    nnx.grad(loss)(x)
    return found[0]


def gradient(f, x):
    def loss(x):
        xp = nnx.namespace_of(x)
        return xp.sum(f(xp, x))

    return nnx.to_numpy(nnx.grad(loss)(x))


def host(x):
    return nnx.to_numpy(nnx.stop_gradient(x).value)


def number(xp, x, kind):
    """A tracked number that carries a gradient, or a constant one."""
    return nnx.stop_gradient(x[0, 0]) if kind == "constant" else x[0, 0]


both = pytest.mark.parametrize("kind", ["tracked", "constant"])


# --- full, full_like ------------------------------------------------------------------------------


@both
def test_full(kind, make):
    def check(xp, x):
        a = number(xp, x, kind)
        made = [xp.full((2, 3), a), xp.full(4, a), xp.full((), fill_value=a), xp.full([2], a), xp.full((0, 2), a)]
        assert [y.shape for y in made] == [(2, 3), (4,), (), (2,), (0, 2)]
        made += [xp.full((2,), a, dtype=xp.float64), xp.full((2,), a, device=x.device)]
        for y in made:
            assert type(y) is Tracked
            assert (y.node is CONSTANT) == (kind == "constant")
            assert y.device == x.device
            assert_array_equal(host(y), np.full(y.shape, 0.5))
        assert [y.dtype for y in made] == [x.dtype] * 5 + [xp.float64, x.dtype]
        whole = xp.full((2,), a * 5.0, dtype=xp.int32)
        assert (whole.node, whole.dtype) == (CONSTANT, xp.int32)
        assert_array_equal(host(whole), [2, 2])
        return xp.full((2, 3), x[0, :])

    assert_array_equal(host(during_grad(check, make(X))), X[[0, 0]])
    assert_array_equal(gradient(lambda xp, x: xp.full((5, 2), x[0, 1]), make(X)), [[0, 10, 0], [0, 0, 0]])


@both
def test_full_like(kind, make):
    def check(xp, x):
        a = number(xp, x, kind)
        of = xp.zeros((2,), dtype=xp.float64, device=x.device)
        raw = make([[1.0]], "float64")
        made = [xp.full_like(of, a), xp.full_like(x, fill_value=a), xp.full_like(of, a, dtype=x.dtype)]
        made += [xp.full_like(raw, a), xp.full_like(of, a, device=x.device)]
        assert [(y.shape, y.dtype) for y in made] == [
            *(((2,), xp.float64), ((2, 3), x.dtype), ((2,), x.dtype), ((1, 1), xp.float64), ((2,), xp.float64))
        ]
        for y in made:
            assert type(y) is Tracked
            assert (y.node is CONSTANT) == (kind == "constant")
            assert y.device == x.device
            assert_array_equal(host(y), np.full(y.shape, 0.5))
        assert xp.full_like(x, 3.0).node is CONSTANT  # the values of x have no part in it
        return xp.full_like(xp.asarray([1, 2], device=x.device), a * 5.0)  # a cast to integers

    whole = during_grad(check, make(X))
    assert whole.node is CONSTANT
    assert_array_equal(host(whole), [2, 2])


def test_full_is_an_array_that_can_be_assigned_to():
    (value, _) = nnx.vjp(lambda x: nnx.namespace_of(x).full((3,), x), np.asarray(2.0))
    value[1] = 5
    assert_array_equal(value, [2, 5, 2])


@pytest.mark.parametrize("call", [lambda xp, a: xp.full((2, 3), a), lambda xp, a: xp.full_like(a[:1], a)])
def test_a_number_of_a_shape_that_does_not_fit(call, make):
    with pytest.raises(nnx.ShapeError, match="cannot be assigned"):
        during_grad(lambda xp, x: call(xp, x[0, :2]), make(X))


# --- linspace -------------------------------------------------------------------------------------


@both
def test_linspace(kind, make):
    def check(xp, x):
        a = number(xp, x, kind)
        made = {
            (0.5, 2.0, 4): xp.linspace(a, 2.0, 4),
            (-1, 0.5, 3): xp.linspace(-1, a, num=3),
            (0.5, 1.0, 5): xp.linspace(a, 2 * a, 5),
            (0.5, 3.0, 1): xp.linspace(a, 3.0, 1),
            (0.5, 3.0, 0): xp.linspace(a, 3.0, 0),
            (0.5, 7.0, 2): xp.linspace(a, make(7.0, "float32"), 2, dtype=xp.float64, device=x.device),
        }
        for (start, stop, num), y in made.items():
            assert type(y) is Tracked
            assert (y.node is CONSTANT) == (kind == "constant")
            assert y.dtype == (xp.float64 if stop == 7.0 else x.dtype)
            assert y.device == x.device
            assert_allclose(host(y), np.linspace(start, stop, num), rtol=1e-6)
        three = xp.asarray(3, device=x.device)
        assert_array_equal(host(xp.linspace(0.0, 1.0, three)), [0, 0.5, 1])
        for num in (1, 4):
            y = xp.linspace(a, 2.0, num, endpoint=False)
            assert_allclose(host(y), np.linspace(0.5, 2.0, num, endpoint=False), rtol=1e-6)
        return xp.linspace(a, 1 + 1j, 3)

    y = during_grad(check, make(X))
    assert str(y.dtype).endswith("complex64")
    assert_allclose(host(y), np.linspace(0.5, 1 + 1j, 3), rtol=1e-6)


def test_the_ends_of_linspace(make):
    def check(xp, x):
        y = xp.linspace(x[0, 0], x[0, 2], 7)
        assert_array_equal(host(y)[[0, -1]], [0.5, -2.0])  # to the last digit
        return xp.linspace(xp.asarray(0, device=x.device), xp.asarray(6, device=x.device), 4)

    y = during_grad(check, make(X))
    assert_allclose(host(y), [0, 2, 4, 6], rtol=1e-6)
    assert y.dtype == nnx.namespace_of(make(X)).asarray(0.0).dtype
    assert_allclose(gradient(lambda xp, x: xp.linspace(x[0, 0], x[0, 1], 5) ** 2, make([[1.0, 1.0]])), [[5, 5]])


def test_linspace_between_arrays(make):
    def line(xp, x):
        return xp.linspace(x[0, :], 1.0, 4) * make(np.arange(12.0).reshape(4, 3))

    expected = np.linspace(X[0], 1.0, 4) * np.arange(12).reshape(4, 3)
    assert_allclose(host(during_grad(line, make(X))), expected, rtol=1e-6, atol=1e-5)
    t = np.linspace(0, 1, 4)[:, None]
    expected = np.sum(np.arange(12).reshape(4, 3) * (1 - t), axis=0)
    assert_allclose(gradient(line, make(X))[0], expected, rtol=1e-6)


# --- asarray --------------------------------------------------------------------------------------


def test_lists_of_tracked_numbers(make):
    def f(xp, x):
        a, b = x[0, 0], x[1, 0]
        y = xp.asarray([[a, 1.0], (2, a * b)])
        assert (y.shape, y.dtype) == ((2, 2), x.dtype)
        rows = xp.asarray([x[0, :], x[1, :], make([7.0, 8.0, 9.0])])
        assert rows.shape == (3, 3)
        return xp.concat([xp.reshape(y**2, (-1,)), xp.reshape(rows, (-1,))])

    x = make(X)
    expected = np.concatenate([[0.25, 1, 4, 2.25], X.reshape(-1), [7, 8, 9]])
    assert_allclose(host(during_grad(f, x)), expected, rtol=1e-6)
    expected = np.ones_like(X)
    expected[:, 0] += [2 * 0.5 + 2 * 0.5 * 9, 2 * 0.25 * 3]
    assert_allclose(gradient(f, x), expected, rtol=1e-6)


@both
def test_the_dtype_of_a_list(kind, make):
    def check(xp, x):
        a = number(xp, x, kind)
        wide = xp.astype(a, xp.float64)
        assert xp.asarray([a, wide]).dtype == xp.float64
        assert xp.asarray([2, a]).dtype == x.dtype
        assert xp.asarray([a, 1j]).dtype == xp.complex64
        assert xp.asarray([a, wide], dtype=xp.float32).dtype == xp.float32
        one = xp.asarray([1.5, a], dtype=xp.int32)
        assert (one.dtype, one.node) == (xp.int32, CONSTANT)
        integers = xp.asarray([xp.asarray(3, device=x.device), 4])
        assert integers.node is CONSTANT
        assert_array_equal(host(integers), [3, 4])
        assert xp.isdtype(integers.dtype, "integral")
        for y in (xp.asarray([a]), xp.asarray(((a,),))):
            assert type(y) is Tracked
            assert (y.node is CONSTANT) == (kind == "constant")
            assert y.device == x.device

    during_grad(check, make(X))


def test_lists_of_rows_that_do_not_fit(make):
    with pytest.raises((ValueError, RuntimeError, TypeError)):
        during_grad(lambda xp, x: xp.asarray([x[0, 0], [1.0]]), make(X))


def test_asarray_without_a_copy(make):
    def check(xp, x):
        assert xp.asarray(x) is x
        assert xp.asarray(x, copy=False, dtype=x.dtype, device=x.device) is x
        for copied in (xp.asarray(x, copy=True), xp.asarray(x, copy=True, dtype=x.dtype)):
            assert copied is not x
            assert copied.node is x.node
        with pytest.raises(nnx.ArgumentError, match=r"dtype .*float64 on .* of one of dtype .*float32 on .* without"):
            xp.asarray(x, copy=False, dtype=xp.float64)
        with pytest.raises(nnx.ArgumentError, match="of several without copying"):
            xp.asarray([x, x], copy=False)

    during_grad(check, make(X))


# --- devices --------------------------------------------------------------------------------------


def test_another_device():
    strict = pytest.importorskip("array_api_strict")
    there = strict.Device("device2")
    x = nnx.asarray(X, device="strict:device1")

    def move(xp, x):
        moved = x.to_device(there)
        cast = xp.asarray(x, device=there, dtype=xp.float32)
        listed = xp.asarray([x[0, 0], 1.0], device=there)
        made = xp.full((2,), x[0, 0], device=there), xp.linspace(x[0, 0], x[0, 1], 3, device=there)
        for y in (moved, cast, listed, *made):
            assert y.device == there
        assert cast.dtype == xp.float32
        back = moved.to_device(x.device)
        return back * x + xp.sum(listed.to_device(x.device)) + xp.sum(made[0].to_device(x.device))

    expected = 2 * X
    expected[0, 0] += 3 * X.size
    assert_allclose(gradient(move, x), expected)
    assert nnx.grad(lambda x: nnx.namespace_of(x).sum(x.to_device(x.device) ** 2))(x).device == x.device
    with pytest.raises(nnx.ArgumentError, match="without copying"):
        during_grad(lambda xp, x: xp.asarray(x, device=there, copy=False), x)


def test_the_same_device(make):
    assert_array_equal(gradient(lambda xp, x: x.to_device(x.device, stream=None) ** 2, make(X)), 2 * X)
    assert_array_equal(gradient(lambda xp, x: xp.asarray(x, device=x.device) ** 2, make(X)), 2 * X)


# --- several results ------------------------------------------------------------------------------


@both
def test_several_results_are_a_tuple(kind, make):
    def check(xp, x):
        x = nnx.stop_gradient(x) if kind == "constant" else x
        calls = [
            (xp.unstack(x), [(3,)] * 2),
            (xp.unstack(x, axis=-1), [(2,)] * 3),
            (xp.unstack(x[:0, :], axis=0), []),
            (xp.broadcast_arrays(x, x[0, :]), [(2, 3)] * 2),
            (xp.broadcast_arrays(x[0, 0]), [()]),
            (xp.meshgrid(x[0, :], x[:, 0]), [(2, 3)] * 2),
            (xp.meshgrid(x[0, :], x[:, 0], x[0, :1], indexing="ij"), [(3, 2, 1)] * 3),
            (xp.meshgrid(x[0, :], indexing="ij"), [(3,)]),
            (xp.meshgrid(x[0, :0], x[:, 0]), [(2, 0)] * 2),
        ]
        for results, shapes in calls:
            assert type(results) is tuple
            assert [y.shape for y in results] == shapes
            for y in results:
                assert type(y) is Tracked
                assert (y.node is CONSTANT) == (kind == "constant")
                assert (y.dtype, y.device) == (x.dtype, x.device)
        assert type(xp.meshgrid(make(X)[0, :])) is tuple  # of raw arrays too, of which some libraries make lists
        assert xp.broadcast_arrays() == xp.meshgrid() == ()

    during_grad(check, make(X))


def test_each_result_keeps_its_dtype(make):
    def check(xp, x):
        wide = xp.astype(x[0, :], xp.float64)
        mask = x[0, :] > 0
        assert [y.dtype for y in xp.broadcast_arrays(x, wide, mask)] == [x.dtype, xp.float64, xp.bool]
        assert [y.dtype for y in xp.meshgrid(x[0, :], wide)] == [x.dtype, xp.float64]

    during_grad(check, make(X))


def test_what_was_not_used_of_several_results(make):
    assert_array_equal(gradient(lambda xp, x: xp.unstack(x)[1] * 2.0, make(X)), [[0, 0, 0], [2, 2, 2]])
    assert_array_equal(gradient(lambda xp, x: xp.meshgrid(x[0, :], x[:, 0])[1], make(X)), [[3, 0, 0], [3, 0, 0]])

    def product(x):
        a, b = nnx.namespace_of(x).unstack(x)
        return nnx.namespace_of(x).sum(a * b * b)

    def slope(x):
        return nnx.namespace_of(x).sum(nnx.grad(product)(x) * make([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))

    found = nnx.to_numpy(nnx.grad(slope)(make(X)))  # of b0² + 4 a2 b2
    assert_allclose(found, [[0, 0, 4.0], [6, 0, -8]])


def test_the_cost_of_many_parts_grows_as_their_number():
    """Each part adds a row to the gradient, not an array of zeros for all."""
    count = []

    class Observer:
        def recorded(self, primitive, result):
            pass

        def walked(self, node, derivative, gradient):
            count.append(getattr(gradient, "size", 0))

    x = np.ones((200, 10))
    with observe(Observer()):
        nnx.grad(lambda x: nnx.namespace_of(x).sum(sum(row * row for row in x)))(x)
    assert sum(count) < 10 * x.size


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda xp, x: xp.unstack(x, axis=2), (ValueError, IndexError)),
        (lambda xp, x: xp.unstack(x[0, 0]), (ValueError, IndexError)),
        (lambda xp, x: xp.broadcast_arrays(x, x[:, :2]), (ValueError, RuntimeError)),
        (lambda xp, x: xp.broadcast_arrays(x, 2.0), nnx.DTypeError),
        (lambda xp, x: xp.meshgrid(x[0, :], indexing="yx"), ValueError),
        (lambda xp, x: xp.full((2,), x[0, 0], xp.float32), TypeError),
        (lambda xp, x: xp.linspace(x[0, 0], 1.0, 3, xp.float32), TypeError),
        (lambda xp, x: xp.linspace(x[0, 0], stop=1.0, num=3), TypeError),
    ],
)
def test_errors(call, error, make):
    with pytest.raises(error):
        during_grad(call, make(X))
