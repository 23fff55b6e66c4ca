"""Two-dimensional convolution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import nnx
from nnx.ops import conv2d
from nnx.ops.conv import conv_windows
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)

CASES = {  # (height, width), kernel, options
    "plain": ((5, 6), (3, 3), {}),
    "one pixel": ((3, 4), (1, 1), {}),
    "as large as the image": ((4, 3), (4, 3), {}),
    "same": ((5, 6), (3, 2), {"padding": "same"}),
    "strided": ((7, 8), (3, 3), {"stride": 2}),
    "strided, odd kernel, uneven padding": ((7, 6), (5, 3), {"stride": (3, 2), "padding": ((2, 1), (0, 3))}),
    "stride above the kernel": ((9, 8), (2, 1), {"stride": (4, 3)}),
    "what is never read": ((8, 8), (3, 3), {"stride": 3}),
    "dilated": ((8, 9), (3, 2), {"dilation": (2, 3)}),
    "dilated and strided": ((9, 9), (3, 3), {"dilation": 2, "stride": 2, "padding": 2}),
    "dilation and stride without a common factor": ((11, 9), (3, 2), {"dilation": 3, "stride": 2, "padding": (3, 1)}),
    "padding beyond the kernel": ((3, 3), (2, 2), {"padding": 3}),
}
HARD = ["strided, odd kernel, uneven padding", "dilation and stride without a common factor"]
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def data(size, kernel, batch=2, inputs=3, outputs=2, dtype="float64"):
    shapes = (batch, *size, inputs), (*kernel, inputs, outputs), (outputs,)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def of_torch(options):
    """torch's convolution, of arrays whose last axis is the channels, padded by hand: it knows no uneven padding."""
    torch = pytest.importorskip("torch")

    def convolve(x, weight, *bias):
        w = conv_windows(x.shape, weight.shape, *(options.get(k, d) for k, d in DEFAULTS.items()))
        around = [n for pair in zip(w.before[::-1], w.after[::-1], strict=True) for n in pair]
        padded = torch.nn.functional.pad(x.permute(0, 3, 1, 2), around)
        y = torch.nn.functional.conv2d(
            padded, weight.permute(3, 2, 0, 1).contiguous(), *bias, stride=w.stride, dilation=w.dilation
        )
        return y.permute(0, 2, 3, 1)

    return convolve


DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1}


@pytest.mark.parametrize("name", ["plain", *HARD])
def test_values_and_gradients_are_those_of_torch(name, assert_as_torch):
    size, kernel, options = CASES[name]
    hosts = data(size, kernel)[: 2 if name == "plain" else 3]
    assert_as_torch(lambda *arrays: conv2d(*arrays, **options), of_torch(options), *hosts)


@EACH
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_on_the_host(case, bias):
    size, kernel, options = case
    compare_with_torch(data(size, kernel)[: 2 + bias], options)


def compare_with_torch(hosts, options, layout="C"):
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(host, requires_grad=True) for host in hosts]
    expected = of_torch(options)(*tensors)
    x, *others = hosts
    value, pull = nnx.vjp(lambda *a: conv2d(*a, **options), np.array(x, order=layout), *others)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    cotangent = rng.standard_normal(value.shape)
    expected.backward(torch.tensor(cotangent))
    for gradient, tensor in zip(pull(np.array(cotangent, order=layout)), tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-12)


number = st.integers(1, 4)
pair = st.tuples(st.integers(0, 3), st.integers(0, 3))


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(number, number),
    stride=number | st.tuples(number, number),
    padding=st.sampled_from(["same", "valid"]) | st.integers(0, 3) | pair | st.tuples(pair, pair),
    dilation=number | st.tuples(number, number),
    batch=st.integers(1, 3),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    layout=st.sampled_from(["C", "F"]),
)
def test_any_numbers_on_the_host(size, kernel, stride, padding, dilation, batch, inputs, outputs, layout):
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    hosts = data(size, kernel, batch, inputs, outputs)
    try:
        conv_windows(hosts[0].shape, hosts[1].shape, stride, padding, dilation)
    except nnx.ShapeError:
        assume(False)
    compare_with_torch(hosts, options, layout)


@pytest.mark.parametrize("stride", [1, 2])
def test_same_makes_as_many_windows_as_there_are_strides(stride):
    for length in range(1, 9):
        x, weight, _ = data((length, length + 1), (3, 4))
        y = conv2d(x, weight, stride=stride, padding="same")
        assert y.shape == (2, -(-length // stride), -(-(length + 1) // stride), 2)


def test_the_formula():
    x, weight, bias = data((6, 7), (3, 2))
    y = conv2d(x, weight, bias, stride=2, padding=1)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for n, p, q, o in np.ndindex(y.shape):
        window = padded[n, 2 * p : 2 * p + 3, 2 * q : 2 * q + 2]
        assert y[n, p, q, o] == pytest.approx((window * weight[..., o]).sum() + bias[o])


@EACH
def test_gradients_of_first_and_second_order(case):  # on every backend in test_every_part.py
    size, kernel, options = case
    check_gradients(lambda *a: conv2d(*a, **options), *data(size, kernel, inputs=2))


@pytest.mark.parametrize("name", ["plain", "same", *HARD])
def test_backends_agree(name, flags):
    size, kernel, options = CASES[name]
    check_backends(lambda *a: conv2d(*a, **options), *data(size, kernel, dtype="float32"), backends=flags)


@pytest.mark.parametrize("batch", [0, 2])
def test_dtype_device_and_shape_are_kept(batch, make, assert_kept):
    arrays = [make(host) for host in data((5, 6), (3, 3), batch)]
    assert assert_kept(lambda *a: conv2d(*a, stride=2, padding=1), *arrays).shape == (batch, 3, 3, 2)


def test_lists_are_as_good_as_tuples():
    x, weight, _ = data((5, 6), (3, 3))
    expected = conv2d(x, weight, stride=(2, 1), padding=((1, 0), (2, 1)))
    np.testing.assert_array_equal(conv2d(x, weight, stride=[2, 1], padding=[[1, 0], [2, 1]]), expected)


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        ((5, 5, 1), (3, 3, 1, 2), r"images of shape \(batch, height, width, channels\), got shape \(5, 5, 1\): add"),
        ((2, 5, 5, 1, 1), (3, 3, 1, 2), r"images of shape .* got shape \(2, 5, 5, 1, 1\)$"),
        ((2, 5, 5, 1), (3, 1, 2), r"a weight of shape \(kernel height, kernel width, in, out\), got shape \(3, 1, 2\)"),
        ((2, 5, 5, 3), (3, 3, 1, 2), "images of 3 channels and a weight for 1"),
        ((2, 5, 2, 1), (3, 3, 1, 2), "a window of 3 × 3 does not fit into an image of 5 × 2: take"),
        ((2, 0, 5, 1), (1, 1, 1, 2), "a window of 1 × 1 does not fit into an image of 0 × 5"),
    ],
)
def test_shapes_that_do_not_fit(x, weight, message, make):
    with pytest.raises(nnx.ShapeError, match=message):
        conv2d(make(np.zeros(x)), make(np.zeros(weight)))


def test_a_kernel_larger_than_the_padded_image():
    with pytest.raises(nnx.ShapeError, match="a window of 5 × 3 .* of 2 × 5, which is 4 × 7 with padding"):
        conv2d(np.zeros((1, 2, 5, 1)), np.zeros((3, 2, 1, 1)), padding=1, dilation=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride must be a whole number of at least 1, got 0"),
        ({"stride": -1}, "stride must be .*, got -1"),
        ({"stride": (1, 2, 3)}, "stride is a number or a tuple of 2"),
        ({"stride": 1.0}, "stride must be a whole number .*, got 1.0"),
        ({"dilation": 0}, "dilation must be .*, got 0"),
        ({"padding": -1}, "padding is 'same', 'valid', .*, got -1"),
        ({"padding": "full"}, "padding is 'same', 'valid', .*, got 'full'"),
        ({"padding": (1, 2, 3)}, r"padding is .* got \(1, 2, 3\)"),
        ({"padding": ((1, 2, 3), (0, 0))}, "padding is "),
        ({"padding": 0.5}, "padding is .* got 0.5"),
        ({"padding": True}, "padding is .* got True"),
    ],
)
def test_numbers_that_make_no_sense(options, message):
    for padding in (0, 1):  # what is remembered of them does not serve numbers that are equal
        conv2d(np.zeros((1, 4, 4, 1)), np.zeros((2, 2, 1, 1)), padding=padding)
    with pytest.raises(nnx.ArgumentError, match=message):
        conv2d(np.zeros((1, 4, 4, 1)), np.zeros((2, 2, 1, 1)), **options)


def test_integers_are_no_images():
    with pytest.raises(nnx.DTypeError, match=r"conv2d\(\) expected an array of real floats first, got dtype uint8"):
        conv2d(np.zeros((1, 4, 4, 1), np.uint8), np.zeros((2, 2, 1, 1), np.float32))
