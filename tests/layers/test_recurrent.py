"""Recurrent layers, against those of torch."""

from __future__ import annotations

import re

import numpy as np
import pytest

import nnx
from nnx.testing import check_backends

X = np.random.default_rng(0).standard_normal((2, 4, 3))
KINDS = {"RNN": 1, "LSTM": 4, "GRU": 3}
EACH = pytest.mark.parametrize("kind", KINDS)


def layer(kind, **options):
    return getattr(nnx, kind)(3, 2, rng=nnx.Generator(0), **options)


def of_torch(kind, ours):
    """torch's layer with the same numbers; it has a second bias, of which only one part of a GRU's differs."""
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind)(3, 2, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(ours.weight.T))
        theirs.weight_hh_l0.copy_(torch.tensor(ours.state_weight.T))
        theirs.bias_ih_l0.copy_(torch.tensor(ours.bias))
        theirs.bias_hh_l0.zero_()
        if kind == "GRU":
            theirs.bias_hh_l0[4:].copy_(torch.tensor(ours.state_bias))
    return theirs


@EACH
@pytest.mark.parametrize("given", [False, True])
def test_it_is_that_of_torch(kind, given):
    torch = pytest.importorskip("torch")
    ours = layer(kind, bias_init=nnx.init.uniform, dtype="float64")
    theirs = of_torch(kind, ours)
    h, c = np.random.default_rng(1).standard_normal((2, 2, 2))
    state = ((h, c) if kind == "LSTM" else h) if given else None
    tensors = tuple(torch.tensor(s[None]) for s in (h, c)) if kind == "LSTM" else torch.tensor(h[None])
    expected, last = theirs(torch.tensor(X), tensors if given else None)
    loss = expected.pow(2).sum() + sum(s.pow(3).sum() for s in (last if kind == "LSTM" else (last,)))
    loss.backward()

    def ours_loss(model, x):
        y, last = model(x, state)
        xp = nnx.namespace_of(y)
        return xp.sum(y**2) + sum(xp.sum(s**3) for s in (last if kind == "LSTM" else (last,)))

    value, gradients = nnx.value_and_grad(ours_loss)(ours, X)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-10)
    np.testing.assert_allclose(gradients["weight"], theirs.weight_ih_l0.grad.numpy().T, rtol=1e-8)
    np.testing.assert_allclose(gradients["state_weight"], theirs.weight_hh_l0.grad.numpy().T, rtol=1e-8)
    np.testing.assert_allclose(gradients["bias"], theirs.bias_ih_l0.grad.numpy(), rtol=1e-8)
    if kind == "GRU":
        np.testing.assert_allclose(gradients["state_bias"], theirs.bias_hh_l0.grad.numpy()[4:], rtol=1e-8)
    y, state = ours(X, state)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10)
    for found, tensor in zip(*((state, last) if kind == "LSTM" else ((state,), (last,))), strict=True):
        np.testing.assert_allclose(found, tensor.detach().numpy()[0], rtol=1e-10)


def test_the_rectifier():
    model = layer("RNN", activation="relu")
    outputs, state = model(X.astype("float32"))
    assert (outputs >= 0).all()
    assert (outputs == 0).any()
    np.testing.assert_array_equal(state, outputs[:, -1])


@EACH
def test_a_sequence_can_be_gone_on_with(kind):
    model = layer(kind, dtype="float64")
    whole, last = model(X)
    first, state = model(X[:, :1])
    second, state = model(X[:, 1:], state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=1e-12)
    np.testing.assert_allclose(state, last, rtol=1e-12)


@EACH
def test_backends_agree(kind, flags):
    check_backends(layer(kind), X.astype("float32"), backends=flags)


@EACH
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_dtype_and_device(kind, dtype, device, xp, make):
    y, state = layer(kind, dtype=dtype, device=device)(make(X, dtype))
    states = state if kind == "LSTM" else (state,)
    assert [a.shape for a in (y, *states)] == [(2, 4, 2)] + [(2, 2)] * len(states)
    for array in (y, *states):
        assert array.dtype == getattr(xp, dtype)
        assert nnx.backend.device_of(array) == device


@EACH
def test_parameters(kind):
    gates, model = KINDS[kind], layer(kind)
    shapes = {"weight": (3, 2 * gates), "state_weight": (2, 2 * gates), "bias": (2 * gates,)}
    shapes |= {"state_bias": (2,)} if kind == "GRU" else {}
    assert {name: a.shape for name, a in model.parameters().items()} == shapes
    rows = model.state_weight
    np.testing.assert_allclose(rows @ rows.T, np.eye(2), atol=1e-6)
    assert model.bias.tolist() == ([0, 0, 1, 1, 0, 0, 0, 0] if kind == "LSTM" else [0] * 2 * gates)
    model = layer(kind, weight_init=nnx.init.ones, state_weight_init=nnx.init.zeros, bias_init=nnx.init.ones)
    assert (model.weight == 1).all()
    assert not model.state_weight.any()
    assert all((array == 1).all() for name, array in model.parameters().items() if "bias" in name)


@EACH
def test_sequences_that_do_not_fit(kind, make, device):
    model = layer(kind, device=device)
    for shape in [(2, 4, 2), (2, 3), (2, 0, 3), ()]:
        message = rf"{kind}\(3, 2\) expected sequences of shape \(batch, time, 3\), .* got {re.escape(str(shape))}"
        with pytest.raises(nnx.ShapeError, match=message):
            model(make(np.zeros(shape)))
    with pytest.raises(nnx.DTypeError, match=r"float32 parameters and expected input of that dtype, got .*float64"):
        model(make(X, "float64"))
    with pytest.raises(nnx.DTypeError, match=r"expected an array, got list"):
        model([1.0])


@EACH
def test_states_that_do_not_fit(kind):
    model, x = layer(kind), X.astype("float32")
    good, of_both = np.zeros((2, 2), "float32"), (lambda s: (s, good)) if kind == "LSTM" else (lambda s: s)
    with pytest.raises(nnx.ShapeError, match=r"expected a state.* of shape \(2, 2\), got \(1, 2\)"):
        model(x, of_both(good[:1]))
    with pytest.raises(nnx.DTypeError, match=r"expected a state.* of dtype float32, got float64: cast"):
        model(x, of_both(good.astype("float64")))
    with pytest.raises(
        nnx.DTypeError, match=r"expected an array as its state|expected a tuple \(h, c\) as its state, got dict"
    ):
        model(x, {"h": good})


@EACH
def test_numbers_that_make_no_sense(kind):
    with pytest.raises(nnx.ArgumentError, match="in_features must be a whole number of at least 1, got 0"):
        getattr(nnx, kind)(0, 2)
    with pytest.raises(nnx.ArgumentError, match="hidden must be .*, got -2"):
        getattr(nnx, kind)(3, -2)
    with pytest.raises(nnx.ArgumentError, match="the activation of an RNN is 'tanh' or 'relu', got 'sigmoid'"):
        nnx.RNN(3, 2, activation="sigmoid")


def test_text_and_operations():
    assert repr(layer("RNN")) == "RNN(3, 2)"
    assert repr(layer("RNN", activation="relu")) == "RNN(3, 2, activation='relu')"
    assert repr(layer("LSTM")) == "LSTM(3, 2)"
    assert layer("GRU").operations((2, 4, 3), ((2, 4, 2), (2, 2))) == 8 * 6 * 2 * 5
    assert nnx.summary(layer("LSTM"), (2, 4, 3)).rows[0].output == ((2, 4, 2), (2, 2), (2, 2))
