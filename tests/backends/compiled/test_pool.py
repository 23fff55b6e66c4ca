from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from nnx.ops import pool as reference
from nnx_numpy import pool as native
from nnx_numpy.compiled import pool

rng = np.random.default_rng(5)
WINDOWS = [  # (height, width), kernel, stride, padding
    ((6, 6), 2, None, 0),  # every element in one window
    ((7, 9), 2, None, 0),  # a line and a column in none
    ((7, 9), 2, 3, 1),  # elements between windows
    ((7, 9), (2, 3), (1, 2), (1, 2)),  # overlapping
    ((5, 5), 3, 4, ((0, 1), (2, 0))),
    ((5, 8), 3, 2, "same"),
    ((4, 4), 1, 2, 0),
]
CHANNELS = [4, 16, 24, 32]  # narrow vectors and wide ones, of either dtype


@pytest.fixture
def compiled(monkeypatch):
    """The compiled kernels, which may not hand on to those of NumPy."""
    for name in native.KERNELS:
        monkeypatch.setattr(native, name, None)
    return pool


def draw(size, channels, dtype="float32", batch=3):
    """Numbers with ties, infinities and NaN."""
    x = np.round(rng.standard_normal((batch, *size, channels))).astype(dtype)
    for value in (np.nan, -np.inf, np.inf):
        x[rng.random(x.shape) < 0.1] = value
    x[0, :3, :3, 0] = -np.inf
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), WINDOWS)
def test_maxima_and_who_gets_the_gradient_with_ties_and_nan(size, kernel, stride, padding, channels, dtype, compiled):
    x = draw(size, channels, dtype)
    y = compiled.max_pool2d_forward(np, x, kernel_size=kernel, stride=stride, padding=padding)
    np.testing.assert_array_equal(
        y, reference.max_pool2d_forward(np, x, kernel_size=kernel, stride=stride, padding=padding)
    )
    assert y.dtype == dtype
    g = rng.integers(-9, 9, y.shape).astype(dtype)  # sums of these are exact
    gradient = compiled.max_pool2d_x(np, g, x, y, kernel, stride, padding)
    np.testing.assert_array_equal(gradient, reference.max_pool2d_x(np, g, x, y, kernel, stride, padding))
    assert gradient.dtype == dtype


def test_a_gradient_that_is_not_finite_goes_to_its_element_alone(compiled):
    x = np.arange(64, dtype="float32").reshape(1, 4, 4, 4)
    y = compiled.max_pool2d_forward(np, x, kernel_size=2)
    g = np.full_like(y, np.inf)
    gradient = compiled.max_pool2d_x(np, g, x, y, 2)
    assert np.isinf(gradient[:, 1::2, 1::2]).all()
    assert np.count_nonzero(gradient) == g.size


def test_several_threads_do_as_one(compiled, monkeypatch):
    x = draw((9, 9), 16, batch=7)
    options = {"kernel_size": 3, "stride": 2, "padding": 1}
    y = compiled.max_pool2d_forward(np, x, **options)
    g = rng.standard_normal(y.shape, dtype="float32")
    gradient = compiled.max_pool2d_x(np, g, x, y, **options)
    monkeypatch.setattr(pool, "PART", 1)  # an image each
    np.testing.assert_array_equal(compiled.max_pool2d_forward(np, x, **options), y)
    np.testing.assert_array_equal(compiled.max_pool2d_x(np, g, x, y, **options), gradient)


@pytest.mark.parametrize("x", [draw((6, 6), 3), draw((6, 6), 8)[..., ::2], draw((6, 6), 16, "float16")])
def test_what_loops_do_not_take_goes_to_the_numpy_kernel(x):
    y = pool.max_pool2d_forward(np, x, kernel_size=2)
    np.testing.assert_array_equal(y, native.max_pool2d_forward(np, x, kernel_size=2))
    assert y.dtype == x.dtype
    g = np.ones_like(y)
    np.testing.assert_array_equal(pool.max_pool2d_x(np, g, x, y, 2), native.max_pool2d_x(np, g, x, y, 2))


def test_a_gradient_of_another_shape_is_never_read():
    """Loops have no bounds checks."""
    x = draw((6, 6), 16)
    y = pool.max_pool2d_forward(np, x, kernel_size=2)
    with pytest.raises(ValueError, match="broadcast"):
        pool.max_pool2d_x(np, np.ascontiguousarray(y[:, :-1]), x, y, 2)
