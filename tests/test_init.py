"""Initialisers: their distributions, and the same numbers on every backend."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

import nnx
from nnx import init
from nnx.backend import device_of
from nnx.init import fans

SHAPE = (300, 200)
VARIANCES = {
    init.glorot_normal: 2 / 500,
    init.glorot_uniform: 2 / 500,
    init.he_normal: 2 / 300,
    init.he_uniform: 2 / 300,
    init.lecun_normal: 1 / 300,
    init.lecun_uniform: 1 / 300,
    init.normal: 0.01**2,
    init.uniform: 0.1**2 / 12,
}
random_ones = pytest.mark.parametrize("make", VARIANCES, ids=lambda f: f.__name__)
# tests/init/ has the distributions of these
OTHERS = [init.orthogonal, init.sparse, init.truncated_normal, init.variance_scaling]
all_random_ones = pytest.mark.parametrize("make", [*VARIANCES, *OTHERS], ids=lambda f: f.__name__)


@random_ones
def test_mean_and_variance(make):
    w = make(SHAPE, dtype="float64", rng=nnx.Generator(0))
    variance, n = VARIANCES[make], w.size
    assert abs(w.mean()) < 4.5 * math.sqrt(variance / n)
    assert w.var() == pytest.approx(variance, rel=4.5 * math.sqrt(2 / n))  # the normal's; a uniform varies less


@random_ones
def test_uniform_ones_stay_within_their_bound_and_normal_ones_do_not(make):
    w = make(SHAPE, dtype="float64", rng=nnx.Generator(0))
    bound = math.sqrt(3 * VARIANCES[make])
    share = (abs(w) > bound).mean()
    if make.__name__.endswith("uniform"):
        assert share == 0
        assert abs(w).max() > 0.999 * bound
    else:
        assert share == pytest.approx(math.erfc(math.sqrt(1.5)), abs=0.01)


@all_random_ones
def test_the_same_bits_on_every_backend(make, device):
    here = make((5, 3), rng=nnx.Generator(1), device=device)
    assert device_of(here) == device
    assert here.dtype == device.namespace.float32
    np.testing.assert_array_equal(nnx.to_numpy(here), make((5, 3), rng=nnx.Generator(1), device="cpu"))


@all_random_ones
def test_float32_is_float64_rounded(make):
    np.testing.assert_array_equal(
        make((5, 3), rng=nnx.Generator(1)),
        make((5, 3), rng=nnx.Generator(1), dtype="float64").astype("float32"),
    )


@all_random_ones
def test_two_draws_of_one_generator_differ(make):
    rng = nnx.Generator(1)
    assert (make((5, 3), rng=rng) != make((5, 3), rng=rng)).all()


@pytest.mark.parametrize(("make", "value"), [(init.zeros, 0), (init.ones, 1)])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0)])
def test_constants(make, value, shape, device):
    w = make(shape, device=device)
    assert w.shape == shape
    assert device_of(w) == device
    assert (nnx.to_numpy(w) == value).all()
    assert (nnx.to_numpy(init.constant(shape, 2.5, device=device)) == 2.5).all()


def test_what_normal_and_uniform_are_told():
    rng = nnx.Generator(0)
    assert init.normal((10_000,), mean=3.0, std=0.5, rng=rng).mean() == pytest.approx(3, abs=0.025)
    w = init.uniform((10_000,), low=1.0, high=2.0, rng=rng)
    assert w.min() >= 1
    assert w.max() <= 2


@pytest.mark.parametrize(
    ("shape", "expected"), [((784, 128), (784, 128)), ((3, 3, 16, 32), (144, 288)), ((1, 1), (1, 1))]
)
def test_fans(shape, expected):
    assert fans(shape) == expected


@pytest.mark.parametrize("shape", [(), (5,)])
@pytest.mark.parametrize(
    "make", [init.glorot_uniform, init.he_normal, init.lecun_uniform, init.variance_scaling, *OTHERS[:2], init.identity]
)
def test_fans_need_two_axes(make, shape):
    with pytest.raises(nnx.ShapeError, match=r"at least two axes \(\.\.\., inputs, outputs\), got"):
        make(shape)


def test_the_default_device_is_where_arrays_are_made(device):
    with nnx.default_device(device):
        assert device_of(init.zeros((2,))) == device


@pytest.mark.parametrize("make", [init.zeros, init.normal, init.he_uniform])
@pytest.mark.parametrize("dtype", ["float31", "sum", np.float32])
def test_a_dtype_is_a_name_of_the_standard(make, dtype):
    with pytest.raises(nnx.DTypeError, match="a dtype is a name of the Array API standard"):
        make((2, 3), dtype=dtype)


@all_random_ones
def test_random_numbers_are_floats(make):
    with pytest.raises(nnx.DTypeError, match="random numbers need a floating-point dtype"):
        make((2, 3), dtype="int32")
    assert init.zeros((2, 3), dtype="int32").dtype == np.int32


def test_fans_need_elements():
    with pytest.raises(nnx.ShapeError, match=r"at least one element, got shape \(0, 3\)"):
        init.he_normal((0, 3))


@all_random_ones
@pytest.mark.parametrize("rng", [0, 3, np.random.default_rng(0)])
def test_rng_is_a_generator(make, rng):
    with pytest.raises(nnx.ArgumentError, match=r"rng is an nnx.Generator.*nnx.Generator\(0\)"):
        make((2, 3), rng=rng)


def test_every_initialiser_may_stand_for_any_other(device):
    """All take a shape, a dtype, a device and a generator; ``constant`` also a value."""
    for name in set(init.__all__) - {"fans"}:
        make = partial(init.constant, value=0.01) if name == "constant" else getattr(init, name)
        layer = nnx.Linear(4, 3, weight_init=make, dtype="float64", device=device, rng=nnx.Generator(0))
        assert layer.weight.shape == (4, 3)
        assert layer.weight.dtype == device.namespace.float64
        assert device_of(layer.weight) == device


def test_biases_of_a_constant():
    layer = nnx.Linear(4, 3, bias_init=partial(init.constant, value=0.01))
    assert layer.bias.tolist() == [np.float32(0.01)] * 3
