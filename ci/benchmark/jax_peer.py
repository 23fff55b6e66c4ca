"""JAX: the whole step under ``jax.jit``, with the Adam of optax; buffers are donated."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmark.card import ordinal
from benchmark.images import Images
from benchmark.problem import BATCHES, Peer, Problem

PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "default"}
"""JAX's own default for float32 on a GPU is tf32."""


def perceptron(parameters: Any, x: Any) -> Any:
    """The logits of a multi-layer perceptron."""
    *hidden, (weight, bias) = parameters
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return x @ weight + bias


def convolutional(parameters: Any, x: Any) -> Any:
    """The logits of a convolutional network."""
    *convolutions, (weight, bias) = parameters
    window = (1, 2, 2, 1)
    for w, b in convolutions:
        x = jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
        x = jax.nn.relu(jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID"))
    return x.reshape(x.shape[0], -1) @ weight + bias


class Jit(Peer):
    """One compiled function from ``(parameters, state, x, y)`` to the next parameters, state and the loss."""

    packages = ("jax", "optax")

    def __init__(self, problem: Problem | Images, device: str) -> None:
        number = ordinal(device)
        platform = "cpu" if number is None else "gpu"
        if platform != jax.default_backend() or number:
            jax.config.update("jax_default_device", jax.local_devices(backend=platform)[number or 0])
        jax.config.update("jax_default_matmul_precision", PRECISIONS[problem.precision])
        self.problem = problem
        self.network = convolutional if isinstance(problem, Images) else perceptron
        self.batches = [(jnp.asarray(x), jnp.asarray(y, dtype="int32")) for x, y in problem.batches()]
        self.adam = optax.adam(problem.rate)
        self.reset()

    def reset(self) -> None:
        self.parameters = [(jnp.array(w), jnp.array(b)) for w, b in self.problem.weights()]
        self.state = self.adam.init(self.parameters)

    def loss(self, parameters: Any, x: Any, y: Any) -> Any:
        if self.problem.precision == "bfloat16":
            parameters, x = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (parameters, x))
        logits = self.network(parameters, x).astype(jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

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
