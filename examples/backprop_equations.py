"""The four equations of backpropagation by hand, against nnx.grad and against finite differences.

Nielsen, "Neural networks and deep learning", 2015, chapter 2, for sigmoid neurons and the quadratic cost. With the
examples in rows, a^l = σ(z^l), z^l = a^(l-1) w^l + b^l, and C = 1/(2n) Σ ‖a^L - y‖²:

    BP1   δ^L = (a^L - y) ⊙ σ'(z^L)                      BP3   ∂C/∂b^l = 1/n Σ δ^l
    BP2   δ^l = (δ^(l+1) (w^(l+1))ᵀ) ⊙ σ'(z^l)           BP4   ∂C/∂w^l = 1/n (a^(l-1))ᵀ δ^l

where each row of δ^l is ∂/∂z^l of the cost of its example. Then the equations are timed for a whole mini-batch, as
matrices, and example by example; Nielsen found the first about twice as fast.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from options import parser, run

import nnx

CHECKED, TIMED = (6, 5, 4, 3), (784, 30, 10)
"""The sizes of two networks: one to check, one to time, which is Nielsen's for handwritten digits."""


def draw(sizes: tuple[int, ...], n: int, dtype: str, device: nnx.Device, seed: int) -> tuple[Any, ...]:
    """Random inputs and targets of ``n`` examples, weights and biases."""
    rng = np.random.default_rng(seed)

    def array(values: Any) -> Any:
        return nnx.asarray(values.astype(dtype), device=device)

    x, y = array(rng.normal(size=(n, sizes[0]))), array(rng.uniform(size=(n, sizes[-1])))
    weights = [array(rng.normal(size=shape) / shape[0] ** 0.5) for shape in pairwise(sizes)]
    return x, y, weights, [array(rng.normal(size=size)) for size in sizes[1:]]


def forward(x: Any, weights: list[Any], biases: list[Any]) -> list[Any]:
    """The activations of all layers, the input first."""
    activations = [x]
    for w, b in zip(weights, biases, strict=True):
        activations.append(nnx.sigmoid(activations[-1] @ w + b))
    return activations


def backprop(x: Any, y: Any, weights: list[Any], biases: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """δ^l, ∂C/∂b^l and ∂C/∂w^l of all layers, by the four equations; σ' = a (1 - a)."""
    xp, n = nnx.namespace_of(x), x.shape[0]
    a = forward(x, weights, biases)
    deltas = [(a[-1] - y) * a[-1] * (1 - a[-1])]  # BP1
    for w, hidden in zip(weights[:0:-1], a[-2:0:-1], strict=True):
        deltas.insert(0, (deltas[0] @ w.T) * hidden * (1 - hidden))  # BP2
    by_biases = [xp.sum(delta, axis=0) / n for delta in deltas]  # BP3
    by_weights = [below.T @ delta / n for below, delta in zip(a[:-1], deltas, strict=True)]  # BP4
    return deltas, by_biases, by_weights


def by_example(x: Any, y: Any, weights: list[Any], biases: list[Any]) -> tuple[list[Any], list[Any]]:
    """∂C/∂b^l and ∂C/∂w^l as the means of those of the examples, one after another."""
    n = x.shape[0]
    found = [backprop(x[i : i + 1, :], y[i : i + 1, :], weights, biases)[1:] for i in range(n)]
    biases, weights = (
        [sum(layer) / n for layer in zip(*gradients, strict=True)] for gradients in zip(*found, strict=True)
    )
    return biases, weights


def cost(x: Any, y: Any, weights: list[Any], biases: list[Any]) -> Any:
    """C of a mini-batch."""
    return 0.5 * nnx.losses.mse(forward(x, weights, biases)[-1], y, reduction="sum") / x.shape[0]


def differences(f: Callable[[Any], Any], x: Any, device: nnx.Device, step: float = 1e-5) -> Any:
    """The gradient of ``f`` at ``x``, element by element: (f(x + h e) - f(x - h e)) / 2h."""
    host = nnx.to_numpy(x)
    gradient = np.empty_like(host)
    for index in np.ndindex(*host.shape):
        shift = np.zeros_like(host)
        shift[index] = step
        above, below = (float(nnx.to_numpy(f(nnx.asarray(host + h, device=device)))) for h in (shift, -shift))
        gradient[index] = (above - below) / (2 * step)
    return gradient


def summed(z: Any, y: Any, weights: list[Any], biases: list[Any]) -> Any:
    """The cost added up over the examples, as a function of the z of a layer and of the layers above it."""
    return cost(nnx.sigmoid(z), y, weights, biases) * z.shape[0]


def check(device: nnx.Device, seed: int) -> None:
    """Each equation, in each layer, against the two other ways to its gradient."""
    x, y, weights, biases = draw(CHECKED, 5, "float64", device, seed)
    a = forward(x, weights, biases)
    deltas, by_biases, by_weights = backprop(x, y, weights, biases)
    grad_weights, grad_biases = nnx.grad(cost, argnums=(2, 3))(x, y, weights, biases)
    print(f"{'largest difference from':24}{'nnx.grad':>12}{'differences':>14}")

    def compare(name: str, by_hand: Any, gradient: Any, f: Callable[[Any], Any], at: Any) -> None:
        others = nnx.to_numpy(gradient), differences(f, at, device)
        apart = [float(np.max(np.abs(nnx.to_numpy(by_hand) - other))) for other in others]
        print(f"{name:24}{apart[0]:12.1e}{apart[1]:14.1e}")
        assert apart[0] < 1e-15, "backprop is these equations"
        assert apart[1] < 1e-9, "and they are the derivatives"

    for k in reversed(range(len(weights))):
        z, above = a[k] @ weights[k] + biases[k], (y, weights[k + 1 :], biases[k + 1 :])

        def with_bias(b: Any, k: int = k) -> Any:
            return cost(x, y, weights, [*biases[:k], b, *biases[k + 1 :]])

        def with_weight(w: Any, k: int = k) -> Any:
            return cost(x, y, [*weights[:k], w, *weights[k + 1 :]], biases)

        name = f"BP{1 if k + 1 == len(weights) else 2}  δ^{k + 1}"
        compare(name, deltas[k], nnx.grad(summed)(z, *above), lambda z, above=above: summed(z, *above), z)
        compare(f"BP3  ∂C/∂b^{k + 1}", by_biases[k], grad_biases[k], with_bias, biases[k])
        compare(f"BP4  ∂C/∂w^{k + 1}", by_weights[k], grad_weights[k], with_weight, weights[k])


def measure(n: int, device: nnx.Device, options: argparse.Namespace) -> None:
    """How long the gradients of a mini-batch take in each form."""
    arguments = draw(TIMED, n, "float32", device, options.seed)
    forms = {"loop": by_example, "matrices": lambda *arguments: backprop(*arguments)[1:]}
    seconds = dict.fromkeys(forms, float("inf"))
    for _ in range(5 if options.quick else 50):
        for name, form in forms.items():  # in turn, so that both meet the same load
            start = time.perf_counter()
            found = form(*arguments)
            nnx.to_numpy(found[1][0])  # waits for a device
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    loop, matrices = (1e6 * seconds[name] for name in forms)
    print(f"{n:22}{loop:13,.0f} µs{matrices:13,.0f} µs{loop / matrices:12.1f} times as fast")
    for one, other in zip(by_example(*arguments)[1], backprop(*arguments)[2], strict=True):
        assert np.allclose(nnx.to_numpy(one), nnx.to_numpy(other), rtol=1e-4, atol=1e-6), "both are the same gradient"


def example(device: nnx.Device, options: argparse.Namespace) -> None:
    """Check the equations, and time them."""
    check(device, options.seed)
    print(f"\nexamples a mini-batch      one by one      as matrices     ({' -> '.join(map(str, TIMED))}, on {device})")
    for n in (10, 100):
        measure(n, device, options)


if __name__ == "__main__":
    run(parser("Backpropagation by hand, checked and timed.", quick="5 measurements, not 50", plots=False), example)
