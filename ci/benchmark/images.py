"""A convolutional network: that of ``examples/mnist_cnn.py``, without dropout, which libraries draw differently."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmark.problem import draw_batches, draw_weights

SIDE, CLASSES = 28, 10
SHAPES = ((5, 5, 1, 16), (5, 5, 16, 32), (512, CLASSES))
"""Of the weights: two convolutions (height, width, in, out), each with pooling over 2 x 2 and ReLU, and a map."""


class Images(NamedTuple):
    """What a peer is asked of a problem, for 28 x 28 images of one channel."""

    batch: int = 128
    precision: str = "float32"
    rate: float = 1e-4

    def __str__(self) -> str:
        return f"CNN of MNIST, batch {self.batch}" + ("" if self.precision == "float32" else f", {self.precision}")

    def weights(self) -> list[tuple[Any, Any]]:
        """Initial weight and bias of each layer, float32; weights (height, width, in, out) and (in, out)."""
        return [(w.copy(), b.copy()) for w, b in draw_weights(SHAPES)]

    def batches(self) -> list[tuple[Any, Any]]:
        """Pairs of images ``(batch, 28, 28, 1)`` float32 and labels ``(batch,)`` int64."""
        return draw_batches(self.batch, (SIDE, SIDE, 1), CLASSES)
