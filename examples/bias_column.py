"""A forward pass with a bias column: three ways to write it, and one set of numbers.

The weights of a layer and its biases stand in one matrix, and every row of activations ends in a 1, which the
biases are multiplied by. Each activation is the logistic function; the last one is the output.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from math import exp
from typing import Any

import numpy as np
from options import parser, run

import nnx

SIZES = (3, 4, 2)  # inputs, hidden neurons, outputs


def by_formula(x: Any, weights: list[Any]) -> list[float]:
    """Neuron by neuron: a_j = 1 / (1 + exp(-(Σ_i a_i w_ij + b_j))), for one example."""
    a = [float(value) for value in x]
    for matrix in weights:
        inputs = [*a, 1.0]
        sums = [sum(inputs[i] * float(matrix[i, j]) for i in range(len(inputs))) for j in range(matrix.shape[1])]
        a = [1 / (1 + exp(-z)) for z in sums]
    return a


def by_matrices(x: Any, weights: list[Any]) -> Any:
    """All examples at once, in rows: A ← σ([A 1] W)."""
    xp = nnx.namespace_of(x)
    for matrix in weights:
        column = xp.ones_like(x[:, :1])
        x = nnx.sigmoid(xp.concat([x, column], axis=1) @ matrix)
    return x


def by_layers(x: Any, weights: list[Any], device: nnx.Device) -> Any:
    """The same as a model: ``Linear`` keeps the bias row as a parameter of its own."""
    layers: list[Any] = []
    for inputs, outputs in pairwise(SIZES):
        layers += [nnx.Linear(inputs, outputs, dtype="float64"), nnx.sigmoid]
    model = nnx.Sequential(*layers, device=device)
    model.load({f"{2 * i}.weight": matrix[:-1, :] for i, matrix in enumerate(weights)}
               | {f"{2 * i}.bias": matrix[-1, :] for i, matrix in enumerate(weights)})  # fmt: skip
    print(nnx.summary(model, x.shape), end="\n\n")
    return model(x)


def main(device: nnx.Device, options: argparse.Namespace) -> None:
    """Compute the outputs in three ways, and compare them."""
    rng = np.random.default_rng(options.seed)
    examples = rng.uniform(-1, 1, (5, SIZES[0]))
    matrices = [rng.normal(size=(inputs + 1, outputs)) for inputs, outputs in pairwise(SIZES)]
    formula = np.asarray([by_formula(x, matrices) for x in examples])

    x, weights = nnx.asarray(examples, device=device), [nnx.asarray(matrix, device=device) for matrix in matrices]
    found = {"matrices with a bias column": by_matrices(x, weights), "nnx.Sequential": by_layers(x, weights, device)}
    print("outputs by the formula:", *(f"  {row[0]:.6f}  {row[1]:.6f}" for row in formula), sep="\n")
    for name, y in found.items():
        difference = float(np.max(np.abs(nnx.to_numpy(y) - formula)))
        print(f"largest difference of {name}: {difference:.1e}")
        assert difference < 1e-14, "these are the same numbers but for rounding"


if __name__ == "__main__":
    run(
        parser("A forward pass with a bias column, in three ways.", quick="the same: it takes no time", plots=False),
        main,
    )
