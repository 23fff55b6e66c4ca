"""How the size of a network and the strength of its regularisation shape what it decides.

Two noisy half circles in the plane, as in the notes of the course CS231n (neural networks, part 1): networks with 3, 6
and 20 hidden neurons, and one with 20 under three strengths of L2. More neurons follow the noise; a stronger penalty
smooths what many neurons could do, which is the better way to avoid over-fitting.
"""

from __future__ import annotations

import argparse
from typing import Any

import toy
from options import parser, run

import nnx

HIDDEN = 3, 6, 20
STRENGTHS = 0.0001, 0.001, 0.01


def train(points: Any, labels: Any, hidden: int, strength: float, device: nnx.Device, *, epochs: int) -> Any:
    """A network with one hidden layer, trained on all points at once."""
    model = nnx.Sequential(
        nnx.Linear(2, hidden), nnx.tanh, nnx.Linear(hidden, hidden), nnx.tanh, nnx.Linear(hidden, 2), device=device
    )
    trainer = nnx.Trainer(
        model,
        loss=nnx.losses.cross_entropy,
        optimizer=nnx.optim.Adam(0.02),
        regularizer=nnx.regularizers.l2(strength),
    )
    trainer.fit((points, labels), epochs=epochs, batch_size=len(points))
    return model


def main(device: nnx.Device, options: argparse.Namespace) -> None:
    """Train the six networks; print what they get right, and draw their regions."""
    points, labels = toy.moons(seed=options.seed)
    fresh, truth = toy.moons(per_class=2000, seed=options.seed + 1)
    panels = []
    print("hidden   L2      training   fresh points")
    for hidden, strength in [(hidden, 0.0) for hidden in HIDDEN] + [(HIDDEN[-1], strength) for strength in STRENGTHS]:
        nnx.seed(options.seed)
        model = train(points, labels, hidden, strength, device, epochs=20 if options.quick else 800)
        scores = toy.scores(model)
        shares = [(scores(x).argmax(axis=1) == y).mean() for x, y in ((points, labels), (fresh, truth))]
        print(f"{hidden:6}   {strength:<6g}  {shares[0]:8.1%}   {shares[1]:12.1%}")
        panels.append((f"{hidden} neurons, L2 {strength:g}: {shares[1]:.1%} of fresh points", scores))
    if options.plot:
        from plots import decision_regions

        decision_regions(options.plot, panels, points, labels, "Size and regularisation")
        print(f"picture in {options.plot}")


if __name__ == "__main__":
    run(parser("How size and regularisation shape what a network decides.", quick="few epochs"), main)
