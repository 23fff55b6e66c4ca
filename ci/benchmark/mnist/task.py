"""What every peer trains, and what the benchmark asks of a peer."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.problem import Problem

EXAMPLES = Path(__file__).parents[3] / "examples"
PIXELS, DIGITS = 28 * 28, 10
RATE = 2e-3
"""The highest rate of AdamW, which has weight decay 0.01 and otherwise the settings of the paper."""

PIXEL_DROPOUT, DROPOUT = 0.1, 0.3
"""The rates of dropout: on the pixels, and after each hidden layer."""

VALIDATION_BATCH = 256


class Arrays(NamedTuple):
    """Rows of pixels float32 (n, 784) and digits int64 (n,): for training, for each epoch's evaluation, for the end."""

    x: Any
    y: Any
    x_validation: Any
    y_validation: Any
    x_test: Any
    y_test: Any


class Task(NamedTuple):
    """A network of ReLU layers with dropout, and for how long it is trained."""

    hidden: tuple[int, ...]
    batch: int
    epochs: int
    full: bool = False
    """All 60,000 training images, and not the 10,000 that are shipped."""

    images: int | None = None
    """At most so many images to train and to validate on."""

    dropout: bool = True

    def __str__(self) -> str:
        widths = "-".join(map(str, self.problem.widths))
        dropout = "" if self.dropout else " without dropout"
        return f"{widths}{dropout}, batch {self.batch}, epochs {self.epochs}"

    @property
    def problem(self) -> Problem:
        """The network and its batch."""
        return Problem((PIXELS, *self.hidden, DIGITS), self.batch)

    def arrays(self) -> Arrays:
        """The images, as ``examples/mnist.py`` prepares them; a tenth of those for training is for validation."""
        if str(EXAMPLES) not in sys.path:
            sys.path.insert(0, str(EXAMPLES))
        from data.mnist import load_full, load_small

        mnist = load_full() if self.full else load_small()
        x, x_test = (
            a.reshape(-1, PIXELS).astype(np.float32) / 255
            for a in (mnist.train_images[: self.images], mnist.test_images)
        )
        y, y_test = (a.astype(np.int64) for a in (mnist.train_labels[: self.images], mnist.test_labels))
        count = len(x) * 9 // 10
        return Arrays(x[:count], y[:count], x[count:], y[count:], x_test, y_test)

    def steps(self, examples: int) -> int:
        """Updates of a run over that many examples an epoch."""
        return -(-examples // self.batch) * self.epochs


def rate_factor(step: float, steps: int) -> float:
    """What ``RATE`` is multiplied by: a linear rise over a tenth of the steps, then half a cosine down to 0.

    As ``warmup(rise, then=cosine(RATE, steps - rise))`` of ``nnx.optim.schedules``, rise = steps // 10 + 1.
    """
    rise = steps // 10 + 1
    t = min(max(step - rise, 0) / max(1, steps - rise), 1.0)
    return (1 + math.cos(math.pi * t)) / 2 * min((step + 1) / (rise + 1), 1.0)


class Scores(NamedTuple):
    """What a run came to on the test images."""

    loss: float
    accuracy: float


class Trainee(ABC):
    """One library, as its users write a training. Data and initial weights lie ready before the clock starts."""

    packages: tuple[str, ...] = ()
    """Distributions whose versions the report names."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def prepare(self) -> None:
        """Make a model with the initial weights, and an optimiser."""

    @abstractmethod
    def train(self) -> Scores:
        """Train, evaluate after each epoch, show a bar, and score the test images."""

    def profile(self) -> Mapping[str, float]:
        """Seconds that each part of a run takes."""
        raise NotImplementedError(f"{type(self).__name__} has no profile")

    @cached_property
    def weights(self) -> list[tuple[Any, Any]]:
        """Initial weight (in, out) and bias (out,) of each layer."""
        return self.task.problem.weights()

    def versions(self) -> str:
        """The library and its version."""
        return ", ".join(f"{name} {version(name)}" for name in self.packages)
