"""Handwritten digits by sigmoid neurons, as in Michael Nielsen's "Neural networks and deep learning", 2015.

Chapter 1: 30 hidden neurons, weights and biases of N(0, 1), the quadratic cost 1/(2n) Σ ‖y - a‖², rate 3.0, batches of
10, 30 epochs: about 95 %. Chapter 3: 100 hidden neurons, weights of N(0, 1/inputs), cross-entropy, L2 with λ = 5 for
50,000 images, rate 0.1, 60 epochs: about 98 %. ``--full`` does so with all of MNIST.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
from data.mnist import load_full, load_small
from options import parser, run

import nnx

PIXELS, DIGITS = 28 * 28, 10
normal = partial(nnx.init.normal, std=1.0)


def quadratic(a: Any, y: Any) -> Any:
    """Chapter 1's cost: 1/(2n) Σ ‖y - a‖²."""
    return 0.5 * nnx.losses.mse(a, y, reduction="sum") / a.shape[0]


def first(device: nnx.Device) -> tuple[nnx.Trainer, int]:
    """The network of chapter 1, and its epochs."""
    linear = partial(nnx.Linear, weight_init=normal, bias_init=normal)
    model = nnx.Sequential(linear(PIXELS, 30), nnx.sigmoid, linear(30, DIGITS), nnx.sigmoid, device=device)
    return trainer(model, quadratic, 3.0), 30


def second(device: nnx.Device) -> tuple[nnx.Trainer, int]:
    """The network of chapter 3, and its epochs. The loss contains the sigmoid of the last layer."""
    linear = partial(nnx.Linear, weight_init=nnx.init.lecun_normal, bias_init=normal)
    model = nnx.Sequential(linear(PIXELS, 100), nnx.sigmoid, linear(100, DIGITS), device=device)
    return trainer(model, nnx.losses.multilabel_logistic, 0.1, regularizer=nnx.regularizers.l2(5.0 / 50_000)), 60


def trainer(model: nnx.Sequential, loss: Any, rate: float, **options: Any) -> nnx.Trainer:
    """Plain stochastic gradient descent."""
    return nnx.Trainer(
        model, loss=loss, optimizer=nnx.optim.SGD(rate), metrics=[nnx.metrics.accuracy], **options
    )  # fmt: skip


def prepare(images: Any, labels: Any) -> tuple[Any, Any]:
    """Pixels from 0 to 1 in rows, and rows of zeros with a one at the digit."""
    return images.reshape(-1, PIXELS).astype(np.float32) / 255, np.eye(DIGITS, dtype=np.float32)[labels]


def learn(device: nnx.Device, options: argparse.Namespace) -> None:
    """Train both, and test them once."""
    mnist = load_full() if options.full else load_small()
    x, y = prepare(mnist.train_images, mnist.train_labels)
    if options.quick:
        x, y = x[:3000], y[:3000]
    count = len(x) * 5 // 6  # 50,000 of 60,000, as in the book; the others tell how it goes
    curves = {}
    for name, make in (
        ("chapter 1: quadratic cost, 30 hidden", first),
        ("chapter 3: cross-entropy, 100 hidden", second),
    ):
        nnx.seed(options.seed)
        trainer, epochs = make(device)
        history = trainer.fit(
            (x[:count], y[:count]),
            validation=(x[count:], y[count:]),
            epochs=2 if options.quick else epochs,
            batch_size=10,
        )
        if history.interrupted:
            return
        share = trainer.evaluate(prepare(mnist.test_images, mnist.test_labels))["accuracy"]
        best, seconds = max(history["validation_accuracy"]), sum(history["seconds"])
        steps = f"{trainer.steps:,} steps of {1e6 * seconds / trainer.steps:.0f} µs"
        print(f"{name}: test accuracy {share:.2%}, best validation accuracy {best:.2%}; {steps}")
        curves[f"{name}: {share:.2%} of the test images"] = history["validation_accuracy"]
    if options.plot:
        from charts import accuracy_curves

        accuracy_curves(options.plot, curves, f"MNIST by sigmoid neurons, {count:,} images to learn from")
        print(f"picture in {options.plot}")


if __name__ == "__main__":
    made = parser("Handwritten digits by sigmoid neurons, in two recipes.", quick="two epochs on 3,000 images")
    made.add_argument("--full", action="store_true", help="all 70,000 images, from NNX_DATA_DIR or the network")
    run(made, learn)
