"""The affine map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.ops import linear
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)
LEADING = [(), (1,), (4,), (2, 3), (0,), (2, 0, 3)]


def data(leading, inputs=3, outputs=2, dtype="float64"):
    shapes = (*leading, inputs), (inputs, outputs), (outputs,)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_torch(leading, bias, assert_as_torch):
    torch = pytest.importorskip("torch")
    hosts = data(leading)[: 2 + bias]
    assert_as_torch(linear, lambda x, w, *b: torch.nn.functional.linear(x, w.T, *b), *hosts)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_first_and_second_order(leading, bias, device):
    check_gradients(linear, *data(leading)[: 2 + bias], device=device)


@pytest.mark.parametrize("leading", LEADING)
def test_backends_agree(leading, flags):
    check_backends(linear, *data(leading, dtype="float32"), backends=flags)


@pytest.mark.parametrize("leading", LEADING)
def test_dtype_device_and_shape_are_kept(leading, make, assert_kept):
    arrays = [make(host) for host in data(leading)]
    assert assert_kept(linear, *arrays).shape == (*leading, 2)


@given(
    leading=st.lists(st.integers(0, 4), max_size=3),
    inputs=st.integers(1, 5),
    outputs=st.integers(1, 5),
    fortran=st.booleans(),
)
def test_any_shape_and_stride_on_the_host(leading, inputs, outputs, fortran):
    x, weight, bias = data(tuple(leading), inputs, outputs)
    expected = np.einsum("...i,io->...o", x, weight) + bias
    if fortran:
        x, weight = np.asfortranarray(x), np.asfortranarray(weight)
    np.testing.assert_allclose(linear(x, weight, bias), expected, rtol=1e-12, atol=1e-12)


def test_every_other_element_is_a_fine_input(make):
    x, weight, bias = data((4,))
    every_other = make(np.repeat(x, 2, axis=0), "float64")[::2, :]
    np.testing.assert_allclose(
        nnx.to_numpy(linear(every_other, make(weight, "float64"), make(bias, "float64"))), x @ weight + bias
    )
