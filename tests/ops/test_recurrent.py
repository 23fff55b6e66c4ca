"""Scans over sequences, against torch's recurrent layers."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.ops import gru, lstm, rnn
from nnx.testing import check_backends, check_gradients

rng = np.random.default_rng(0)
SCANS = {
    "tanh": (functools.partial(rnn, activation="tanh"), 1),
    "relu": (functools.partial(rnn, activation="relu"), 1),
    "lstm": (lstm, 4),
    "gru": (gru, 3),
}
EACH = pytest.mark.parametrize("name", SCANS)


def data(name, batch=2, time=4, hidden=3, dtype="float64"):
    gates = SCANS[name][1]
    shapes = [(batch, time, gates * hidden), (batch, hidden)] + [(batch, hidden)] * (name == "lstm")
    shapes += [(hidden, gates * hidden)] + [(hidden,)] * (name == "gru")
    return [0.5 * rng.standard_normal(shape).astype(dtype) for shape in shapes]


def of_torch(name):
    """torch's layer with an input weight of ones on the diagonal, so that its inputs are those of the scan."""
    torch = pytest.importorskip("torch")

    def scan(inputs, state, *others):
        hidden = state.shape[1]
        *cell, weight = others[:-1] if name == "gru" else others
        options = {"batch_first": True, "bias": name == "gru", "dtype": inputs.dtype}
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(
            name, functools.partial(torch.nn.RNN, nonlinearity=name)
        )
        layer = kind(inputs.shape[2], hidden, **options)
        arrays = {"weight_ih_l0": torch.eye(inputs.shape[2], dtype=inputs.dtype), "weight_hh_l0": weight.T}
        if name == "gru":
            zeros = torch.zeros(2 * hidden, dtype=inputs.dtype)
            arrays |= {"bias_ih_l0": torch.zeros(3 * hidden, dtype=inputs.dtype)}
            arrays |= {"bias_hh_l0": torch.cat([zeros, others[-1]])}
        first = (state[None], cell[0][None]) if cell else state[None]
        return torch.func.functional_call(layer, arrays, (inputs, first))[0]

    return scan


def outputs_of(name):
    scan = SCANS[name][0]
    return (lambda *arrays: scan(*arrays)[0]) if name == "lstm" else scan


@EACH
def test_values_and_gradients_are_those_of_torch(name, assert_as_torch):
    assert_as_torch(outputs_of(name), of_torch(name), *data(name))


@given(name=st.sampled_from(list(SCANS)), batch=st.integers(1, 3), time=st.integers(1, 6), hidden=st.integers(1, 4))
def test_any_shape_on_the_host(name, batch, time, hidden):
    torch = pytest.importorskip("torch")
    hosts = data(name, batch, time, hidden)
    tensors = [torch.tensor(host, requires_grad=True) for host in hosts]
    expected = of_torch(name)(*tensors)
    value, pull = nnx.vjp(outputs_of(name), *hosts)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    cotangent = rng.standard_normal(value.shape)
    expected.backward(torch.tensor(cotangent))
    for gradient, tensor in zip(pull(cotangent), tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-9, atol=1e-12)


@EACH
def test_gradients_of_first_and_second_order(name):  # on every backend in test_every_part.py
    check_gradients(SCANS[name][0], *data(name))


@EACH
def test_backends_agree(name, flags):
    check_backends(SCANS[name][0], *data(name, dtype="float32"), backends=flags)


@EACH
@pytest.mark.parametrize("batch", [0, 2])
def test_dtype_device_and_shape_are_kept(name, batch, make, assert_kept):
    assert assert_kept(outputs_of(name), *map(make, data(name, batch))).shape == (batch, 4, 3)


def test_the_cells_are_those_of_the_formula():
    inputs, state, cell, weight = data("lstm", batch=1, time=1)
    i, f, g, o = np.split((inputs[:, 0] + state @ weight)[0], 4)
    c = nnx.sigmoid(f) * cell[0] + nnx.sigmoid(i) * np.tanh(g)
    outputs, cells = lstm(inputs, state, cell, weight)
    np.testing.assert_allclose(cells[0, 0], c, rtol=1e-12)
    np.testing.assert_allclose(outputs[0, 0], nnx.sigmoid(o) * np.tanh(c), rtol=1e-12)


@EACH
def test_two_halves_are_as_good_as_the_whole(name):
    scan = SCANS[name][0]
    inputs, *others = data(name, time=6)
    states, rest = (others[:2], others[2:]) if name == "lstm" else (others[:1], others[1:])
    whole = outputs_of(name)(inputs, *states, *rest)
    first = scan(inputs[:, :4], *states, *rest)
    last = [part[:, -1] for part in (first if name == "lstm" else (first,))]
    second = outputs_of(name)(inputs[:, 4:], *last, *rest)
    np.testing.assert_allclose(second, whole[:, 4:], rtol=1e-12)


@EACH
def test_a_saturated_state_has_finite_gradients(name):
    inputs, *others = (2e4 * array.astype("float32") for array in data(name, time=3))
    others[-1 if name != "gru" else -2] *= 0  # or the rectifier overflows
    value, pull = nnx.vjp(outputs_of(name), inputs, *others)
    assert np.isfinite(value).all()
    assert all(np.isfinite(gradient).all() for gradient in pull(np.ones_like(value)))


@EACH
def test_shapes_that_do_not_fit(name):
    scan, gates = SCANS[name]
    inputs, *others = data(name)
    many = "hidden" if gates == 1 else f"{gates} · hidden"
    with pytest.raises(nnx.ShapeError, match=rf"inputs of shape \(batch, time, {3 * gates}\), of at least one step"):
        scan(inputs[:, :0], *others)
    with pytest.raises(nnx.ShapeError, match=rf"inputs of shape \(batch, time, {3 * gates}\)"):
        scan(inputs[:, :, 1:], *others)
    with pytest.raises(nnx.ShapeError, match=r"a state of shape \(2, 3\), got shape \(1, 3\)"):
        scan(inputs, others[0][:1], *others[1:])
    weight = -1 if name != "gru" else -2
    others[weight] = others[weight][:, 1:]
    with pytest.raises(nnx.ShapeError, match=rf"a weight of shape \(hidden, {many}\)"):
        scan(inputs, *others)


def test_bad_input():
    with pytest.raises(nnx.ArgumentError, match="'tanh' or 'relu', got 'sigmoid'"):
        rnn(*data("tanh"), activation="sigmoid")
    with pytest.raises(nnx.ShapeError, match=r"gru\(\) expected a bias of shape \(3,\), got \(9,\)"):
        gru(*data("gru")[:3], np.zeros(9))
