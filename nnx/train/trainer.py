"""The training loop, and what is done with a trained model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

from nnx import tree
from nnx._errors import ArgumentError
from nnx._precision import require_precision
from nnx._typing import Array, Tree
from nnx.backend import activation, namespace_of
from nnx.data import Batches
from nnx.module import Module
from nnx.optim import LossScale, Optimizer
from nnx.random import Generator
from nnx.train.feed import Feed
from nnx.train.guard import Guard
from nnx.train.history import History
from nnx.train.interrupts import Interrupts
from nnx.train.progress import choose
from nnx.train.run import Run
from nnx.train.scores import Metric, Scores, by_name

P = ParamSpec("P")
T = TypeVar("T")

PREDICTION_BATCH = 256
"""The batch size of predictions, which need less memory than gradients do."""


def _on_its_device(method: Callable[Concatenate[Trainer, P], T]) -> Callable[Concatenate[Trainer, P], T]:
    """Run a method of a trainer while the device of its model is current, for libraries that have a current one."""

    @functools.wraps(method)
    def call(trainer: Trainer, /, *args: P.args, **options: P.kwargs) -> T:
        with activation(trainer.model):
            return method(trainer, *args, **options)

    return call


class Trainer:
    """Trains a model, and evaluates it.

    One step is ``value_and_grad`` of ``loss(model(x), y)``, with the penalty of the regulariser if there is
    one, an update of the optimiser, and what the constraints do to its result. Batches are
    moved to the model's device; dtypes are left as they are. A fit goes on where the last one ended. While it
    runs it keeps a copy of the model and of the optimiser's state, to go back to if the loss becomes NaN.

    Args:
        model: a :class:`nnx.Module`; it is trained in place.
        loss: ``(prediction, target) -> array of shape ()``, the mean over the examples, e.g. one of
            :mod:`nnx.losses`.
        optimizer: one of :mod:`nnx.optim`, of this model alone.
        metrics: functions ``(prediction, target) -> scalar``, means over the examples, e.g.
            :func:`nnx.metrics.accuracy`. They are named by their ``__name__``.
        regularizer: ``(model) -> scalar``, e.g. one of :mod:`nnx.regularizers`: a penalty that is added to
            the loss that is minimised. The losses that are reported, in training as in evaluation, are
            those without it, so that they can be compared.
        constraints: functions ``(model) -> None``, e.g. of :mod:`nnx.constraints`, that are called after
            each update, in their order.
        capture: capture the steps, as :func:`nnx.capture` does: the history and the model are the same, and what
            Python does in the model, the loss, the regulariser and the constraints beside computing is done in
            the first steps alone. What cannot be captured runs plainly, and nothing is said.
        precision: of the steps, as in :func:`nnx.value_and_grad`: ``"tf32"``, ``"bfloat16"`` or ``"float16"``. For
            ``"float16"`` an optimiser without a loss scale gets one, ``nnx.optim.LossScale()``. Evaluations and
            predictions are made in the precision of the parameters.

    Attributes:
        history: the :class:`History` of all fits.
        steps: how many steps were done.

    Raises:
        ArgumentError: an argument is not what it should be, two metrics have one name, or one has a name
            that the history needs.

    >>> import nnx
    >>> x = nnx.asarray([[0.0], [1.0], [2.0], [3.0]])
    >>> model = nnx.Linear(1, 1, rng=nnx.Generator(0))
    >>> trainer = nnx.Trainer(model, loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1))
    >>> history = trainer.fit((x, 2 * x + 1), epochs=100, batch_size=4)
    >>> history.loss[-1] < 1e-3
    True
    >>> trainer.predict(nnx.asarray([[4.0]])).round(1)
    array([[9.]], dtype=float32)
    """

    def __init__(
        self,
        model: Any,
        *,
        loss: Callable[[Any, Array], Array],
        optimizer: Optimizer,
        metrics: Iterable[Metric] = (),
        regularizer: Callable[[Any], Array] | None = None,
        constraints: Iterable[Callable[[Any], None]] = (),
        capture: bool = False,
        precision: str | None = None,
    ) -> None:
        if not isinstance(model, Module):
            raise ArgumentError(
                f"the model of a Trainer is an nnx.Module, got {model!r}: wrap functions in nnx.Sequential"
            )
        if not callable(loss):
            raise ArgumentError(
                f"a loss is a function (prediction, target) -> scalar, such as nnx.losses.mse, got {loss!r}"
            )
        if isinstance(optimizer, type) or not hasattr(optimizer, "update"):
            raise ArgumentError(f"an optimiser is an object such as nnx.optim.Adam(1e-3), got {optimizer!r}")
        if regularizer is not None and (not callable(regularizer) or isinstance(regularizer, type)):
            raise ArgumentError(
                f"a regulariser is a function (model) -> scalar, such as nnx.regularizers.l2(1e-4), got {regularizer!r}"
            )
        if callable(constraints) or not isinstance(constraints, Iterable):
            raise ArgumentError(f"constraints is a list of functions (model) -> None, got {constraints!r}")
        self.constraints = tuple(constraints)
        for constraint in self.constraints:
            if not callable(constraint) or isinstance(constraint, type):
                raise ArgumentError(
                    "a constraint is a function (model) -> None, such as nnx.constraints.max_norm(3.0), got "
                    f"{constraint!r}"
                )
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.metrics = by_name(metrics)
        self.regularizer = regularizer
        self.capture = bool(capture)
        require_precision(precision)
        self.precision = precision
        if precision == "float16" and getattr(optimizer, "loss_scale", None) is None:
            if not isinstance(optimizer, Optimizer):
                raise ArgumentError(
                    "precision='float16' needs an optimiser with a loss scale, such as nnx.optim.Adam(1e-3), got "
                    f"{optimizer!r}; 'bfloat16' needs none"
                )
            optimizer.loss_scale = LossScale()
        self.history = History()
        self.steps = 0

    @_on_its_device
    def fit(
        self,
        data: Any,
        *,
        validation: Any = None,
        epochs: int = 1,
        batch_size: int = 32,
        shuffle: bool = True,
        rng: Generator | None = None,
        progress: bool | None = None,
    ) -> History:
        """Train on ``data``, and go on where the last fit ended.

        Ctrl-C ends the fit after the step under way: the history so far comes back, with
        ``history.interrupted`` set, and the model is usable. A second Ctrl-C raises.

        Args:
            data: a tuple ``(x, y)`` of arrays, on the host or a device, which do not change during the fit; or
                an iterable of batches ``(x, y)``, gone through once an epoch.
            validation: as ``data``, evaluated after each epoch.
            epochs: how many passes.
            batch_size, shuffle, rng: of the batches made from a tuple, as in :func:`nnx.data.batches`.
            progress: show a bar for each epoch. ``None``: where standard error is a terminal, or in a
                notebook. ``True``: there, and elsewhere a line for each epoch.

        Returns:
            The history of all fits of this trainer.

        Raises:
            NonFiniteLossError: the loss became NaN or infinite. The model is as before that step or, on
                a device whose results are waited for, as at the last check that found all finite, at
                most 50 steps before.
            ArgumentError, ShapeError: the data cannot be cut into batches.
        """
        if type(epochs) is not int or epochs < 1:
            raise ArgumentError(f"epochs must be a positive integer, got {epochs!r}")
        cut = {"batch_size": batch_size, "shuffle": shuffle, "rng": rng}
        chosen = cut != {"batch_size": 32, "shuffle": True, "rng": None}
        batches = Feed(data, self.model.device, passes=epochs, cut=cut, chosen=chosen)
        held_out = None if validation is None else self._feed(validation, None, passes=epochs)
        self.history.interrupted = False
        display = choose(progress)
        guard = Guard(self.model, self.optimizer, self.steps)
        with Interrupts() as interrupts:
            run = Run(
                model=self.model,
                loss=self.loss,
                optimizer=self.optimizer,
                metrics=self.metrics,
                regularizer=self.regularizer,
                constraints=self.constraints,
                guard=guard,
                validation=None if held_out is None else lambda: self._evaluate(held_out),
                history=self.history,
                display=display,
                interrupts=interrupts,
                captured=self.capture,
                precision=self.precision,
            )
            try:
                for epoch in range(1, epochs + 1):
                    run.epoch(epoch, epochs, batches)
            except KeyboardInterrupt:
                if interrupts.count > 1:
                    raise
                run.end_early()
            finally:
                self.steps = guard.step
                display.close()
        self.history.interrupted |= interrupts.count > 0  # also if there was nothing left to interrupt
        return self.history

    @_on_its_device
    def evaluate(self, data: Any, *, batch_size: int | None = None) -> dict[str, float]:
        """The loss and the metrics of predictions on ``data``, as means over the examples.

        Args:
            data: a tuple ``(x, y)`` of arrays, or an iterable of batches ``(x, y)``.
            batch_size: of the batches made from a tuple; 256 for ``None``.

        Raises:
            ArgumentError, ShapeError: the data cannot be cut into batches.
        """
        return self._evaluate(self._feed(data, batch_size))

    @_on_its_device
    def predict(self, x: Array, *, batch_size: int | None = None) -> Tree:
        """The model's output for ``x``, made in batches.

        Args:
            x: shape (examples, ...), on the host or a device.
            batch_size: 256 for ``None``.

        Returns:
            Shape (examples, ...), on the model's device; lists, tuples and dicts of such arrays if the
            model answers them.

        Raises:
            ArgumentError, ShapeError: ``x`` cannot be cut into batches.
        """
        size = PREDICTION_BATCH if batch_size is None else batch_size
        outputs = [self.model(xb) for (xb,) in Batches(x, batch_size=size, device=self.model.device)]
        if len(outputs) == 1:
            return outputs[0]
        return tree.map_leaves(lambda *parts: namespace_of(*parts).concat(parts, axis=0), *outputs)

    def _feed(self, data: Any, batch_size: int | None, *, passes: int = 1) -> Feed:
        size = PREDICTION_BATCH if batch_size is None else batch_size
        cut = {"batch_size": size}
        return Feed(data, self.model.device, passes=passes, cut=cut, chosen=batch_size is not None)

    def _evaluate(self, batches: Feed) -> dict[str, float]:
        scores = Scores(self.metrics)
        for x, y in batches:
            prediction = self.model(x)
            scores.add(self.loss(prediction, y), prediction, y)
        return scores.results()
