"""What an op is: a forward and adjoints, any of which a kernel may replace by name."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import nnx
from nnx.backend import kernels_of
from nnx.ops._op import op, replaceable


def cube_forward(xp, x, *, factor=1.0):
    """The cube."""
    return factor * x * x * x


def cube_x(xp, g, x, factor=1.0):
    return 3 * factor * g * x * x


cube = op(cube_forward, x=cube_x)


def ratio_forward(xp, x1, x2):
    y = x1 / x2
    return y, y / x2


def ratio_x1(xp, g, x2):
    return g / x2


def ratio_x2(xp, g, saved):
    return -g * saved


ratio = op(ratio_forward, saves=True, x1=ratio_x1, x2=ratio_x2)


def scaled_forward(xp, x):
    size = xp.sum(x * x)
    return (x / size, size), (size,)


def scaled_x(xp, g, saved, x):
    (size,) = saved
    return g / size - 2 * x * (xp.sum(g * x) / (size * size))


scaled = op(scaled_forward, saves=True, x=scaled_x)


@pytest.fixture
def kernels(device, make, monkeypatch):
    """The table of kernels of the device's library, to be written to."""
    from nnx.backend import library

    make(0.0)  # the library is known from its first array on
    nnx.namespace_of(make(0.0))
    table = dict(kernels_of(device.namespace))
    monkeypatch.setitem(library._kernels, device.namespace, table)
    return table


def test_an_op_has_the_derivatives_of_its_adjoints(device):
    nnx.testing.check_gradients(cube, np.asarray([0.3, -2.0]), order=3, device=device)
    nnx.testing.check_gradients(lambda x: cube(x, factor=0.1), np.asarray([0.3, -2.0]), order=3, device=device)
    nnx.testing.check_gradients(ratio, np.asarray([0.3, -2.0]), np.asarray([1.5, 0.7]), order=3, device=device)


def test_only_one_argument_may_be_tracked(make):
    x, w = make([1.0, 2.0], "float64"), make([4.0, 5.0], "float64")
    np.testing.assert_allclose(nnx.to_numpy(nnx.vjp(lambda x: ratio(x, w), x)[1](x)[0]), [1 / 4, 2 / 5])
    np.testing.assert_allclose(nnx.to_numpy(nnx.vjp(lambda w: ratio(x, w), w)[1](w)[0]), [-4 / 16, -10 / 25])


def test_a_forward_that_saves_answers_its_value_alone(make):
    assert nnx.to_numpy(ratio(make(6.0), make(2.0))) == 3


def test_results_beside_the_value_are_constants(make, device):
    x = np.asarray([0.3, -2.0, 1.0])
    nnx.testing.check_gradients(lambda x: scaled(x)[0], x, order=3, device=device)
    y, size = scaled(make(x, "float64"))
    np.testing.assert_allclose(nnx.to_numpy(size), 5.09)
    np.testing.assert_allclose(nnx.to_numpy(y), x / 5.09)

    def f(x):
        y, size = scaled(x)
        return nnx.namespace_of(y).sum(y) * size, size

    (value, found), gradient = nnx.value_and_grad(f, has_aux=True)(make(x, "float64"))
    np.testing.assert_allclose(nnx.to_numpy(value), x.sum())
    assert nnx.namespace_of(found) is device.namespace
    np.testing.assert_allclose(nnx.to_numpy(found), 5.09)
    np.testing.assert_allclose(nnx.to_numpy(gradient), 1 - 2 * x * x.sum() / 5.09)  # that of y times a constant


def test_results_beside_the_value_are_constants_of_every_differentiation(make):
    def inner(x):
        return nnx.namespace_of(y := scaled(x)[1] * x).sum(y)

    hessian = nnx.grad(lambda x: nnx.namespace_of(g := nnx.grad(inner)(x)).sum(g))(make([0.3, -2.0], "float64"))
    np.testing.assert_array_equal(nnx.to_numpy(hessian), [0, 0])


def test_a_kernel_replaces_the_forward(kernels, make):
    kernels["cube_forward"] = lambda xp, x, *, factor=1.0: x * 0 + 7
    value, gradient = nnx.value_and_grad(cube)(make(2.0))
    assert nnx.to_numpy(cube(make(2.0))) == nnx.to_numpy(value) == 7
    assert nnx.to_numpy(gradient) == 12


def test_a_kernel_replaces_an_adjoint(kernels, make):
    kernels["cube_x"] = lambda xp, g, x, factor=1.0: g * 0 + 7
    value, gradient = nnx.value_and_grad(cube)(make(2.0))
    assert nnx.to_numpy(value) == 8
    assert nnx.to_numpy(gradient) == 7


def test_a_kernel_never_replaces_a_derivative(kernels, make):
    """The gradient of an adjoint is that of its reference: a kernel has none to offer."""
    kernels["cube_x"] = lambda xp, g, x, factor=1.0: g * 0 + 7
    assert nnx.to_numpy(nnx.grad(nnx.grad(cube))(make(2.0))) == 12


def test_kernels_of_one_library_leave_the_others_alone(kernels, device, flags):
    kernels["cube_forward"] = lambda xp, x, *, factor=1.0: x * 0 + 7
    for flag in flags:
        same = nnx.device(flag).backend is device.backend
        assert nnx.to_numpy(cube(nnx.asarray(2.0, device=flag))) == (7 if same else 8)


def test_a_function_that_is_no_op_is_replaced_too(kernels, device, make):
    def doubled(xp, x):
        return 2 * x

    call = replaceable(doubled)
    assert nnx.to_numpy(call(device.namespace, make(3.0))) == 6
    kernels["doubled"] = lambda xp, x: 20 * x
    assert nnx.to_numpy(call(device.namespace, make(3.0))) == 60


def test_an_op_is_documented_as_its_forward_is():
    assert cube.__doc__ == "The cube."
    assert cube.__name__ == "cube"


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "softmax", "log_softmax", "erf"])
def test_floats_are_expected(name, flag):
    with pytest.raises(nnx.DTypeError, match=rf"{name}\(\) expected an array of real floats first, got dtype .*int32"):
        getattr(nnx.ops, name)(nnx.asarray(np.arange(3, dtype=np.int32), device=flag))


def test_the_signature_is_that_of_the_caller():
    assert str(inspect.signature(cube)) == "(x, *, factor=1.0)"
