"""A small network trained by L-BFGS: from hours of sleep and of study to the score in a test.

Stephen Welch, "Neural networks demystified", 2014: 2 inputs, 3 hidden neurons, 1 output, no biases. The gradient is
compared with a numerical one (part 5), and a quasi-Newton method, BFGS there, finds a minimum (part 6). The network
then fits four students exactly and is far off for others; an L2 penalty mends that (part 7).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from options import parser, run

import nnx

HOURS, SCORES = [[3, 5], [5, 1], [10, 2], [6, 1.5]], [75, 82, 93, 70]
"""Of four students: hours of sleep and of study, and the score of each, of 100."""

FRESH_HOURS, FRESH_SCORES = [[4, 5.5], [4.5, 1], [9, 2.5], [6, 2]], [70, 89, 85, 75]
MOST = np.asarray([10.0, 5.0])  # hours: the inputs are shares of these
STRENGTH = 1e-4  # λ, of Welch's penalty λ/2 Σ w²


def network(device: nnx.Device, seed: int) -> nnx.Sequential:
    """Sigmoid neurons in float64, which differences need."""
    rng, init = nnx.Generator(seed), partial(nnx.init.normal, std=1.0)
    layer = partial(nnx.Linear, bias=False, weight_init=init, dtype="float64", rng=rng)
    return nnx.Sequential(layer(2, 3), nnx.sigmoid, layer(3, 1), nnx.sigmoid, device=device)


def cost_of(hours: Any, scores: Any, strength: float, device: nnx.Device) -> Callable[[Any], Any]:
    """The function model -> 1/(2n) Σ (a - y)² + λ/2 Σ w²."""
    x = nnx.asarray(np.asarray(hours) / MOST, device=device)
    y = nnx.asarray(np.asarray(scores)[:, None] / 100, device=device)
    penalty = nnx.regularizers.l2(strength)
    return lambda model: 0.5 * nnx.losses.mse(model(x), y) + penalty(model)


def numerical_gradient(cost: Callable[[Any], Any], model: nnx.Sequential, step: float = 1e-4) -> Any:
    """(C(w + h e) - C(w - h e)) / 2h for each weight in turn, end to end."""
    found = []
    for name, weight in model.parameters().items():
        host = nnx.to_numpy(weight)
        for index in np.ndindex(*host.shape):
            shift = np.zeros_like(host)
            shift[index] = step
            above, below = (
                float(nnx.to_numpy(cost(model.load({name: host + h}, partial=True)))) for h in (shift, -shift)
            )
            found.append((above - below) / (2 * step))
        model.load({name: host}, partial=True)
    return np.asarray(found)


def check(cost: Callable[[Any], Any], model: nnx.Sequential) -> None:
    """Compare the gradient with the numerical one, by Welch's measure."""
    gradient = np.concatenate([nnx.to_numpy(g).reshape(-1) for g in nnx.grad(cost)(model).values()])
    numerical = numerical_gradient(cost, model)
    apart = np.linalg.norm(gradient - numerical) / np.linalg.norm(gradient + numerical)
    print(f"gradient of {gradient.size} weights against the numerical one: relative difference {apart:.1e}")
    assert apart < 1e-8, "backprop computes the gradient"


def fit(strength: float, device: nnx.Device, options: argparse.Namespace) -> tuple[Any, Any]:
    """Minimise the cost of four students; answer the network and what the search found."""
    cost = cost_of(HOURS, SCORES, strength, device)
    model = network(device, options.seed)
    if not strength:
        check(cost, model)
    found = nnx.optim.LBFGS().minimize(cost, model, steps=20 if options.quick else 500, tolerance=1e-8)
    print(f"\nL2 {strength:g}: {found.steps} steps, {found.evaluations} evaluations; {found.message}")
    print("  cost by step: " + ", ".join(f"{found.losses[k]:.2g}" for k in range(0, len(found.losses), 10)))
    for name, hours, scores in (("the four", HOURS, SCORES), ("others", FRESH_HOURS, FRESH_SCORES)):
        guesses = 100 * nnx.to_numpy(model(nnx.asarray(np.asarray(hours) / MOST, device=device)))[:, 0]
        points = float(np.sqrt(np.mean((guesses - scores) ** 2)))
        told = ", ".join(f"{guess:.1f} for {score}" for guess, score in zip(guesses, scores, strict=True))
        print(f"  {name}: {told}; {points:.1f} points off (root mean square)")
    return model, found


def descend(device: nnx.Device, options: argparse.Namespace, steps: int) -> None:
    """What gradient descent makes of as many gradients."""
    model, optimizer = network(device, options.seed), nnx.optim.SGD(3.0)
    value_and_grad = nnx.value_and_grad(cost_of(HOURS, SCORES, 0.0, device))
    for _ in range(steps):
        value, gradients = value_and_grad(model)
        optimizer.update(model, gradients)
    print(f"  gradient descent has a cost of {float(nnx.to_numpy(value)):.2g} after as many evaluations")


def main(device: nnx.Device, options: argparse.Namespace) -> None:
    """Train without and with the penalty, and draw the scores that both networks foresee."""
    runs = {}
    for strength in (0.0, STRENGTH):
        runs[strength] = fit(strength, device, options)
        if not strength:
            descend(device, options, runs[strength][1].evaluations)
    if options.plot:
        from charts import score_surfaces

        panels = {}
        for strength, (model, found) in runs.items():

            def score(hours: Any, model: Any = model) -> Any:
                return 100 * nnx.to_numpy(model(nnx.asarray(hours / MOST, device=device)))[:, 0]

            panels[f"L2 {strength:g}" if strength else "no penalty"] = score, found.losses
        score_surfaces(options.plot, panels, HOURS, SCORES, "Score by hours of sleep and study, learned by L-BFGS")
        print(f"picture in {options.plot}")


if __name__ == "__main__":
    run(parser("A small network trained by L-BFGS, its gradient checked.", quick="at most 20 steps"), main)
