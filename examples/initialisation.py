"""What initial weights do to the signals of a deep network: histograms of ten layers.

The experiment of the course CS231n (neural networks, part 2, and its slides): 1,000 standard normal inputs go through
ten layers of 500 units. Under small weights the signals die out, under large ones tanh is saturated; calibrated
weights keep signals and gradients alive, and ReLU needs twice the variance. Batch normalisation mends bad weights.
For tanh and weights of 0.01 the course prints standard deviations of 0.213, 0.0476, 0.0106, ...
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from options import parser, run

import nnx

LAYERS, UNITS = 10, 500

small, large = partial(nnx.init.normal, std=0.01), partial(nnx.init.normal, std=1.0)
CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], bool]] = {
    "tanh, weights of 0.01": (nnx.tanh, small, False),
    "tanh, weights of 1": (nnx.tanh, large, False),
    "tanh, Xavier": (nnx.tanh, nnx.init.glorot_normal, False),  # 1 / sqrt(500): the layers have one size
    "tanh, 0.01, batch norm": (nnx.tanh, small, True),
    "ReLU, weights of 0.01": (nnx.relu, small, False),
    "ReLU, Xavier": (nnx.relu, nnx.init.glorot_normal, False),
    "ReLU, He": (nnx.relu, nnx.init.he_normal, False),
    "ReLU, 0.01, batch norm": (nnx.relu, small, True),
}
"""Of each: activation, initial weights, and whether there is batch normalisation before each activation."""


def network(
    activation: Callable[..., Any], weight_init: Callable[..., Any], normalise: bool, device: nnx.Device
) -> Any:
    """Ten layers of one size."""
    layers: list[Any] = []
    for _ in range(LAYERS):
        layers.append(nnx.Linear(UNITS, UNITS, weight_init=weight_init))
        layers += [nnx.BatchNorm(UNITS), activation] if normalise else [activation]
    return nnx.Sequential(*layers, device=device)


def signals(model: Any, activation: Callable[..., Any], x: Any, direction: Any) -> tuple[list[Any], list[float]]:
    """What each layer answers, and the standard deviation of the gradients by its weights.

    The loss is the output along a random direction, so that the gradient which enters the last layer is the same
    for all networks. The model is in training mode: it is being differentiated.
    """

    def loss(model: Any, x: Any) -> tuple[Any, list[Any]]:
        found = []
        for layer in model:
            x = layer(x)
            if layer is activation:
                found.append(x)
        xp = nnx.namespace_of(x)
        return xp.mean(x * direction), found

    (_, found), gradients = nnx.value_and_grad(loss, has_aux=True)(model, x)
    weights = [g for g in gradients.values() if len(g.shape) == 2]
    return [nnx.to_numpy(a) for a in found], [float(nnx.to_numpy(g).std()) for g in weights]


def check(stds: dict[str, list[float]]) -> None:
    """Assert what the source says of each case."""
    assert abs(stds["tanh, weights of 0.01"][0] - 0.213) < 0.005, "the first layer is that of the source"
    assert stds["tanh, weights of 0.01"][-1] < 1e-5, "small weights let the signals die out"
    assert stds["tanh, weights of 1"][-1] > 0.95, "large weights saturate tanh: all is -1 or 1"
    assert stds["tanh, Xavier"][-1] > 0.2, "calibrated weights keep them alive"
    assert stds["ReLU, Xavier"][-1] < 0.05, "ReLU halves the variance of each layer"
    assert stds["ReLU, He"][-1] > 0.5, "which twice the variance of the weights makes up for"
    for name in ("tanh, 0.01, batch norm", "ReLU, 0.01, batch norm"):
        assert abs(stds[name][-1] / stds[name][0] - 1) < 0.05, "batch normalisation makes all layers alike"


def study(device: nnx.Device, options: argparse.Namespace) -> None:
    """A table of the signals in each network, and a picture of them."""
    rng = np.random.default_rng(options.seed)
    x, direction = (
        nnx.asarray(rng.normal(size=(200 if options.quick else 1000, UNITS)).astype(np.float32), device=device)
        for _ in range(2)
    )
    nnx.seed(options.seed)
    stds, histograms = {}, {}
    print(f"{'layer':24}" + "".join(f"{layer:9}" for layer in range(1, LAYERS + 1)))
    for name, (activation, weight_init, normalise) in CASES.items():
        found, gradients = signals(network(activation, weight_init, normalise, device), activation, x, direction)
        stds[name] = [float(a.std()) for a in found]
        rows = {"mean": [float(a.mean()) for a in found], "std": stds[name], "std of dL/dW": gradients}
        print(name)
        for title, row in rows.items():
            print(f"  {title:22}" + "".join(f"{value:9.2g}" for value in row))
        edges = np.linspace(*((-1, 1) if activation is nnx.tanh else (0, 3)), 31)
        histograms[name] = edges, [np.histogram(a, edges)[0] for a in found]
    check(stds)
    if options.plot:
        from charts import layer_histograms

        layer_histograms(options.plot, histograms, f"Activations of ten layers of {UNITS} units")
        print(f"picture in {options.plot}")


if __name__ == "__main__":
    run(
        parser("What initial weights do to the signals of a deep network.", quick="200 inputs in place of 1,000"), study
    )
