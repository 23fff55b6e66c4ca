"""The rules of `fft` are transposes, for every length, option and kind of number."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from nnx.testing import check_gradients

TO_REAL = "hfft irfft irfftn".split()
FROM_REAL = "ihfft rfft rfftn".split()
LINES = "fft hfft ifft ihfft irfft rfft".split()
GRIDS = "fftn ifftn irfftn rfftn".split()
NORMS = ["backward", "ortho", "forward"]


def transform(name, **options):
    return lambda x: getattr(nnx.namespace_of(x).fft, name)(x, **options)


def draw(rng, shape, real):
    x = rng.normal(size=shape)
    return x if real else x + 1j * rng.normal(size=shape)


def assert_transposed(f, name, shape):
    """For a linear function L and its pull-back Lᵀ, Re Σ g L(v) = Re Σ Lᵀ(g) v."""
    rng = np.random.default_rng(0)
    x, v = (draw(rng, shape, name in FROM_REAL) for _ in range(2))
    y, pull = nnx.vjp(f, x)
    g = draw(rng, y.shape, name in TO_REAL)
    (found,) = pull(g)
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    assert_allclose(np.sum(found * v).real, np.sum(g * f(v)).real, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", LINES)
def test_lengths_odd_even_cut_and_filled(name, norm):
    for length in range(1, 7):
        for n in (None, *range(1, 9)):
            if name in TO_REAL and (length, n) == (1, None):
                continue  # of a whole spectrum of length 0
            for axis, shape in [(-1, (length,)), (0, (length, 2)), (-2, (2, length, 1))]:
                assert_transposed(transform(name, n=n, axis=axis, norm=norm), name, shape)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(
    ("s", "axes"),
    [
        (None, None),
        (None, (0,)),
        (None, (2, 0)),
        (None, (0, -1, 1)),
        ((4,), (1,)),
        ((5, 1), (-1, 0)),
        ((2, 6), (0, 1)),
        ((1, 7, 2), (2, 0, 1)),
    ],
)
def test_several_axes(name, norm, s, axes):
    assert_transposed(transform(name, s=s, axes=axes, norm=norm), name, (3, 4, 5))


def test_a_length_of_minus_one_is_the_one_that_the_axis_has():
    assert_transposed(transform("rfftn", s=(2, -1), axes=(0, 1)), "rfftn", (3, 4))


@pytest.mark.parametrize("name", GRIDS)
def test_lengths_without_axes_are_those_of_the_last_ones(name):
    torch = pytest.importorskip("torch")  # NumPy warns of it
    host = draw(np.random.default_rng(0), (2, 3, 4), name in FROM_REAL)
    x = torch.tensor(host, requires_grad=True)
    y = transform(name, s=(4, 5))(x)
    g = draw(np.random.default_rng(1), tuple(y.shape), name in TO_REAL)
    y.backward(torch.tensor(np.conj(g)))  # whose gradients are the conjugates of nnx's
    (found,) = nnx.vjp(transform(name, s=(4, 5)), torch.tensor(host))[1](torch.tensor(g))
    assert_allclose(found, np.conj(x.grad.numpy()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LINES + GRIDS)
def test_pull_backs_are_those_of_jax(name):
    jax = pytest.importorskip("jax")
    options = {"n": 5} if name in LINES else {"s": (3, 5), "axes": (1, 0)}
    x = draw(np.random.default_rng(0), (4, 4), name in FROM_REAL)
    y, pull = nnx.vjp(transform(name, **options), x)
    expected, their_pull = jax.vjp(lambda x: getattr(jax.numpy.fft, name)(x, **options), jax.numpy.asarray(x))
    assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    g = draw(np.random.default_rng(1), y.shape, name in TO_REAL)
    assert_allclose(pull(g)[0], their_pull(jax.numpy.asarray(g))[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LINES + GRIDS + ["fftshift", "ifftshift"])
def test_single_precision_is_kept_on_every_backend(name, make, device):
    x = make(draw(np.random.default_rng(0), (3, 4), name in FROM_REAL), "float32" if name in FROM_REAL else "complex64")
    xp = device.namespace
    y, pull = nnx.vjp(transform(name), x)
    assert y.dtype == (xp.float32 if name in TO_REAL else xp.complex64)
    (found,) = pull(y)
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    assert nnx.backend.device_of(found) == device
    host = nnx.to_numpy(x)
    expected, their_pull = nnx.vjp(transform(name), host)
    assert_allclose(nnx.to_numpy(y), expected, rtol=1e-5, atol=1e-5)
    assert_allclose(nnx.to_numpy(found), their_pull(expected)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["fft", "ifft", "irfft", "fftn", "irfftn"])
def test_real_numbers_where_the_library_takes_them_as_complex(name):
    x = np.random.default_rng(0).normal(size=(3, 4))
    y, pull = nnx.vjp(transform(name), x)
    g = draw(np.random.default_rng(1), y.shape, name in TO_REAL)
    (found,) = pull(g)
    (expected,) = nnx.vjp(transform(name), x.astype(complex))[1](g)
    assert found.dtype == x.dtype
    assert_allclose(found, expected.real, atol=1e-15)


@pytest.mark.parametrize(("n", "real"), [(5, [0]), (6, [0, 3]), (1, [0]), (2, [0, 1])])
@pytest.mark.parametrize("name", ["hfft", "irfft"])
def test_imaginary_parts_that_are_not_read(name, n, real):
    x = np.random.default_rng(0).normal(size=n // 2 + 1) + 1j
    f = transform(name, n=n)
    (found,) = nnx.vjp(f, x)[1](np.arange(1.0, n + 1))
    assert_array_equal(np.flatnonzero(found.imag == 0), real)
    changed = x.copy()
    changed[real] += 3j
    assert_array_equal(f(changed), f(x))


def test_a_power_spectrum(device):
    """A program of real numbers, with complex ones within."""

    def power(x):
        xp = nnx.namespace_of(x)
        window = 0.5 - 0.5 * xp.cos(2 * xp.pi * xp.fft.fftfreq(6, device=device.native))
        spectrum = xp.abs(xp.fft.rfft(x * window, n=8, norm="ortho")) ** 2
        return xp.log(1 + spectrum) + xp.fft.fftshift(spectrum)

    check_gradients(power, np.random.default_rng(0).normal(size=(2, 6)), device=device)


def test_a_convolution_by_transforms(device):
    def convolve(x, kernel):
        fft = nnx.namespace_of(x).fft
        return fft.irfftn(
            fft.rfftn(x, s=(5, 6), axes=(0, 1)) * fft.rfftn(kernel, s=(5, 6), axes=(0, 1)), s=(5, 6), axes=(0, 1)
        )

    rng = np.random.default_rng(0)
    check_gradients(convolve, rng.normal(size=(4, 4)), rng.normal(size=(2, 3)), device=device)


def test_complex_arguments(device):
    def f(z):
        fft = nnx.namespace_of(z).fft
        return fft.ifftn(fft.fft(z) ** 2) * z

    rng = np.random.default_rng(0)
    check_gradients(f, rng.normal(size=(2, 3)) + 1j * rng.normal(size=(2, 3)), device=device)


@pytest.mark.parametrize("name", LINES + GRIDS)
def test_batches_of_none(name):
    x = np.zeros((0, 4), float if name in FROM_REAL else complex)
    options = {} if name in LINES else {"axes": (1,)}
    y, pull = nnx.vjp(transform(name, **options), x)
    (found,) = pull(y)
    assert (found.dtype, found.shape) == (x.dtype, x.shape)


def test_frequencies_are_constants(make):
    x = make([1.0, 2.0, 3.0, 4.0])

    def f(x):
        xp = nnx.namespace_of(x)
        for frequencies in (xp.fft.fftfreq(4, device=xp.device_of(x)), xp.fft.rfftfreq(4, device=xp.device_of(x))):
            assert isinstance(float(xp.sum(frequencies)), float)
        return xp.sum(x * xp.astype(xp.fft.fftfreq(4, device=xp.device_of(x)), x.dtype))

    assert_allclose(nnx.to_numpy(nnx.grad(f)(x)), [0, 0.25, -0.5, -0.25])
