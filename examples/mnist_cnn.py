"""Train a convolutional network to read handwritten digits.

``python examples/mnist_cnn.py --full`` gets above 99 % of the test images right, in a few minutes on two CPU cores.
The network is a small relative of LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998): it looks for 16 patterns of
5 × 5 pixels, keeps where each is strongest, looks for 32 patterns in these, and tells the digit from the result.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from data.mnist import load_full, load_small
from options import parser, positive, run, writable

import nnx
from nnx.optim.schedules import cosine, warmup


def network(device: nnx.Device) -> nnx.Sequential:
    """28 × 28 images of one channel to the logits of ten digits, in 18,000 parameters."""
    he = nnx.init.he_normal
    return nnx.Sequential(
        nnx.Conv2d(1, 16, 5, weight_init=he),  # 24 × 24 pixels of 16 channels
        nnx.MaxPool2d(2),  # 12 × 12
        nnx.relu,  # after pooling, which makes no difference and leaves a quarter of the work
        nnx.Conv2d(16, 32, 5, weight_init=he),  # 8 × 8 pixels of 32 channels
        nnx.MaxPool2d(2),  # 4 × 4
        nnx.relu,
        nnx.Flatten(),  # 512 features
        nnx.Dropout(0.5),
        nnx.Linear(512, 10),
        device=device,
    )


def pixels(images: Any) -> Any:
    """Images (n, 28, 28) of bytes as (n, 28, 28, 1) of float32, from 0 for paper to 1 for ink."""
    return images[..., np.newaxis].astype(np.float32) / 255


def train(device: nnx.Device, options: argparse.Namespace) -> None:
    """Train, test, save and draw."""
    mnist = load_full() if options.full else load_small()
    x, y = pixels(mnist.train_images), mnist.train_labels.astype(np.int32)
    x_test, y_test = pixels(mnist.test_images), mnist.test_labels.astype(np.int32)
    if options.quick:
        x, y = x[:1280], y[:1280]
    count = len(x) * 9 // 10  # a tenth is held out for the curves, so that the test images are used once
    batch = 32 if options.quick else 128
    epochs = options.epochs or (2 if options.quick else 12 if options.full else 20)
    steps = -(-count // batch) * epochs
    rise = steps // 10 + 1

    nnx.seed(options.seed)
    model = network(device)
    trainer = nnx.Trainer(
        model,
        loss=nnx.losses.cross_entropy,
        optimizer=nnx.optim.AdamW(warmup(rise, then=cosine(3e-3, steps - rise))),
        metrics=[nnx.metrics.accuracy],
    )
    library = f"{device.backend.name} {device.backend.version()}"
    print(f"Training on {device} with {library}")
    print(f"{count:,} training, {len(x) - count:,} validation and {len(x_test):,} test images\n")
    print(nnx.summary(model, (batch, 28, 28, 1)), end="\n\n")

    history = trainer.fit((x[:count], y[:count]), validation=(x[count:], y[count:]), epochs=epochs, batch_size=batch)
    if not trainer.steps:  # Ctrl-C before anything was learnt
        return
    tested = trainer.evaluate((x_test, y_test), batch_size=500)
    seconds = sum(history["seconds"])
    each = seconds / min(trainer.steps * batch, count * len(history.epochs))
    print(f"test accuracy {tested['accuracy']:.2%}, loss {tested['loss']:.4f}")
    print(f"{1e6 * each:,.0f} µs an image, {seconds:.1f} s of training")
    nnx.save_weights(options.save, model)
    print(f"weights in {options.save}")
    if options.plot:
        from plots import training_report

        training_report(
            options.plot,
            history,
            f"MNIST: {tested['accuracy']:.2%} on the test images, after {seconds:.0f} s on {device} with {library}",
            filters=nnx.to_numpy(model[0].weight),
            images=mnist.test_images,
            labels=mnist.test_labels,
            probabilities=nnx.to_numpy(nnx.softmax(trainer.predict(x_test, batch_size=500))),
        )
        print(f"picture in {options.plot}")


def main() -> None:
    """The command."""
    made = parser(
        "Train a convolutional network to read handwritten digits (MNIST).", quick="two epochs on 1,280 images"
    )
    add = made.add_argument
    add("--full", action="store_true", help="all 70,000 images, from NNX_DATA_DIR or the network, not just 12,000")
    add("--epochs", type=positive, metavar="N", help="passes over the training images (default: 20; with --full 12)")
    path = Path("mnist_cnn.safetensors")
    add("--save", type=writable, default=path, metavar="FILE", help="weights (default: %(default)s)")
    run(made, train)


if __name__ == "__main__":
    main()
