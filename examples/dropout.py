"""Dropout in its two forms: vanilla, which scales when it predicts, and inverted, which scales while it trains.

CS231n, neural networks, part 2. Vanilla dropout keeps an activation with the chance p, and multiplies by p when the
network predicts, so that the next layer sees what it is used to. Inverted dropout divides by p while it trains: nothing
is left to do for predictions. The two are the same network up to a factor, which the next layer's weights take up.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from data.mnist import load_small
from options import parser, run

import nnx

RATE = 0.5


class VanillaDropout(nnx.Dropout):
    """A layer of one's own: the masks of ``nnx.Dropout``, without its scale, which comes when it predicts."""

    def __call__(self, x: Any) -> Any:
        keep = 1 - self.rate
        return super().__call__(x) * keep  # in training a mask (0 or 1 / keep) becomes 0 or 1; else x becomes keep · x


def training(layer: nnx.Dropout, x: Any) -> Any:
    """What a layer answers while it is being differentiated."""
    return nnx.vjp(lambda layer, x: layer(x), layer, x)[0]


def network(dropout: type[nnx.Dropout], device: nnx.Device, seed: int) -> nnx.Sequential:
    """One hidden layer with dropout behind it; from one seed both forms get the same weights and masks."""
    rng = nnx.Generator(seed)
    hidden = nnx.Linear(784, 256, weight_init=nnx.init.he_normal, rng=rng)
    return nnx.Sequential(hidden, nnx.relu, dropout(RATE, rng=rng), nnx.Linear(256, 10, rng=rng), device=device)


def main(device: nnx.Device, options: argparse.Namespace) -> None:
    """Compare what the layers answer, and train a network with each."""
    ones = nnx.asarray(np.ones((1000, 256), dtype=np.float32), device=device)
    forms = {"vanilla": VanillaDropout, "inverted": nnx.Dropout}
    print(f"{'':10}training: values, mean    predicting: mean")
    for name, form in forms.items():
        layer = form(RATE, device=device, rng=nnx.Generator(options.seed))
        seen, predicted = (nnx.to_numpy(y) for y in (training(layer, ones), layer(ones)))
        print(f"{name:10}{np.unique(seen).tolist()!s:>12}, {seen.mean():.3f}    {predicted.mean():16.3f}")
        assert abs(seen.mean() - predicted.mean()) < 0.01, "predictions see the mean of training"

    mnist = load_small()
    x, x_test = (a.reshape(-1, 784).astype(np.float32) / 255 for a in (mnist.train_images, mnist.test_images))
    y, y_test = (a.astype(np.int32) for a in (mnist.train_labels, mnist.test_labels))
    n, epochs = (1280, 1) if options.quick else (len(x), 10)
    for name, form in forms.items():
        nnx.seed(options.seed)
        model = network(form, device, options.seed)
        trainer = nnx.Trainer(
            model, loss=nnx.losses.cross_entropy, optimizer=nnx.optim.Adam(1e-3), metrics=[nnx.metrics.accuracy]
        )
        trainer.fit((x[:n], y[:n]), epochs=epochs, batch_size=128)
        print(f"{name} dropout: test accuracy {trainer.evaluate((x_test, y_test))['accuracy']:.2%}")


if __name__ == "__main__":
    run(parser("Vanilla and inverted dropout.", quick="one epoch on 1,280 images", plots=False), main)
