"""nnx: a loop by hand, the same captured, and the Trainer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, pairwise
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import nnx
from benchmark.images import Images
from benchmark.problem import BATCHES, Peer, Problem


def network(problem: Problem | Images, device: nnx.Device) -> nnx.Sequential:
    """The layers. No initial weights are drawn in vain."""
    start: Any = {"weight_init": nnx.init.zeros, "device": device}
    if isinstance(problem, Images):
        return nnx.Sequential(
            nnx.Conv2d(1, 16, 5, **start), nnx.MaxPool2d(2), nnx.relu,
            nnx.Conv2d(16, 32, 5, **start), nnx.MaxPool2d(2), nnx.relu,
            nnx.Flatten(), nnx.Linear(512, 10, **start),
        )  # fmt: skip
    layers: list[Any] = []
    for m, n in pairwise(problem.widths):
        layers += [nnx.Linear(m, n, **start), nnx.relu]
    return nnx.Sequential(*layers[:-1])


class ByHand(Peer):
    """``value_and_grad``, then ``optimizer.update``."""

    packages = ("nnx-array",)

    def __init__(self, problem: Problem | Images, device: str) -> None:
        self.problem: Any = problem
        self.device = nnx.device(device)
        self.model = network(problem, self.device)
        self.batches = [tuple(nnx.asarray(a, device=self.device) for a in batch) for batch in problem.batches()]
        low: Any = {} if problem.precision == "float32" else {"precision": problem.precision}
        self.value_and_grad = nnx.value_and_grad(self.loss, **low)
        self.reset()

    def reset(self) -> None:
        initial = [array for pair in self.problem.weights() for array in pair]
        self.model.load(dict(zip(self.model.parameters(), initial, strict=True)))
        self.optimizer = nnx.optim.Adam(self.problem.rate)

    @staticmethod
    def loss(model: Any, x: Any, y: Any) -> Any:
        return nnx.losses.cross_entropy(model(x), y)

    def step(self, i: int) -> Any:
        loss, grads = self.value_and_grad(self.model, *self.batches[i % BATCHES])
        self.optimizer.update(self.model, grads)
        return loss

    def wait(self) -> None:
        self.device.backend.synchronize(self.device.native)

    def run(self, steps: int) -> None:
        for i in range(steps):
            self.step(i)
        self.wait()

    def losses(self, steps: int) -> list[float]:
        self.reset()
        return [float(nnx.to_numpy(self.step(i))) for i in range(steps)]

    def versions(self) -> str:
        backend = self.device.backend
        return f"{super().versions()} on {self.device}, {backend.name} {backend.version()}"

    def profile(self, seconds: float) -> dict[str, float]:
        """Medians of a step and of its parts. Each part waits for the device, so that they may add to more.

        "matrix products" are those of a step, alone, on arrays of the same shapes: no step can be faster.
        """
        times: dict[str, list[float]] = {}

        def timed(part: str, function: Callable[..., Any], *arguments: Any) -> Any:
            start = perf_counter()
            answer = function(*arguments)
            self.wait()
            times.setdefault(part, []).append(perf_counter() - start)
            return answer

        operands = self._operands()
        end = perf_counter() + seconds
        for i in count():
            x, y = self.batches[i % BATCHES]
            timed("step", self.step, i)
            loss, pull = timed("  forward", nnx.vjp, lambda model, x=x, y=y: self.loss(model, x, y), self.model)
            (grads,) = timed("  backward", pull, nnx.namespace_of(loss).ones_like(loss))
            timed("  update", self.optimizer.update, self.model, grads)
            timed("matrix products", self._multiply, operands)
            timed("prediction", self.model, x)
            if i >= BATCHES and perf_counter() > end:
                return {part: median(values[1:]) for part, values in times.items()}
        raise AssertionError

    def _operands(self) -> list[tuple[Any, Any]]:
        """Pairs of matrices of the shapes that a step multiplies: forward, by the weight, by the input."""
        pairs = []
        rows = self.problem.batch
        for i, (m, n) in enumerate(pairwise(self.problem.widths)):
            x, w, g = (nnx.Generator(i).normal(shape).astype("float32") for shape in ((rows, m), (m, n), (rows, n)))
            x, w, g = (nnx.asarray(a, device=self.device) for a in (x, w, g))
            pairs += [(x, w), (x.T, g)] + ([(g, w.T)] if i else [])
        return pairs

    def _multiply(self, pairs: list[tuple[Any, Any]]) -> None:
        for a, b in pairs:
            self.device.namespace.matmul(a, b)


class Captured(ByHand):
    """The same step, given to ``nnx.capture``."""

    def __init__(self, problem: Problem, device: str) -> None:
        super().__init__(problem, device)
        self.captured = nnx.capture(self.update)

    def update(self, model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        loss, grads = self.value_and_grad(model, x, y)
        optimizer.update(model, grads)
        return loss

    def step(self, i: int) -> Any:
        return self.captured(self.model, self.optimizer, *self.batches[i % BATCHES])

    def run(self, steps: int) -> None:
        before = self.captured.replays
        super().run(steps)
        self._require(before, steps)

    def losses(self, steps: int) -> list[float]:
        before = self.captured.replays
        found = super().losses(steps)
        self._require(before, steps)
        return found

    def _require(self, before: int, steps: int) -> None:
        """Raise where steps ran plainly after all: their times would be those of another entry."""
        replays = self.captured.replays - before
        if self.device.backend.capture is not None and replays < steps - 3:  # the first are recorded and compared
            raise RuntimeError(f"{replays} of {steps} captured steps were replayed")


class Fit(ByHand):
    """``Trainer.fit`` over the same batches, cut from one array: what the loop costs beside the step."""

    stride = BATCHES

    def __init__(self, problem: Problem, device: str) -> None:
        super().__init__(problem, device)
        xs, ys = zip(*problem.batches(), strict=True)
        self.data = tuple(nnx.asarray(np.concatenate(parts), device=self.device) for parts in (xs, ys))

    def reset(self) -> None:
        super().reset()
        self.trainer = nnx.Trainer(self.model, loss=nnx.losses.cross_entropy, optimizer=self.optimizer)

    def fit(self, data: Any, epochs: int) -> nnx.train.History:
        return self.trainer.fit(data, epochs=epochs, batch_size=self.problem.batch, shuffle=False, progress=False)

    def run(self, steps: int) -> None:
        self.fit(self.data, steps // BATCHES)
        self.wait()

    def losses(self, steps: int) -> list[float]:
        self.reset()
        return [self.fit(self.batches[i % BATCHES], 1).loss[-1] for i in range(steps)]
