"""One call of ``Trainer.fit``."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnx._typing import Array
from nnx.backend import readable
from nnx.capture import capture
from nnx.grad import value_and_grad
from nnx.optim import Optimizer
from nnx.tape.primitive import untracked
from nnx.train.feed import Feed
from nnx.train.guard import Guard
from nnx.train.history import History
from nnx.train.interrupts import Interrupts
from nnx.train.progress import Quiet
from nnx.train.scores import PREFIX, Metric, Scores


class Run:
    """Trains epoch by epoch, and leaves model, optimiser and history in agreement however it ends.

    Args:
        model, loss, optimizer, metrics, regularizer, constraints: those of the trainer.
        guard: counts the steps, and watches over what they compute.
        validation: what to evaluate after each epoch, and how.
        history: gets the figures of each epoch.
        display: shows how far it is.
        interrupts: says when to stop.
        captured: whether steps are captured.
        precision: that of the steps.
    """

    def __init__(
        self,
        *,
        model: Any,
        loss: Callable[[Any, Array], Array],
        optimizer: Optimizer,
        metrics: Mapping[str, Metric],
        regularizer: Callable[[Any], Array] | None,
        constraints: Sequence[Callable[[Any], None]],
        guard: Guard,
        validation: Callable[[], Mapping[str, float]] | None,
        history: History,
        display: Quiet,
        interrupts: Interrupts,
        captured: bool = False,
        precision: str | None = None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._metrics = metrics
        self._scale = getattr(optimizer, "loss_scale", None)
        self._judged = regularizer is not None or self._scale is not None  # what is read is not the loss
        self._guard = guard
        self._validation = validation
        self._history = history
        self._display = display
        self._interrupts = interrupts
        self._title = "training"
        self._scores = Scores(metrics)
        self._step = 0
        self._steps: int | None = None  # of this epoch, if it is known
        self._start = 0.0
        self._seconds: float | None = None
        self._recorded = True  # whether this epoch is in the history

        def scored(model: Any, x: Array, y: Array) -> tuple[Array, tuple[Any, Array]]:
            prediction = model(x)
            value = loss(prediction, y)
            return value if regularizer is None else value + regularizer(model), (prediction, value)

        options: dict[str, Any] = {"has_aux": True, "precision": precision, "loss_scale": self._scale}

        def guarded(model: Any, x: Array, y: Array) -> tuple[Array, tuple[Any, Array, Array, float | None]]:
            total, (prediction, value) = scored(model, x, y)
            judged = self._excused(total)
            return total, (prediction, value, judged, guard.read(judged, x))

        def update(model: Any, gradients: Any) -> None:
            optimizer.update(model, gradients)
            for constrain in constraints:
                constrain(model)

        self._evaluate = value_and_grad(guarded, **options)
        self._update = update
        if captured:
            # two steps, as the loss is read between them: one that is infinite changes nothing
            self._replayed = capture(value_and_grad(scored, **options), warn=False)
            self._evaluate, self._update = self._evaluate_captured, capture(update, warn=False)

    def _evaluate_captured(self, model: Any, x: Array, y: Array) -> Any:
        buffers = model.buffers()
        (total, (prediction, value)), gradients = self._replayed(model, x, y)
        judged = self._excused(total)
        if readable(judged) and not math.isfinite(judged):
            model._rebind(buffers)
        return (total, (prediction, value, judged, self._guard.read(judged, x))), gradients

    def _excused(self, total: Any) -> Any:
        """The loss as the guard is to see it: one that is not finite is in order while a loss scale can shrink."""
        return total if self._scale is None else self._scale.excused(untracked(total))

    def epoch(self, number: int, epochs: int, batches: Feed) -> None:
        """Go through ``batches`` once, and evaluate."""
        self._scores = Scores(self._metrics)
        self._step, self._steps = 0, batches.length()
        self._title = f"epoch {number} of {epochs}"
        self._recorded = False
        self._display.begin(number, epochs, self._steps)
        self._seconds = None
        self._start = time.perf_counter()
        self._train(batches)
        self._guard.check()
        self._seconds = time.perf_counter() - self._start
        found: Mapping[str, float] = {}
        if self._validation is not None:
            self._display.refresh(self._step, self._live(), "validating")
            found = self._open(self._validation)
        self._record(found)
        self._interrupts.check()

    def _train(self, batches: Feed) -> None:
        model, guard, interrupts, display = self._model, self._guard, self._interrupts, self._display
        clock = time.perf_counter
        source = iter(batches)
        while True:
            interrupts.open = True  # nothing is half-done while a batch is fetched
            batch = next(source, None)
            interrupts.open = False
            interrupts.check()
            if batch is None:
                return
            x, y = batch
            (_, (prediction, loss, judged, read)), gradients = self._evaluate(model, x, y)
            self._update(model, gradients)
            self._step += 1
            guard.done(judged, read)
            self._scores.add(loss if read is None or self._judged else read, prediction, y)
            if clock() >= display.due:
                display.refresh(self._step, self._live())

    def end_early(self) -> None:
        """Stop after Ctrl-C: keep what there is of the epoch under way, and say so."""
        self._interrupts.open = False
        self._history.interrupted = True
        done = f"{self._step} of {self._steps} steps" if self._steps else f"{self._step} steps"
        message = f"{self._title} was interrupted after {done}; the model is usable"
        if not self._recorded and self._step:
            self._guard.check()
            self._record({}, "interrupted")
        self._display.close()
        print(message, file=sys.stderr, flush=True)

    def _open(self, evaluate: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
        self._interrupts.open = True
        figures = evaluate()
        self._interrupts.open = False
        return figures

    def _record(self, found: Mapping[str, float], note: str = "") -> None:
        """Write the epoch into the history, with what its validation found."""
        seconds = time.perf_counter() - self._start if self._seconds is None else self._seconds
        validation = {PREFIX + name: figure for name, figure in found.items()}
        figures = self._scores.results() | validation | {"rate": self._rate(), "seconds": seconds}
        self._history.append(figures)
        self._recorded = True
        self._display.end(figures, note)

    def _live(self) -> dict[str, float]:
        return self._scores.results() | {"rate": self._rate()}

    def _rate(self) -> float:
        return float(self._optimizer.rate)
