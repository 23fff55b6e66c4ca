"""Build, summarise, fit, evaluate, predict: a network as one writes it in Keras.

    model = Sequential([Dense(128, "relu"), Dropout(0.2), Dense(10)])
    model.compile(optimizer="adam", loss=SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(x, y, epochs=5, validation_split=0.1)
    model.evaluate(x_test, y_test)

What Keras compiles into the model is a ``Trainer`` here, so that the model stays a function of its parameters.
"""

from __future__ import annotations

import argparse

import numpy as np
from data.mnist import load_small
from options import parser, run

import nnx


def main(device: nnx.Device, options: argparse.Namespace) -> None:
    """Train on the shipped digits."""
    nnx.seed(options.seed)
    mnist = load_small()
    x, x_test = (a.reshape(-1, 784).astype(np.float32) / 255 for a in (mnist.train_images, mnist.test_images))
    y, y_test = (a.astype(np.int32) for a in (mnist.train_labels, mnist.test_labels))
    if options.quick:
        x, y = x[:1280], y[:1280]
    split = len(x) * 9 // 10

    model = nnx.Sequential(nnx.Linear(784, 128), nnx.relu, nnx.Dropout(0.2), nnx.Linear(128, 10), device=device)
    print(nnx.summary(model, (32, 784)))
    trainer = nnx.Trainer(
        model, loss=nnx.losses.cross_entropy, optimizer=nnx.optim.Adam(1e-3), metrics=[nnx.metrics.accuracy]
    )
    history = trainer.fit(
        (x[:split], y[:split]), validation=(x[split:], y[split:]), epochs=1 if options.quick else 5, batch_size=32
    )
    print(f"validation accuracy by epoch: {', '.join(f'{share:.1%}' for share in history['validation_accuracy'])}")
    print({name: round(value, 4) for name, value in trainer.evaluate((x_test, y_test)).items()})

    probabilities = nnx.to_numpy(nnx.softmax(trainer.predict(x_test[:5])))
    for truth, row in zip(y_test[:5], probabilities, strict=True):
        print(f"a {truth}: predicted {row.argmax()} with probability {row.max():.3f}")


if __name__ == "__main__":
    run(parser("A network as one writes it in Keras.", quick="one epoch on 1,280 images", plots=False), main)
