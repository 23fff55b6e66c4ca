"""nnx: ``Trainer.fit``, as in ``examples/mnist.py``."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

import nnx
from benchmark.mnist.task import DROPOUT, PIXEL_DROPOUT, RATE, VALIDATION_BATCH, Scores, Task, Trainee
from nnx.optim.schedules import cosine, warmup


class Fit(Trainee):
    """``fit`` with validation, accuracy and a bar, then ``evaluate``."""

    packages = ("nnx-array", "numpy")
    capture = False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        arrays = task.arrays()
        self.train_data, self.validation, self.test = (
            (x, y.astype(np.int32)) for x, y in (arrays[:2], arrays[2:4], arrays[4:])
        )

    def prepare(self) -> None:
        task = self.task
        dropout = (lambda rate: [nnx.Dropout(rate)]) if task.dropout else (lambda rate: [])
        layers: list[Any] = dropout(PIXEL_DROPOUT)
        for (m, n), (w, b) in zip(pairwise(task.problem.widths), self.weights, strict=True):
            linear = nnx.Linear(m, n)
            linear.load({"weight": w, "bias": b})
            layers += [linear, nnx.relu, *dropout(DROPOUT)]
        self.model = nnx.Sequential(*layers[: -2 if task.dropout else -1])
        steps = task.steps(len(self.train_data[0]))
        rise = steps // 10 + 1
        self.trainer = nnx.Trainer(
            self.model,
            loss=nnx.losses.cross_entropy,
            optimizer=nnx.optim.AdamW(warmup(rise, then=cosine(RATE, max(1, steps - rise)))),
            metrics=[nnx.metrics.accuracy],
            capture=self.capture,
        )

    def train(self) -> Scores:
        self.trainer.fit(
            self.train_data, validation=self.validation, epochs=self.task.epochs, batch_size=self.task.batch
        )
        tested = self.trainer.evaluate(self.test, batch_size=VALIDATION_BATCH)
        return Scores(tested["loss"], tested["accuracy"])


class Captured(Fit):
    """The same with ``capture=True``."""

    capture = True
