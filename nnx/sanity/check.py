"""The checks, in the order in which the course CS231n asks for them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from math import isfinite, log
from typing import Any

from nnx import regularizers
from nnx._arguments import count
from nnx._errors import ArgumentError, ShapeError
from nnx._typing import Array
from nnx._watch import watch
from nnx.backend import asarray, dtype_kind, is_array, namespace_of, to_numpy
from nnx.grad import value_and_grad
from nnx.layers.sequential import function_name
from nnx.module import Module
from nnx.optim import Adam, Optimizer
from nnx.sanity.report import Finding, LayerStatistics, ParameterStatistics, SanityReport

Loss = Callable[[Any, Array], Array]

SOLVED = 0.01
"""The share of the initial loss that counts as none."""
CHANCE = 0.5
"""How far the initial loss may be from that of chance, as a share of the latter."""
RATIOS = 1e-5, 1e-1
"""The ratios of updates to weights that raise no doubt; about 1e-3 is usual (CS231n, neural networks, part 3)."""
DEAD = 0.5
"""The share of dead units in a layer that raises a doubt."""
_REVIVE = "lower the learning rate, or make initial biases positive"


def sanity_check(
    model: Module,
    loss: Loss,
    x: Array,
    y: Array,
    *,
    optimizer: Optimizer | None = None,
    regularizer: Callable[[Any], Array] | None = None,
    examples: int = 20,
    steps: int = 500,
) -> SanityReport:
    """Check that a model can learn from data, before it is trained for long. The model stays as it was.

    Five questions, from "Sanity checks" and "Babysitting the learning process" of the course CS231n (neural
    networks, part 3): is the initial loss that of chance, ln C for C classes; does regularisation raise it; can
    the model learn a few examples by heart; how large is an update beside its weights; which units are dead
    (0 on all of ``x``)?

    Args:
        model: it is copied, and moved nowhere.
        loss: ``(prediction, target) -> array of shape ()``.
        x, y: a batch of examples, a few hundred will do; they are moved to the model's device.
        optimizer: what makes the update that is looked at; a fresh one, as its state is made here (default:
            ``nnx.optim.Adam(1e-3)``).
        regularizer: what will be added to the loss (default: ``nnx.regularizers.l2(1e-2)``).
        examples: how many are to be learnt by heart, without dropout and regularisation.
        steps: how many steps of ``nnx.optim.Adam(1e-2)`` the model has for that.

    Returns:
        A :class:`SanityReport`: print it, ask it whether it ``passed``, or have it ``plot`` histograms.

    Raises:
        ShapeError: ``x`` and ``y`` are empty, or of different lengths.

    >>> import nnx
    >>> x = nnx.Generator(0).normal((64, 8)).astype("float32")
    >>> model = nnx.Sequential(nnx.Linear(8, 16), nnx.relu, nnx.Linear(16, 2))
    >>> report = nnx.sanity_check(model, nnx.losses.cross_entropy, x, (x[:, 0] > 0).astype("int64"))
    >>> report.passed
    True
    """
    if not isinstance(model, Module):
        raise ArgumentError(f"a model is an nnx.Module, got {model!r}: wrap functions in nnx.Sequential")
    examples, steps = count("examples", examples), count("steps", steps)
    x, y = (asarray(a, device=model.device) for a in (x, y))
    if not x.shape or not y.shape or x.shape[0] != y.shape[0] or 0 in x.shape:
        raise ShapeError(
            f"as many targets as examples were expected, at least one; got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    layers, prediction = _layers(model, x)
    initial = _number(loss(prediction, y))
    parameters = _parameters(model, loss, x, y, optimizer or Adam(1e-3))
    findings = [
        _chance(initial, prediction, y, loss),
        _regularisation(model, initial, regularizer or regularizers.l2(1e-2)),
        _by_heart(model, loss, x[:examples, ...], y[:examples, ...], steps),
        *_ratios(parameters),
        *_dead_units(layers),
    ]
    return SanityReport(
        f"{type(model).__name__} on {x.shape[0]} examples, {model.device}", findings, layers, parameters
    )


def _layers(model: Module, x: Array) -> tuple[list[LayerStatistics], Array]:
    """What each layer answers to ``x``, and what the model does."""
    twin = model._twin(False, {})[0]
    found: list[LayerStatistics] = []

    def tell(name: str, layer: Callable[..., Any], _: Array, y: Any) -> None:
        if is_array(y) and dtype_kind(namespace_of(y), y.dtype) == "real floating":
            text = repr(layer) if isinstance(layer, Module) else function_name(layer)
            found.append(LayerStatistics.of(name, type(layer).__name__ if "\n" in text else text, to_numpy(y)))

    watch(twin, tell)
    return found, twin(x)


def _parameters(model: Module, loss: Loss, x: Array, y: Array, optimizer: Optimizer) -> list[ParameterStatistics]:
    """The gradients and the first update of each parameter."""
    copy = deepcopy(model)
    before = {name: to_numpy(array) for name, array in copy.parameters().items()}
    _, gradients = value_and_grad(lambda model: loss(model(x), y))(copy)
    host = {name: to_numpy(g) for name, g in gradients.items()}
    optimizer.update(copy, gradients)
    after = copy.parameters()
    return [ParameterStatistics.of(name, w, host[name], to_numpy(after[name]) - w) for name, w in before.items()]


def _chance(initial: float, prediction: Array, y: Array, loss: Loss) -> Finding:
    name = "initial loss"
    if not isfinite(initial):
        return Finding(name, False, f"{initial}: look for infinities in the data, and for large initial weights")
    if not dtype_kind(namespace_of(y), y.dtype).endswith("integer"):
        xp = namespace_of(y)
        mean = _number(loss(xp.broadcast_to(xp.mean(y, axis=0, keepdims=True), y.shape), y))
        return Finding(name, True, f"{initial:.4g}; a constant prediction, the mean of the targets, has {mean:.4g}")
    expected = log(prediction.shape[-1])
    fits = abs(initial - expected) <= CHANCE * expected
    remedy = "" if fits else ": initial weights may be too large, or the loss may expect something else"
    return Finding(name, fits, f"{initial:.4g}, ln {prediction.shape[-1]} is {expected:.4g}{remedy}")


def _regularisation(model: Module, initial: float, regularizer: Callable[[Any], Array]) -> Finding:
    penalty = _number(regularizer(model))
    text = f"{regularizer!r} adds {penalty:.4g} to a loss of {initial:.4g}"
    return Finding("regularisation raises the loss", penalty > 0, text)


def _by_heart(model: Module, loss: Loss, x: Array, y: Array, steps: int) -> Finding:
    """Train on a few examples, predicting: no dropout, and no penalty."""
    copy, optimizer = deepcopy(model), Adam(1e-2)
    step = value_and_grad(lambda model: loss(model(x), y), training=False)
    first = value = _number(loss(copy(x), y))
    goal, done = SOLVED * first, 0
    while done < steps and value > goal and isfinite(value):
        _, gradients = step(copy)
        optimizer.update(copy, gradients)
        done += 1
        if done % 10 == 0 or done == steps:  # so seldom does a device wait for the host
            value = _number(loss(copy(x), y))
    solved = value <= goal
    remedy = "" if solved else ": the model may be too small, a gradient wrong, or targets mixed up"
    return Finding(
        f"learns {x.shape[0]} examples by heart", solved, f"loss {first:.4g} to {value:.2g} in {done} steps{remedy}"
    )


def _ratios(parameters: list[ParameterStatistics]) -> list[Finding]:
    findings = []
    for p in parameters:
        if not isfinite(p.gradient_norm):
            findings.append(Finding(f"gradient of {p.name}", False, "it is not finite"))
        elif p.gradient_norm == 0:
            findings.append(Finding(f"gradient of {p.name}", False, "it is 0: the loss does not depend on it"))
        elif p.weight_norm > 0 and len(p.shape) > 1 and not RATIOS[0] <= p.ratio <= RATIOS[1]:
            way = "lower" if p.ratio > RATIOS[1] else "raise"
            text = f"{p.ratio:.1e}, where about 1e-3 is usual: {way} the learning rate"
            findings.append(Finding(f"update / weight of {p.name}", False, text))
    if not findings:
        some = [p.ratio for p in parameters if len(p.shape) > 1 and p.weight_norm > 0]
        text = f"{min(some):.1e} to {max(some):.1e}; about 1e-3 is usual" if some else "no weights to look at"
        findings.append(Finding("update / weight", True, text))
    return findings


def _dead_units(layers: list[LayerStatistics]) -> list[Finding]:
    findings = [
        Finding(
            f"dead units of {layer.name}", False, f"{layer.dead:.0%} of {layer.units} are 0 on all examples: {_REVIVE}"
        )
        for layer in layers
        if layer.dead > DEAD
    ]
    if not findings:
        most = max((layer.dead for layer in layers), default=0.0)
        findings.append(Finding("dead units", True, f"{most:.0%} at most, in any layer"))
    return findings


def _number(x: Array) -> float:
    return float(to_numpy(x))
