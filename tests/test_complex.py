"""Complex numbers through every transformation: arguments, results, and what is computed in between."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx


@pytest.fixture(scope="module")
def jax():
    return pytest.importorskip("jax")


def cotangent(x):
    rng = np.random.default_rng(1)
    return rng.normal(size=x.shape) + 1j * rng.normal(size=x.shape)


# --- the convention ---------------------------------------------------------------------------


def test_the_gradient_is_by_x_less_i_times_that_by_y(make):
    def f(z):
        xp = nnx.namespace_of(z)
        return xp.sum(2 * xp.real(z) + 3 * xp.imag(z))

    g = nnx.grad(f)(make([1 + 1j, -2j], "complex64"))
    assert_array_equal(nnx.to_numpy(g), [2 - 3j, 2 - 3j])


def test_a_step_against_the_conjugate_of_the_gradient_descends(make):
    target = make([1 - 2j, 0.5j], "complex64")

    def f(z):
        xp = nnx.namespace_of(z)
        return xp.sum(xp.abs(z * z - target) ** 2)

    z = make([1 - 1j, 1 + 0.2j], "complex64")
    before = float(f(z))
    for _ in range(200):
        z = z - 0.02 * nnx.namespace_of(z).conj(nnx.grad(f)(z))
    assert float(f(z)) < 1e-4 * before


def test_the_pull_back_of_a_holomorphic_function_multiplies_by_its_derivative(make):
    z, g = make([1 + 2j, -0.5j], "complex64"), make([1j, 2 - 1j], "complex64")
    (found,) = nnx.vjp(lambda z: z * z * z, z)[1](g)
    assert_allclose(nnx.to_numpy(found), nnx.to_numpy(g * 3 * z * z), rtol=1e-6)


def test_a_real_argument_gets_the_real_part(make):
    x = make([1.0, -2.0])
    (found,) = nnx.vjp(lambda x: x * (2 + 3j), x)[1](make([1.0, 1j], "complex64"))
    assert found.dtype == x.dtype
    assert_array_equal(nnx.to_numpy(found), [2, -3])


# --- every transformation ---------------------------------------------------------------------

Z = np.asarray([[1 + 2j, -0.5j], [0.3 - 1j, 2.0]])


def energy(z):
    xp = nnx.namespace_of(z)
    return xp.sum(xp.abs(z * z + xp.exp(z)) ** 2)


def test_an_argument_that_is_not_used(make):
    x, z = make([1.0]), make([1j, 2.0], "complex64")
    gradients = nnx.grad(lambda tree: tree["x"][0] * 2)({"x": x, "z": [z]})
    (unused,) = gradients["z"]
    assert (unused.dtype, unused.shape) == (z.dtype, z.shape)
    assert_array_equal(nnx.to_numpy(unused), [0, 0])


def test_a_number():
    g = nnx.grad(lambda z: nnx.namespace_of(z).abs(z) ** 2)(3 + 4j)
    assert g.dtype == np.complex64
    assert complex(g) == 6 - 8j
    value, pushed = nnx.jvp(lambda z: z * z, (3 + 4j,), (1j,))
    assert (complex(value), complex(pushed)) == (-7 + 24j, -8 + 6j)
    with pytest.raises(nnx.DTypeError, match="got a complex"):
        nnx.jvp(lambda x: x * x, (3.0,), (1j,))


def test_a_complex_value_has_a_pull_back_and_no_gradient(make):
    z = make([1j], "complex64")
    with pytest.raises(nnx.DifferentiationError, match="answered dtype .*complex64; .* use nnx.vjp"):
        nnx.grad(lambda z: z[0])(z)


def test_a_jacobian_is_of_real_results(jax):
    def f(z, xp=None):
        xp = xp or nnx.namespace_of(z)
        return xp.stack([xp.real(z * z), xp.abs(z), xp.imag(xp.exp(z))])

    found = nnx.jacobian(f)(Z)
    assert_allclose(found, jax.jacrev(lambda z: f(z, jax.numpy))(jax.numpy.asarray(Z)), rtol=1e-12)
    assert (found.shape, found.dtype) == ((3, 2, 2, 2, 2), np.complex128)
    with pytest.raises(nnx.DTypeError, match="complex128: answer its real and imaginary parts"):
        nnx.jacobian(lambda z: z * z)(Z)
    with pytest.raises(nnx.DTypeError, match="complex128: .*nnx.hvp"):
        nnx.hessian(energy)(Z)


def test_the_second_order_in_the_other_way():
    """Hv as the gradient of Re Σ v G, for the gradient G: it is symmetric under that product."""
    v = cotangent(Z)

    def slope(z):
        xp = nnx.namespace_of(z)
        return xp.sum(xp.real(nnx.grad(energy)(z) * v))

    assert_allclose(nnx.grad(slope)(Z), nnx.hvp(energy, (Z,), (v,))[0], rtol=1e-12)


def test_third_order_of_a_holomorphic_function():
    real = lambda z: nnx.namespace_of(z).real(z * z * z * z)  # noqa: E731
    first = nnx.grad(real)
    second = nnx.grad(lambda z: nnx.namespace_of(z).real(first(z)))
    third = nnx.grad(lambda z: nnx.namespace_of(z).real(second(z)))
    assert_allclose(third(np.asarray(1 + 2j)), 24 * (1 + 2j))


def test_custom_vjp_and_remat(make):
    z = make(Z, "complex64")
    expected = nnx.to_numpy(nnx.grad(energy)(z))

    def square_adjoint(g, y, z):
        return (2 * g * z,)

    square = nnx.custom_vjp(lambda z: z * z, square_adjoint)

    def again(z):
        xp = nnx.namespace_of(z)
        return xp.sum(xp.abs(square(z) + nnx.remat(xp.exp)(z)) ** 2)

    g = nnx.grad(again)(z)
    assert g.dtype == z.dtype
    assert_allclose(nnx.to_numpy(g), expected, rtol=1e-5)
    assert_allclose(
        nnx.to_numpy(nnx.hvp(again, (z,), (z,))[0]), nnx.to_numpy(nnx.hvp(energy, (z,), (z,))[0]), rtol=1e-4
    )
    wrong = nnx.custom_vjp(lambda x: x * 1j, lambda g, y, x: (g * 1j,))
    with pytest.raises(nnx.DTypeError, match="must answer dtype float32 .* answered .*complex64"):
        nnx.vjp(wrong, np.ones(1, dtype=np.float32))[1](np.ones(1, dtype=np.complex64))


class Turn(nnx.Module):
    factor: nnx.Parameter

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor


def test_a_complex_parameter(make):
    model, x = Turn(make([1j, 2.0], "complex64")), make([3.0, 1.0])

    def f(model, x):
        y = model(x)
        return nnx.namespace_of(y).sum(nnx.namespace_of(y).real(y))

    gradient = nnx.grad(f)(model, x)
    assert gradient["factor"].dtype == model.factor.dtype
    assert_array_equal(nnx.to_numpy(gradient["factor"]), [3, 1])


def test_under_a_compiler(jax):
    compiled = jax.jit(nnx.value_and_grad(energy))
    for found, expected in zip(compiled(jax.numpy.asarray(Z)), nnx.value_and_grad(energy)(Z), strict=True):
        assert_allclose(found, expected, rtol=1e-12)
