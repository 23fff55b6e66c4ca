"""Networks trained by nnx and by its peers on one device: times of steps, memory and losses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import nnx
from benchmark import report
from benchmark.gpu import Save, Settings
from benchmark.images import Images
from benchmark.machine import limit_threads
from benchmark.problem import Problem, parse
from benchmark.rounds import Rounds

SLOW_TO_START = "torch-compile"
"""Left out of the wide network: where matrix products are all, compiling gains little and takes long."""

WIDE_RATE = 1e-5
TOLERANCE = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}
"""How far the losses of the wide network may be from those of nnx, relative, by precision."""

PATIENCE = 60.0
"""Seconds that a peer may take for one answer; compiling is the longest."""


def perceptrons(settings: Settings, save: Save) -> None:
    """The networks of ``ci/bench.py``."""
    problems = [parse(size) for size in settings["sizes"]]
    _train(problems, settings, save)


def convolutional(settings: Settings, save: Save) -> None:
    """The network of ``examples/mnist_cnn.py``."""
    _train([Images(settings["images"])], settings, save)


def wide(settings: Settings, save: Save) -> None:
    """Many wide layers in each precision: how near a step is to nothing but matrix products."""
    layers, width, batch = settings["wide"]
    problems, refused = [], {}
    for precision in TOLERANCE:
        if reason := refusal(settings["device"], precision):
            refused[precision] = reason
        else:
            problems.append(Problem((width,) * (layers + 1), batch, precision, WIDE_RATE))
    extra: dict[str, Any] = {"refused": refused}
    save({"results": [], **extra})
    if problems:
        extra["operations"] = operations(problems[0])
        peers = [name for name in settings["peers"] if name != SLOW_TO_START]
        short = {"peers": peers, "rounds": settings["wide_rounds"], "steps": settings["wide_steps"]}
        _train(problems, {**settings, **short}, save, extra)


def operations(problem: Problem) -> int:
    """Floating-point operations of the matrix products of a step: forward, by the weights, and by all but x."""
    products = [2 * problem.batch * m * n for m, n in pairwise(problem.widths)]
    return 3 * sum(products) - products[0]


def refusal(device: str, precision: str) -> str:
    """Why nnx does not train in that precision on that device; empty if it does."""
    if precision == "float32":
        return ""
    model = nnx.Linear(2, 2, device=device)
    x = nnx.asarray([[1.0, 2.0]], device=device)
    try:
        differentiate: Any = nnx.value_and_grad(lambda model, x: nnx.losses.mse(model(x), x), precision=precision)
        differentiate(model, x)
    except nnx.NnxError as error:
        return str(error)
    return ""


def _train(
    problems: Iterable[Problem | Images], settings: Settings, save: Save, extra: Mapping[str, Any] | None = None
) -> None:
    limit_threads(min(settings["threads"], os.cpu_count() or 1))
    results: list[dict[str, Any]] = []
    for problem in problems:
        rtol = None if extra is None else TOLERANCE[problem.precision]
        with Rounds(problem, settings["peers"], settings["device"], PATIENCE) as rounds:
            rounds.compare(settings["steps"], rtol)
            rounds.run(settings["rounds"], settings["turn"], settings["rest"])
        results.append(report.record(rounds.result))
        save({"results": results, **(extra or {})})
