"""Recurrent networks over whole sequences, each a scan and its adjoint, backpropagation through time.

A scan takes ``inputs``, what comes from the input at each step (for all steps one matrix product, made
before), the first state, and the weight of the state. Its adjoint goes through the steps backwards
(Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the IEEE 78(10),
1990) with one product a step; the gradient of the weight is one product at the end. What the gates were
is computed again from the outputs, for all steps at once, so that outputs are all that is kept.
"""

from __future__ import annotations

from math import prod
from typing import Any

from nnx._errors import ArgumentError, ShapeError
from nnx._precision import total
from nnx._typing import Array, Namespace
from nnx.backend import namespace_of
from nnx.custom import custom_vjp
from nnx.ops.rectifier import relu
from nnx.ops.sigmoidal import sigmoid, tanh


def rnn(inputs: Array, state: Array, weight: Array, *, activation: str = "tanh") -> Array:
    """The simple recurrent network: h_t = f(a_t + h_{t-1} U), with f = tanh or relu.

    Elman, "Finding structure in time", Cognitive Science 14, 1990.

    Args:
        inputs: a, shape (batch, time, hidden).
        state: h₀, shape (batch, hidden).
        weight: U, shape (hidden, hidden).
        activation: f, ``"tanh"`` or ``"relu"``.

    Returns:
        h₁ … h_T, shape (batch, time, hidden).

    Raises:
        ShapeError: the shapes do not fit together, or there is no step.
        ArgumentError: the activation is another one.
    """
    if activation not in ("tanh", "relu"):
        raise ArgumentError(f"the activation of a recurrent network is 'tanh' or 'relu', got {activation!r}")
    _require_fitting("rnn()", 1, inputs, weight, state)
    return _rnn(inputs, state, weight, activation=activation)


def _rnn_forward(inputs: Array, h: Array, weight: Array, *, activation: str) -> Array:
    xp = namespace_of(inputs, h, weight)
    f = tanh if activation == "tanh" else relu
    outputs = []
    for t in range(inputs.shape[1]):
        h = f(inputs[:, t, :] + xp.matmul(h, weight))
        outputs.append(h)
    return xp.stack(outputs, axis=1)


def _rnn_adjoint(g: Array, y: Array, inputs: Array, state: Array, weight: Array, *, activation: str) -> Any:
    """δ_t = f'_t (g_t + δ_{t+1} Uᵀ); the weight gets Σ h_{t-1}ᵀ δ_t."""
    xp = namespace_of(g, y, weight)
    slope = 1 - y * y if activation == "tanh" else xp.astype(y > 0, y.dtype)
    back, carry, found = xp.matrix_transpose(weight), xp.zeros_like(state), []
    for t in reversed(range(y.shape[1])):
        delta = (g[:, t, :] + carry) * slope[:, t, :]
        carry = xp.matmul(delta, back)
        found.append(delta)
    deltas = xp.stack(found[::-1], axis=1)
    return deltas, carry, _outer(xp, _before(xp, state, y), deltas)


def lstm(inputs: Array, state: Array, cell: Array, weight: Array) -> tuple[Array, Array]:
    """Long short-term memory, with a forget gate and without peepholes.

        (i, f, g, o)_t = a_t + h_{t-1} U        c_t = σ(f) c_{t-1} + σ(i) tanh(g)        h_t = σ(o) tanh(c_t)

    Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; Gers,
    Schmidhuber and Cummins, "Learning to forget", Neural Computation 12(10), 2000. The order of the
    gates is that of PyTorch and Keras: input, forget, candidate, output.

    Args:
        inputs: a, shape (batch, time, 4 · hidden), the four gates side by side.
        state, cell: h₀ and c₀, shape (batch, hidden).
        weight: U, shape (hidden, 4 · hidden).

    Returns:
        h₁ … h_T and c₁ … c_T, shape (batch, time, hidden) each.

    Raises:
        ShapeError: the shapes do not fit together, or there is no step.
    """
    _require_fitting("lstm()", 4, inputs, weight, state, cell)
    return _lstm(inputs, state, cell, weight)  # type: ignore[no-any-return]


def _lstm_forward(inputs: Array, h: Array, c: Array, weight: Array) -> tuple[Array, Array]:
    xp = namespace_of(inputs, h, c, weight)
    outputs, cells = [], []
    for t in range(inputs.shape[1]):
        i, f, g, o = _gates(xp, inputs[:, t, :] + xp.matmul(h, weight), 4)
        c = sigmoid(f) * c + sigmoid(i) * xp.tanh(g)
        h = sigmoid(o) * xp.tanh(c)
        outputs.append(h)
        cells.append(c)
    return xp.stack(outputs, axis=1), xp.stack(cells, axis=1)


def _lstm_adjoint(g: Any, y: Any, inputs: Array, state: Array, cell: Array, weight: Array) -> Any:
    """With γ_t = ∂/∂c_t and δ_t = ∂/∂a_t: γ gets o tanh'(c) ∂/∂h_t, and f γ_{t+1}."""
    (of_output, of_cell), (outputs, cells) = g, y
    xp = namespace_of(of_output, of_cell, outputs, weight)
    batch, time, n = outputs.shape
    before, cell_before = _before(xp, state, outputs), _before(xp, cell, cells)
    i, f, new, o = _gates(xp, inputs + _times(xp, before, weight), 4)
    i, f, o, new, out = sigmoid(i), sigmoid(f), sigmoid(o), xp.tanh(new), xp.tanh(cells)
    into_cell, by_output = o * (1 - out * out), out * o * (1 - o)
    by_cell = xp.stack([new * i * (1 - i), cell_before * f * (1 - f), i * (1 - new * new)], axis=2)
    back, found = xp.matrix_transpose(weight), []
    h_carry, c_carry = xp.zeros_like(state), xp.zeros_like(cell)
    for t in reversed(range(time)):
        of_h = of_output[:, t, :] + h_carry
        of_c = of_cell[:, t, :] + c_carry + of_h * into_cell[:, t, :]
        three = xp.reshape(xp.expand_dims(of_c, axis=1) * by_cell[:, t, :, :], (batch, 3 * n))
        delta = xp.concat([three, of_h * by_output[:, t, :]], axis=1)
        h_carry, c_carry = xp.matmul(delta, back), of_c * f[:, t, :]
        found.append(delta)
    deltas = xp.stack(found[::-1], axis=1)
    return deltas, h_carry, c_carry, _outer(xp, before, deltas)


def gru(inputs: Array, state: Array, weight: Array, bias: Array) -> Array:
    """Gated recurrent units.

        r, z = σ(a_t + h_{t-1} U)        n = tanh(a_t + r (h_{t-1} U + b))        h_t = (1 - z) n + z h_{t-1}

    each with its third of a and U, in the order r, z, n. Cho et al., "Learning phrase representations
    using RNN encoder-decoder", EMNLP 2014, with the reset gate after the product, as in cuDNN, PyTorch
    and Keras.

    Args:
        inputs: a, shape (batch, time, 3 · hidden), the gates side by side.
        state: h₀, shape (batch, hidden).
        weight: U, shape (hidden, 3 · hidden).
        bias: b, shape (hidden,).

    Returns:
        h₁ … h_T, shape (batch, time, hidden).

    Raises:
        ShapeError: the shapes do not fit together, or there is no step.
    """
    _require_fitting("gru()", 3, inputs, weight, state)
    if tuple(bias.shape) != (weight.shape[0],):
        raise ShapeError(f"gru() expected a bias of shape {(weight.shape[0],)}, got {tuple(bias.shape)}")
    return _gru(inputs, state, weight, bias)


def _gru_forward(inputs: Array, h: Array, weight: Array, bias: Array) -> Array:
    xp = namespace_of(inputs, h, weight, bias)
    outputs = []
    for t in range(inputs.shape[1]):
        (r, z, new), (p, q, s) = (_gates(xp, a, 3) for a in (inputs[:, t, :], xp.matmul(h, weight)))
        new = xp.tanh(new + sigmoid(r + p) * (s + bias))
        h = new + sigmoid(z + q) * (h - new)
        outputs.append(h)
    return xp.stack(outputs, axis=1)


def _gru_adjoint(g: Array, y: Array, inputs: Array, state: Array, weight: Array, bias: Array) -> Any:
    """What goes back to h_{t-1} U differs from ∂/∂a_t by the reset gate, on the candidate's third."""
    xp = namespace_of(g, y, weight)
    batch, time, n = y.shape
    before = _before(xp, state, y)
    (r, z, new), (p, q, s) = (_gates(xp, a, 3) for a in (inputs, _times(xp, before, weight)))
    r, z, s = sigmoid(r + p), sigmoid(z + q), s + bias
    new = xp.tanh(new + r * s)
    by_new = (1 - z) * (1 - new * new)
    by_reset, by_update = by_new * s * r * (1 - r), (before - new) * z * (1 - z)
    slopes = xp.stack([by_reset, by_update, by_new * r], axis=2)
    back, carry, found, of_states = xp.matrix_transpose(weight), xp.zeros_like(state), [], []
    for t in reversed(range(time)):
        of_h = g[:, t, :] + carry
        inner = xp.reshape(xp.expand_dims(of_h, axis=1) * slopes[:, t, :, :], (batch, 3 * n))
        carry = of_h * z[:, t, :] + xp.matmul(inner, back)
        found.append(inner)
        of_states.append(of_h)
    of_h, inner = (xp.stack(parts[::-1], axis=1) for parts in (of_states, found))
    deltas = xp.concat([of_h * by_reset, of_h * by_update, of_h * by_new], axis=2)
    return deltas, carry, _outer(xp, before, inner), total(xp, of_h * by_new * r, (0, 1))


def _gates(xp: Namespace, side_by_side: Array, count: int) -> list[Array]:
    """The gates, each an array of the width of the state."""
    *leading, width = side_by_side.shape
    gates = xp.reshape(side_by_side, (*leading, count, width // count))
    return [gates[..., k, :] for k in range(count)]


def _require_fitting(name: str, gates: int, inputs: Array, weight: Array, *states: Array) -> None:
    n = weight.shape[0] if len(weight.shape) == 2 else -1
    if n < 0 or weight.shape[1] != gates * n:
        many = "hidden" if gates == 1 else f"{gates} · hidden"
        raise ShapeError(f"{name} expected a weight of shape (hidden, {many}), got shape {tuple(weight.shape)}")
    if len(inputs.shape) != 3 or inputs.shape[2] != gates * n or not inputs.shape[1]:
        raise ShapeError(
            f"{name} expected inputs of shape (batch, time, {gates * n}), of at least one step, got shape "
            f"{tuple(inputs.shape)}"
        )
    for state in states:
        if tuple(state.shape) != (inputs.shape[0], n):
            raise ShapeError(f"{name} expected a state of shape {(inputs.shape[0], n)}, got shape {tuple(state.shape)}")


def _before(xp: Namespace, first: Array, states: Array) -> Array:
    """The state before each step."""
    return xp.concat([xp.expand_dims(first, axis=1), states[:, :-1, :]], axis=1)


def _times(xp: Namespace, states: Array, weight: Array) -> Array:
    """The product of the state of each step with the weight."""
    batch, time, n = states.shape
    return xp.reshape(xp.matmul(xp.reshape(states, (batch * time, n)), weight), (batch, time, weight.shape[1]))


def _outer(xp: Namespace, states: Array, deltas: Array) -> Array:
    """Σ over batch and steps of states · deltas: the gradient of the weight."""
    left, right = (xp.reshape(a, (prod(a.shape[:2]), a.shape[2])) for a in (states, deltas))
    return xp.matmul(xp.matrix_transpose(left), right)


_rnn = custom_vjp(_rnn_forward, _rnn_adjoint)
_lstm = custom_vjp(_lstm_forward, _lstm_adjoint)
_gru = custom_vjp(_gru_forward, _gru_adjoint)
