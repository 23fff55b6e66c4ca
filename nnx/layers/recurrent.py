"""Recurrent layers, over sequences (batch, time, features)."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from nnx import init, ops
from nnx._arguments import count
from nnx._errors import ArgumentError, DTypeError, ShapeError
from nnx._precision import fits
from nnx._typing import Array
from nnx.backend import Device, is_array, namespace_of, native_device
from nnx.layers._input import fitting
from nnx.module import Module, Parameter
from nnx.random import Generator

State = Any
"""An array (batch, hidden); of an LSTM, a tuple of two."""


class _Recurrent(Module):
    """What the recurrent layers have in common: one product with the input for all steps, then a scan.

    Attributes:
        gates: how many products of the width of the state a step has.
    """

    weight: Parameter  # W, (in_features, gates · hidden)
    state_weight: Parameter  # U, (hidden, gates · hidden)
    bias: Parameter  # (gates · hidden,)
    gates = 1
    _bias_init = staticmethod(init.zeros)

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        weight_init: Callable[..., Array] = init.glorot_uniform,
        state_weight_init: Callable[..., Array] = init.orthogonal,
        bias_init: Callable[..., Array] | None = None,
        dtype: str = "float32",
        device: str | Device | None = None,
        rng: Generator | None = None,
    ) -> None:
        self.hidden = count("hidden", hidden)
        width, bias_init = self.gates * self.hidden, bias_init or self._bias_init
        self.weight = weight_init((count("in_features", in_features), width), dtype=dtype, device=device, rng=rng)
        self.state_weight = state_weight_init((self.hidden, width), dtype=dtype, device=device, rng=rng)
        self.bias = bias_init((width,), dtype=dtype, device=device, rng=rng)

    def __call__(self, x: Array, state: State = None) -> tuple[Array, State]:
        """The outputs of all steps, and the state after the last; ``state`` is that before the first."""
        if getattr(x, "dtype", None) is not self.weight.dtype:
            x = fitting(self, x, self.weight)
        if len(x.shape) != 3 or x.shape[2] != self.weight.shape[0] or not x.shape[1]:
            raise ShapeError(
                f"{self!r} expected sequences of shape (batch, time, {self.weight.shape[0]}), of at least one step, "
                f"got {tuple(x.shape)}"
            )
        return self._scan(ops.linear(x, self.weight, self.bias), state)

    def _scan(self, inputs: Array, state: State) -> tuple[Array, State]:
        raise NotImplementedError

    def _first(self, inputs: Array, state: Array | None, name: str = "state") -> Array:
        """The state before the first step: zeros for ``None``."""
        shape = (inputs.shape[0], self.hidden)
        if state is None:
            xp = namespace_of(inputs)
            return xp.zeros(shape, dtype=inputs.dtype, device=native_device(inputs))
        if not is_array(state):
            raise DTypeError(f"{self!r} expected an array as its {name}, got {type(state).__name__}")
        if tuple(state.shape) != shape:
            raise ShapeError(f"{self!r} expected a {name} of shape {shape}, got {tuple(state.shape)}")
        if state.dtype == inputs.dtype:
            return state
        xp = namespace_of(state, inputs)
        if not fits(xp, state.dtype, inputs.dtype):
            raise DTypeError(f"{self!r} expected a {name} of dtype {inputs.dtype}, got {state.dtype}: cast it")
        return xp.astype(state, inputs.dtype)

    def operations(self, x: tuple[int, ...], y: tuple[Any, ...]) -> int:
        features, width = self.weight.shape
        return int(prod(x[:2]) * width * 2 * (features + self.hidden))  # products, and sums with them and the bias

    def _arguments(self) -> str:
        return f"{self.weight.shape[0]}, {self.hidden}"


class RNN(_Recurrent):
    """The simple recurrent network: h_t = f(x_t W + h_{t-1} U + b).

    Elman, "Finding structure in time", Cognitive Science 14, 1990.

    Called on x and, if one likes, on the state before the first step, it answers the outputs h₁ … h_T and
    the state after the last step, h_T. To go on with a sequence, hand it that state.

    Shape: (batch, time, in_features), (batch, hidden) -> (batch, time, hidden), (batch, hidden).

    Args:
        in_features: the length of the last axis of x.
        hidden: that of the state.
        activation: f, ``"tanh"`` or ``"relu"``.
        weight_init: makes W, shape (in_features, hidden).
        state_weight_init: makes U, shape (hidden, hidden); orthogonal, unless told otherwise, so that
            gradients neither explode nor vanish at once (Saxe, McClelland and Ganguli, "Exact solutions
            to the nonlinear dynamics of learning in deep linear neural networks", ICLR 2014).
        bias_init: makes b, shape (hidden,); ``None`` for zeros.
        dtype: the dtype of parameters, inputs, states and outputs.
        device: a device flag; ``None`` for the default device.
        rng: where the initial weights come from; ``None`` for the default generator.

    Raises:
        ArgumentError: a number of features or the activation makes no sense.
        ShapeError, DTypeError: when it is called on arrays that do not fit.
        MixedLibrariesError, DeviceError: an array is of another library, or elsewhere.
    """

    def __init__(self, in_features: int, hidden: int, *, activation: str = "tanh", **options: Any) -> None:
        if activation not in ("tanh", "relu"):
            raise ArgumentError(f"the activation of an RNN is 'tanh' or 'relu', got {activation!r}")
        super().__init__(in_features, hidden, **options)
        self.activation = activation

    def _scan(self, inputs: Array, state: State) -> tuple[Array, State]:
        first = self._first(inputs, state)
        outputs = ops.rnn(inputs, first, self.state_weight, activation=self.activation)
        return outputs, outputs[:, -1, :]

    def _arguments(self) -> str:
        return super()._arguments() + ("" if self.activation == "tanh" else f", activation={self.activation!r}")


def remembering(
    shape: tuple[int, ...], *, dtype: str = "float32", device: str | Device | None = None, rng: Generator | None = None
) -> Array:
    """The initial bias of an LSTM, shape (4 · hidden,): 1 for the forget gate, else 0, so that cells keep their state.

    Jozefowicz, Zaremba and Sutskever, "An empirical exploration of recurrent network architectures",
    ICML 2015, section 2.2.
    """
    hidden = shape[0] // 4
    quarters = [make((hidden,), dtype=dtype, device=device) for make in (init.zeros, init.ones, init.zeros, init.zeros)]
    return namespace_of(*quarters).concat(quarters)


class LSTM(_Recurrent):
    """Long short-term memory, with a forget gate and without peepholes.

        (i, f, g, o)_t = x_t W + h_{t-1} U + b        c_t = σ(f) c_{t-1} + σ(i) tanh(g)        h_t = σ(o) tanh(c_t)

    Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; Gers,
    Schmidhuber and Cummins, "Learning to forget", Neural Computation 12(10), 2000. The gates lie side by
    side in W, U and b in the order of PyTorch and Keras: input, forget, candidate, output.

    It is called as :class:`nnx.RNN` is; its state is the tuple (h, c).

    Shape: (batch, time, in_features) -> (batch, time, hidden), and a tuple of two (batch, hidden).

    Args:
        in_features, hidden: the lengths of the last axes of x and of the states.
        weight_init: makes W, shape (in_features, 4 · hidden).
        state_weight_init: makes U, shape (hidden, 4 · hidden).
        bias_init: makes b, shape (4 · hidden,); ``None`` for 1 at the forget gate, else 0, so that cells
            keep their state at first.
        dtype, device, rng: as of :class:`nnx.RNN`.

    Raises:
        ArgumentError, ShapeError, DTypeError, MixedLibrariesError, DeviceError: as :class:`nnx.RNN` does.
    """

    gates = 4
    _bias_init = staticmethod(remembering)

    def _scan(self, inputs: Array, state: State) -> tuple[Array, State]:
        if state is not None and (not isinstance(state, (tuple, list)) or len(state) != 2):
            raise DTypeError(f"{self!r} expected a tuple (h, c) as its state, got {type(state).__name__}")
        first, cell = (None, None) if state is None else state
        first, cell = self._first(inputs, first, "state h"), self._first(inputs, cell, "state c")
        outputs, cells = ops.lstm(inputs, first, cell, self.state_weight)
        return outputs, (outputs[:, -1, :], cells[:, -1, :])


class GRU(_Recurrent):
    """Gated recurrent units.

        r, z = σ(x_t W + h_{t-1} U + b)    n = tanh(x_t W + b + r (h_{t-1} U + d))    h_t = (1 - z) n + z h_{t-1}

    each with its third of W, U and b. Cho et al., "Learning phrase representations using RNN
    encoder-decoder for statistical machine translation", EMNLP 2014, with the reset gate after the product
    and a bias d of its own there, as in cuDNN, PyTorch and Keras. The gates lie side by side in the order of
    PyTorch: reset, update, candidate.

    It is called as :class:`nnx.RNN` is.

    Shape: (batch, time, in_features), (batch, hidden) -> (batch, time, hidden), (batch, hidden).

    Args:
        in_features, hidden: the lengths of the last axes of x and of the states.
        weight_init: makes W, shape (in_features, 3 · hidden).
        state_weight_init: makes U, shape (hidden, 3 · hidden).
        bias_init: makes b, shape (3 · hidden,), and d, shape (hidden,); ``None`` for zeros.
        dtype, device, rng: as of :class:`nnx.RNN`.

    Raises:
        ArgumentError, ShapeError, DTypeError, MixedLibrariesError, DeviceError: as :class:`nnx.RNN` does.
    """

    gates = 3
    state_bias: Parameter  # d, (hidden,)

    def __init__(self, in_features: int, hidden: int, **options: Any) -> None:
        super().__init__(in_features, hidden, **options)
        chosen = {name: options[name] for name in ("dtype", "device", "rng") if name in options}
        self.state_bias = (options.get("bias_init") or self._bias_init)((self.hidden,), **chosen)

    def _scan(self, inputs: Array, state: State) -> tuple[Array, State]:
        outputs = ops.gru(inputs, self._first(inputs, state), self.state_weight, self.state_bias)
        return outputs, outputs[:, -1, :]
