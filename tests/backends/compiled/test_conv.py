from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from nnx.ops import conv as reference
from nnx.ops.conv import conv_windows
from nnx_numpy import conv as native
from nnx_numpy.compiled import conv

rng = np.random.default_rng(7)
CASES = [  # (batch, height, width, in), (kernel height, kernel width, out), stride, padding, dilation
    ((3, 12, 12, 16), (5, 5, 32), 1, 0, 1),  # whole vectors of channels
    ((3, 12, 12, 1), (5, 5, 16), 1, 0, 1),  # a line of taps fits into a vector
    ((2, 9, 11, 5), (3, 3, 37), 1, 1, 1),  # neither channels nor outputs fill their vectors
    ((2, 13, 8, 40), (3, 2, 70), (2, 1), "same", 1),  # three vectors, and five
    ((2, 15, 14, 3), (3, 4, 9), (1, 3), ((0, 2), (3, 1)), (2, 1)),
    ((2, 14, 15, 6), (2, 3, 8), (3, 1), (4, 0), (2, 3)),  # taps apart
    ((40, 4, 4, 8), (3, 3, 16), 1, 1, 1),  # a band of several images
    ((1, 30, 33, 4), (3, 3, 8), 1, ((0, 0), (0, 1)), 1),  # bands within an image; padding behind alone
    ((2, 7, 9, 20), (1, 1, 24), 2, 0, 1),  # lines of x that no window reads
]


@pytest.fixture
def compiled(monkeypatch):
    """The compiled kernels, which may not hand on to those of NumPy."""
    for name in native.KERNELS:
        monkeypatch.setattr(native, name, None)
    return conv


def draw(case, dtype="float64"):
    x_shape, (down, right, outputs), *options = case
    x, weight = rng.standard_normal(x_shape), rng.standard_normal((down, right, x_shape[3], outputs))
    g = rng.standard_normal((x_shape[0], *conv_windows(x.shape, weight.shape, *options).out, outputs))
    return *(a.astype(dtype) for a in (x, weight, rng.standard_normal(outputs), g)), options


def results(table, x, weight, bias, g, options):
    stride, padding, dilation = options
    return (
        table.conv2d_forward(np, x, weight, bias, stride=stride, padding=padding, dilation=dilation),
        table.conv2d_x(np, g, weight, x.shape, *options),
        table.conv2d_weight(np, g, x, weight.shape, *options),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_values_of_large_convolutions(case, dtype, compiled):
    x, weight, bias, g, options = draw(case, dtype)
    exact = results(reference, *(a.astype("float64") for a in (x, weight, bias, g)), options)
    for a, e in zip(results(compiled, x, weight, bias, g, options), exact, strict=True):
        assert a.dtype == dtype
        assert a.shape == e.shape
        assert a.flags.c_contiguous
        unit = np.finfo(dtype).eps * np.abs(e).max()
        np.testing.assert_allclose(a, e, rtol=0, atol=16 * unit)


@pytest.mark.parametrize("case", CASES)
def test_single_precision_is_as_good_as_that_of_the_numpy_kernel(case):
    x, weight, bias, g, options = draw(case, "float32")
    exact = results(reference, *(a.astype("float64") for a in (x, weight, bias, g)), options)
    others = results(native, x, weight, bias, g, options)
    for a, b, e in zip(results(conv, x, weight, bias, g, options), others, exact, strict=True):
        unit = np.spacing(np.float32(np.abs(e).max()))
        assert np.abs(a - e).max() <= 1.5 * np.abs(b - e).max() + 2 * unit


def test_a_sum_over_many_windows_keeps_its_precision():
    """Windows are added in bands: 200,000 numbers one after another would lose more places."""
    x, g = rng.random((200, 32, 32, 4), "float32"), rng.random((200, 32, 32, 16), "float32")
    gradient = conv.conv2d_weight(np, g, x, (1, 1, 4, 16))
    exact = x.reshape(-1, 4).T.astype("float64") @ g.reshape(-1, 16).astype("float64")
    np.testing.assert_allclose(gradient[0, 0], exact, rtol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_parts_may_be_taken_in_any_order_and_by_any_thread(case, compiled, monkeypatch):
    x, weight, bias, g, options = draw(case, "float32")
    monkeypatch.setattr(conv, "PART", 1000)
    calls = []

    def backwards(part_of, size, part):
        starts = range(0, size, part)
        calls.append(len(starts))
        for start in reversed(starts):
            part_of(start, min(start + part, size))

    threaded = results(compiled, x, weight, bias, g, options)
    monkeypatch.setattr(conv, "spread", backwards)
    for a, b in zip(threaded, results(compiled, x, weight, bias, g, options), strict=True):
        np.testing.assert_array_equal(a, b)
    assert max(calls) > 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("case", CASES)
def test_what_is_not_finite_stays_where_it_belongs(case, value, compiled):
    """Vectors have numbers beyond the last channel, which must not get out."""
    x, weight, bias, g, options = draw(case, "float32")
    x[-1, 1, -1, -1] = g[0, -1, 0, -1] = g[-1, 1, 1, 0] = value
    with np.errstate(invalid="ignore"):
        expected = results(reference, x, weight, bias, g, options)
    for a, e in zip(results(compiled, x, weight, bias, g, options), expected, strict=True):
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(e))
        np.testing.assert_array_equal(np.isnan(a), np.isnan(e))


def test_what_lies_beyond_the_last_channel_is_never_looked_at(compiled, monkeypatch):
    monkeypatch.setattr(np, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    monkeypatch.setattr(np, "zeros", lambda shape, dtype: np.full(shape, 0, dtype))
    x, weight, bias, g, options = draw(CASES[2], "float32")
    assert np.isnan(np.empty(3, "float32")).all()
    for a in results(compiled, x, weight, bias, g, options):
        assert np.isfinite(a).all()


def test_inputs_that_cannot_be_written_to(compiled):
    x, weight, bias, g, options = draw(CASES[0], "float32")
    expected = results(compiled, x, weight, bias, g, options)
    for a in (x, weight, bias, g):
        a.flags.writeable = False
    for a, e in zip(results(compiled, x, weight, bias, g, options), expected, strict=True):
        np.testing.assert_array_equal(a, e)


def test_what_loops_do_not_take_goes_to_the_numpy_kernel():
    x, weight, bias, g, options = draw(CASES[0], "float32")
    expected = results(native, x, weight, bias, g, options)
    for arrays in (
        (x[:, :, ::-1][:, :, ::-1], weight, bias, g),
        (x, np.asfortranarray(weight), bias, np.asfortranarray(g)),
    ):
        for a, e in zip(results(conv, *arrays, options), expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-3)
    mixed = results(conv, x, weight.astype("float64"), bias, g, options)
    assert [a.dtype for a in mixed] == ["float64", "float64", "float32"]
    half = results(conv, *(a.astype("float16") for a in (x, weight, bias, g)), options)
    assert {a.dtype for a in half} == {np.dtype("float16")}


@pytest.mark.parametrize("kernel", ["conv2d_x", "conv2d_weight"])
def test_a_gradient_of_another_shape_is_never_read(kernel, compiled):
    """Loops have no bounds checks, so that it is handed on, to what the fixture has taken away."""
    x, weight, _, g, options = draw(CASES[0], "float32")
    arrays = (weight, x.shape) if kernel == "conv2d_x" else (x, weight.shape)
    with pytest.raises(TypeError, match="NoneType"):
        getattr(compiled, kernel)(np, np.ascontiguousarray(g[:, :-1]), *arrays, *options)


@pytest.mark.parametrize(("batch", "channels", "outputs"), [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing_to_multiply(batch, channels, outputs):
    x, weight = np.ones((batch, 5, 5, channels), "float32"), np.ones((3, 3, channels, outputs), "float32")
    bias, g = np.arange(outputs, dtype="float32"), np.ones((batch, 3, 3, outputs), "float32")
    y, by_x, by_weight = results(conv, x, weight, bias, g, (1, 0, 1))
    np.testing.assert_array_equal(y, np.broadcast_to(bias + 9 * channels, g.shape))
    np.testing.assert_array_equal(by_weight, np.full(weight.shape, 9 * batch))
    assert by_x.shape == x.shape
    assert not by_x.any() or outputs
