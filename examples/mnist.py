"""Train a small network to read handwritten digits.

``python examples/mnist.py`` trains for a few seconds on the shipped images; ``--help`` tells the rest. On a GPU add
``--device cuda``. Steps are captured; ``--no-capture`` runs each as it is, ``--precision bfloat16`` in a smaller type.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from data.mnist import load_full, load_small
from options import parser, positive, precision, run, writable

import nnx
from nnx.optim.schedules import cosine, warmup

PIXELS, DIGITS = 28 * 28, 10


def network(hidden: list[int], device: nnx.Device) -> nnx.Sequential:
    """Hidden layers of rectified linear units; dropout on the pixels and after each of them."""
    layers: list[Any] = [nnx.Dropout(0.1)]
    for inputs, outputs in pairwise([PIXELS, *hidden]):
        layers += [nnx.Linear(inputs, outputs, weight_init=nnx.init.he_normal), nnx.relu, nnx.Dropout(0.3)]
    return nnx.Sequential(*layers, nnx.Linear([PIXELS, *hidden][-1], DIGITS), device=device)


def features(images: Any) -> Any:
    """Images (n, 28, 28) of bytes as rows (n, 784) of float32, from 0 for paper to 1 for ink."""
    return images.reshape(-1, PIXELS).astype(np.float32) / 255


def train(device: nnx.Device, options: argparse.Namespace) -> None:
    """Train, test, save and plot."""
    mnist = load_full() if options.full else load_small()
    x, y = features(mnist.train_images), mnist.train_labels.astype(np.int32)
    x_test, y_test = features(mnist.test_images), mnist.test_labels.astype(np.int32)
    if options.quick:
        x, y = x[:1280], y[:1280]
    count = len(x) * 9 // 10  # a tenth is held out for the curves, so that the test images are used once
    epochs = options.epochs or (1 if options.quick else 10 if options.full else 20)
    steps = -(-count // options.batch_size) * epochs
    rise = steps // 10 + 1

    nnx.seed(options.seed)
    model = network(options.hidden, device)
    rate = warmup(rise, then=cosine(options.rate, max(1, steps - rise)))
    trainer = nnx.Trainer(
        model,
        loss=nnx.losses.cross_entropy,
        optimizer=nnx.optim.AdamW(rate),
        metrics=[nnx.metrics.accuracy],
        capture=options.capture,  # records a step, and replays it
        precision=options.precision,
    )
    library = f"{device.backend.name} {device.backend.version()}"
    form = f"{'captured' if options.capture else 'eager'}, {options.precision or 'float32'}"
    print(f"Training on {device} with {library}, {form}")
    print(f"{count:,} training, {len(x) - count:,} validation and {len(x_test):,} test images\n")
    print(nnx.summary(model, (options.batch_size, PIXELS)), end="\n\n")

    history = trainer.fit(
        (x[:count], y[:count]),
        validation=(x[count:], y[count:]),
        epochs=epochs,
        batch_size=options.batch_size,
    )
    if not trainer.steps:  # Ctrl-C before anything was learnt
        return
    seen, seconds = min(trainer.steps * options.batch_size, count * len(history.epochs)), sum(history["seconds"])
    tested = trainer.evaluate((x_test, y_test), batch_size=1000)

    print(f"test accuracy {tested['accuracy']:.2%}, loss {tested['loss']:.4f}")
    print(f"{seen / seconds:,.0f} images a second, {seconds:.1f} s of training")
    nnx.save_weights(options.save, model)
    print(f"weights in {options.save}")
    if options.plot:
        from plots import training_report

        logits = trainer.predict(x_test, batch_size=1000)
        training_report(
            options.plot,
            history,
            f"MNIST: {tested['accuracy']:.2%} on the test images, after {seconds:.0f} s on {device} with {library}",
            images=mnist.test_images,
            labels=mnist.test_labels,
            probabilities=nnx.to_numpy(nnx.softmax(logits)),
        )
        print(f"picture in {options.plot}")


def main() -> None:
    """The command."""
    made = parser("Train a small network to read handwritten digits (MNIST).", quick="one epoch on 1,280 images")
    add = made.add_argument
    add("--full", action="store_true", help="all 70,000 images, from NNX_DATA_DIR or the network, not just 12,000")
    add("--epochs", type=positive, metavar="N", help="passes over the training images (default: 20; with --full 10)")
    add("--batch-size", type=positive, default=128, metavar="N", help="images a step (default: %(default)s)")
    add("--rate", type=float, default=2e-3, metavar="R", help="highest learning rate (default: %(default)s)")
    add("--hidden", type=positive, nargs="+", default=[512, 256], metavar="N", help="hidden units (default: 512 256)")
    precision(made)
    add("--capture", action=argparse.BooleanOptionalAction, default=True, help="record a step, and replay it")
    path = Path("mnist.safetensors")
    add("--save", type=writable, default=path, metavar="FILE", help="weights (default: %(default)s)")
    run(made, train)


if __name__ == "__main__":
    main()
