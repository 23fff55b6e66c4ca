"""Pooling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import nnx
from nnx.ops import avg_pool2d, max_pool2d
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)

CASES = {  # (height, width), options
    "plain": ((6, 8), {"kernel_size": 2}),
    "what is never read": ((7, 8), {"kernel_size": 3}),
    "overlapping": ((7, 6), {"kernel_size": (3, 2), "stride": (2, 1)}),
    "padded": ((5, 6), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "gaps": ((8, 7), {"kernel_size": 2, "stride": 3}),
    "one pixel": ((3, 4), {"kernel_size": 1}),
}
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
BOTH = pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d], ids=["max", "avg"])


def images(size, batch=2, channels=3, ties=False):
    shape = (batch, *size, channels)
    if ties:
        return rng.integers(0, 3, shape).astype("float64")
    return rng.permutation(float(np.prod(shape)) * np.linspace(-1, 1, int(np.prod(shape)))).reshape(shape)


def of_torch(pool, **options):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.functional.max_pool2d if pool is max_pool2d else torch.nn.functional.avg_pool2d
    return lambda x: theirs(x.permute(0, 3, 1, 2), **options).permute(0, 2, 3, 1)


@BOTH
@pytest.mark.parametrize("name", ["plain", "padded"])
@pytest.mark.parametrize("ties", [False, True])
def test_values_and_gradients_are_those_of_torch(pool, name, ties, assert_as_torch):
    size, options = CASES[name]
    assert_as_torch(lambda x: pool(x, **options), of_torch(pool, **options), images(size, ties=ties))


def test_the_mean_without_the_padding(assert_as_torch):
    options = {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}
    assert_as_torch(lambda x: avg_pool2d(x, **options), of_torch(avg_pool2d, **options), images((5, 6)))


@given(
    pool=st.sampled_from([max_pool2d, avg_pool2d]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.none() | st.integers(1, 5) | st.tuples(st.integers(1, 5), st.integers(1, 5)),
    pads=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    ties=st.booleans(),
    layout=st.sampled_from(["C", "F"]),
)
def test_any_numbers_on_the_host(pool, size, kernel, stride, pads, ties, layout):
    torch = pytest.importorskip("torch")
    assume(all(2 * p <= k <= n + 2 * p for p, k, n in zip(pads, kernel, size, strict=True)))  # as torch wants it
    options = {"kernel_size": kernel, "stride": stride, "padding": pads}
    x = images(size, ties=ties)
    tensor = torch.tensor(x, requires_grad=True)
    expected = of_torch(pool, **options)(tensor)
    value, pull = nnx.vjp(lambda x: pool(x, **options), np.array(x, order=layout))
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-10)
    cotangent = rng.standard_normal(value.shape)
    expected.backward(torch.tensor(cotangent))
    np.testing.assert_allclose(pull(cotangent)[0], tensor.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_uneven_padding():
    x = np.arange(6.0).reshape(1, 2, 3, 1)
    y = max_pool2d(x, kernel_size=2, padding=((0, 0), (0, 1)))
    assert y[0, :, :, 0].tolist() == [[4, 5]]
    y = avg_pool2d(x, kernel_size=2, padding=((0, 0), (0, 1)), count_include_pad=False)
    assert y[0, :, :, 0].tolist() == [[2, 3.5]]
    y = avg_pool2d(x, kernel_size=2, padding="same", count_include_pad=True)
    assert y[0, :, :, 0].tolist() == [[2, 1.75]]


def test_the_first_of_equal_elements_gets_the_gradient(make):
    x = make(np.zeros((1, 2, 4, 1)))
    _, pull = nnx.vjp(lambda x: max_pool2d(x, kernel_size=2), x)
    (gradient,) = pull(make([[[[3.0], [5.0]]]]))
    assert nnx.to_numpy(gradient)[0, :, :, 0].tolist() == [[3, 0, 5, 0], [0, 0, 0, 0]]


def test_nan_stays(make):
    x = make([[[[1.0], [np.nan]], [[2.0], [3.0]]]])
    value, pull = nnx.vjp(lambda x: max_pool2d(x, kernel_size=2), x)
    assert np.isnan(nnx.to_numpy(value)).all()
    assert nnx.to_numpy(pull(make([[[[2.0]]]]))[0]).sum() == 2


@BOTH
@EACH
def test_gradients_of_first_and_second_order(pool, case):  # on every backend in test_every_part.py
    size, options = case
    check_gradients(lambda x: pool(x, **options), images(size))


@BOTH
@pytest.mark.parametrize("name", ["plain", "overlapping", "gaps"])
def test_backends_agree(pool, name, flags):
    size, options = CASES[name]
    check_backends(lambda x: pool(x, **options), images(size).astype("float32"), backends=flags)


@BOTH
@pytest.mark.parametrize("batch", [0, 2])
def test_dtype_device_and_shape_are_kept(pool, batch, make, assert_kept):
    x = make(images((5, 6), batch))
    assert assert_kept(lambda x: pool(x, kernel_size=3, stride=2, padding=1), x).shape == (batch, 3, 3, 3)


def test_a_new_array_even_if_the_window_is_one_pixel():
    x = images((3, 3))
    for pool in (max_pool2d, avg_pool2d):
        y = pool(x, kernel_size=1)
        np.testing.assert_array_equal(y, x)
        assert not np.shares_memory(x, y)


@BOTH
def test_bad_input(pool):
    with pytest.raises(nnx.ShapeError, match=r"_pool2d\(\) expected images of shape .*, got shape \(4, 4, 1\)"):
        pool(np.zeros((4, 4, 1)), kernel_size=2)
    with pytest.raises(nnx.ShapeError, match="a window of 5 × 5 does not fit into an image of 4 × 4"):
        pool(np.zeros((1, 4, 4, 1)), kernel_size=5)
    with pytest.raises(nnx.ArgumentError, match="kernel_size must be .*, got 0"):
        pool(np.zeros((1, 4, 4, 1)), kernel_size=0)
    with pytest.raises(nnx.ArgumentError, match="stride must be .*, got -2"):
        pool(np.zeros((1, 4, 4, 1)), kernel_size=2, stride=-2)
    with pytest.raises(nnx.ArgumentError, match="windows that lie in the padding altogether.* 2 × 2 before"):
        pool(np.zeros((1, 4, 4, 1)), kernel_size=2, padding=2)
    with pytest.raises(nnx.DTypeError, match="an array of real floats first, got dtype int64"):
        pool(np.zeros((1, 4, 4, 1), np.int64), kernel_size=2)
