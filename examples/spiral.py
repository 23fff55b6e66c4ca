"""The three-arm spiral: a linear classifier finds half of it, a network with one hidden layer nearly all.

The case study of the course CS231n ("Putting it together: minimal neural network case study"): full-batch gradient
descent on softmax cross-entropy with an L2 penalty. The course gets 49 % and 98 %.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import toy
from options import parser, run

import nnx

HIDDEN = 100


def train(name: str, model: Any, x: Any, y: Any, *, epochs: int, strength: float) -> float:
    """Train on all points at once; answer the share of them that end up in their class."""
    trainer = nnx.Trainer(
        model,
        loss=nnx.losses.cross_entropy,
        optimizer=nnx.optim.SGD(1.0),
        metrics=[nnx.metrics.accuracy],
        regularizer=nnx.regularizers.l2(strength),
    )
    trainer.fit((x, y), epochs=epochs, batch_size=len(x))
    result = trainer.evaluate((x, y), batch_size=len(x))
    print(f"{name}: accuracy {result['accuracy']:.1%}, loss {result['loss']:.3f}")
    return result["accuracy"]


def main(device: nnx.Device, options: argparse.Namespace) -> None:
    """Train both classifiers, and draw what they make of the plane."""
    nnx.seed(options.seed)
    x, y = toy.spiral(seed=options.seed)
    small = partial(nnx.init.normal, std=0.01)
    linear = nnx.Sequential(nnx.Linear(2, 3, weight_init=small), device=device)
    network = nnx.Sequential(
        nnx.Linear(2, HIDDEN, weight_init=small), nnx.relu, nnx.Linear(HIDDEN, 3, weight_init=small), device=device
    )
    names = "linear softmax", f"{HIDDEN} hidden neurons"
    shares = [
        train(names[0], linear, x, y, epochs=20 if options.quick else 200, strength=1e-3),
        train(names[1], network, x, y, epochs=50 if options.quick else 10_000, strength=1e-3),
    ]
    if options.plot:
        from plots import decision_regions

        panels = [
            (f"{name}: {share:.1%}", toy.scores(model))
            for name, share, model in zip(names, shares, (linear, network), strict=True)
        ]
        decision_regions(options.plot, panels, x, y, "The three-arm spiral", columns=2)
        print(f"picture in {options.plot}")


if __name__ == "__main__":
    run(parser("Tell the arms of a spiral apart, by a line and by a network.", quick="few epochs"), main)
