"""The loss and the metrics of one pass over data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nnx._errors import ArgumentError
from nnx._typing import Array
from nnx.metrics import Mean

Metric = Callable[[Any, Array], Any]
RESERVED = frozenset({"loss", "rate", "seconds"})
PREFIX = "validation_"


def by_name(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """The metrics by their ``__name__``.

    Raises:
        ArgumentError: one is no function, two have one name, or one has a name that a history gives to
            something else.
    """
    if callable(metrics) or not isinstance(metrics, Iterable):
        raise ArgumentError(f"metrics is a list of functions (prediction, target) -> scalar, got {metrics!r}")
    named: dict[str, Metric] = {}
    for metric in metrics:
        if not callable(metric):
            raise ArgumentError(f"a metric is a function (prediction, target) -> scalar, not {metric!r}")
        name = getattr(metric, "__name__", type(metric).__name__)
        if name in named or name in RESERVED or name.startswith(PREFIX):
            why = "is that of two metrics" if name in named else "has another meaning in a history"
            raise ArgumentError(f"the name {name!r} {why}: give the metric a __name__ of its own")
        named[name] = metric
    return named


class Scores:
    """Means over the examples of the loss and of each metric."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._loss = Mean()
        self._metrics = [(name, metric, Mean()) for name, metric in metrics.items()]

    def add(self, loss: Array | float, prediction: Any, target: Array) -> None:
        """Add a batch."""
        examples = target.shape[0]
        self._loss.add(loss, examples)
        for _, metric, mean in self._metrics:
            mean.add(metric(prediction, target), examples)

    def results(self, prefix: str = "") -> dict[str, float]:
        """The means so far, by name. Waits for the device."""
        means = {"loss": self._loss} | {name: mean for name, _, mean in self._metrics}
        return {prefix + name: mean.result() for name, mean in means.items()}
