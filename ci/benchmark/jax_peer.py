"""JAX: the whole step under ``jax.jit``, with the Adam of optax; buffers are donated."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmark.problem import BATCHES, RATE, Peer, Problem


class Jit(Peer):
    """One compiled function from ``(parameters, state, x, y)`` to the next parameters, state and the loss."""

    packages = ("jax", "optax")

    def __init__(self, problem: Problem, device: str) -> None:
        self.problem = problem
        self.batches = [(jnp.asarray(x), jnp.asarray(y, dtype="int32")) for x, y in problem.batches()]
        self.adam = optax.adam(RATE)
        self.reset()

    def reset(self) -> None:
        self.parameters = [(jnp.array(w), jnp.array(b)) for w, b in self.problem.weights()]
        self.state = self.adam.init(self.parameters)

    @staticmethod
    def loss(parameters: Any, x: Any, y: Any) -> Any:
        *hidden, (weight, bias) = parameters
        for w, b in hidden:
            x = jax.nn.relu(x @ w + b)
        return optax.softmax_cross_entropy_with_integer_labels(x @ weight + bias, y).mean()

    @partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
    def update(self, parameters: Any, state: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(self.loss)(parameters, x, y)
        updates, state = self.adam.update(grads, state)
        return optax.apply_updates(parameters, updates), state, loss

    def step(self, i: int) -> Any:
        x, y = self.batches[i % BATCHES]
        self.parameters, self.state, loss = self.update(self.parameters, self.state, x, y)
        return loss

    def run(self, steps: int) -> None:
        for i in range(steps):
            self.step(i)
        jax.block_until_ready((self.parameters, self.state))

    def losses(self, steps: int) -> list[float]:
        self.reset()
        return [float(self.step(i)) for i in range(steps)]
