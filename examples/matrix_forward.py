"""Forward propagation with ReLU in matrix form: the examples in rows, one matrix product a layer.

A network of four layers is computed neuron by neuron, and as A ← max(0, A W + b). The outputs are the same but for
rounding, and the program prints how much faster the second form is.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from typing import Any

import numpy as np
from options import parser, run

import nnx

SIZES = (20, 32, 32, 16, 4)


def by_loops(examples: Any, weights: list[Any], biases: list[Any]) -> Any:
    """Example by example, neuron by neuron."""
    outputs = []
    for x in examples:
        a = x.tolist()
        for layer, (w, b) in enumerate(zip(weights, biases, strict=True), start=1):
            z = [sum(a[i] * w[i, j] for i in range(len(a))) + b[j] for j in range(len(b))]
            a = z if layer == len(weights) else [max(0.0, value) for value in z]
        outputs.append(a)
    return np.asarray(outputs)


def by_matrices(x: Any, weights: list[Any], biases: list[Any]) -> Any:
    """The whole batch: a row for each example."""
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        x = nnx.relu(x @ w + b)
    return x @ weights[-1] + biases[-1]


def main(device: nnx.Device, options: argparse.Namespace) -> None:
    """Compute the outputs in both forms, compare and time them."""
    rng = np.random.default_rng(options.seed)
    examples = rng.normal(size=(8 if options.quick else 64, SIZES[0]))
    pairs = list(pairwise(SIZES))
    weights = [rng.normal(size=pair) * (2 / pair[0]) ** 0.5 for pair in pairs]  # He initialisation
    biases = [rng.normal(size=outputs) * 0.1 for _, outputs in pairs]

    start = time.perf_counter()
    expected = by_loops(examples, weights, biases)
    loops = time.perf_counter() - start

    x = nnx.asarray(examples, device=device)
    w, b = ([nnx.asarray(array, device=device) for array in arrays] for arrays in (weights, biases))
    nnx.to_numpy(by_matrices(x, w, b))  # a first call may compile or load something
    start = time.perf_counter()
    y = nnx.to_numpy(by_matrices(x, w, b))
    matrices = time.perf_counter() - start

    difference = float(np.max(np.abs(y - expected)))
    assert difference < 1e-12, "these are the same numbers but for rounding"
    print(f"{len(examples)} examples through {' -> '.join(map(str, SIZES))}, on {device}")
    print(f"neuron by neuron   {1e3 * loops:8.2f} ms")
    print(f"matrix products    {1e3 * matrices:8.2f} ms, {loops / matrices:,.0f} times as fast")
    print(f"largest difference {difference:8.1e}")


if __name__ == "__main__":
    run(parser("Forward propagation neuron by neuron, and by matrices.", quick="8 examples, not 64", plots=False), main)
