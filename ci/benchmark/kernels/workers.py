"""Two processes: one with the kernels, one with torch."""

from __future__ import annotations

import inspect
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from benchmark.kernels.cases import CASES, STATE, Draw, Size
from benchmark.overhead.worker import timed
from benchmark.worker import Answers, Process

Run = Callable[[], Any]
Times = dict[str, float]
"""Seconds of a call, by what was called."""

REFERENCE, NATIVE, COMPILED = "reference", "numpy", "compiled"


class Timer(Process):
    """A process that times kernels at sizes, and keeps their arguments until it is told to release them."""

    def turn(self, name: str, size: Size, seconds: float) -> Times | str:
        """Time all that the process has of a kernel, one after the other, or say what failed."""
        return self._ask("turn", name, size, seconds)  # type: ignore[no-any-return]

    def release(self) -> None:
        """Forget the arguments."""
        self._ask("release")


class Kernels(Timer):
    """The process that has nnx: reference, NumPy kernel and compiled kernel."""

    def __init__(self, dtype: str) -> None:
        super().__init__(_prepare_kernels, dtype)

    def names(self) -> list[str]:
        """The compiled kernels."""
        return self._ask("names")  # type: ignore[no-any-return]


class Torch(Timer):
    """The process that has torch: with one thread, and with all; nothing where it has no such operator."""

    def __init__(self, dtype: str, threads: int) -> None:
        super().__init__(_prepare_torch, dtype, threads)


def reference(name: str) -> Callable[..., Any]:
    """The function that a kernel replaces, found by its name in the rooms that have such functions."""
    for room in ("nnx.ops", "nnx.optim", "nnx.vjps"):
        for found in pkgutil.iter_modules(import_module(room).__path__, f"{room}."):
            function = vars(import_module(found.name)).get(name)
            if inspect.isfunction(function):
                return inspect.unwrap(function)
    raise LookupError(f"no function of nnx.ops, nnx.optim or nnx.vjps is called {name}")


def compiled_names(native: Mapping[str, Any], best: Mapping[str, Any]) -> list[str]:
    """The kernels in the best table that are not those of the native one."""
    return sorted(name for name, kernel in best.items() if kernel is not native.get(name))


def _prepare_kernels(dtype: str) -> tuple[str, Answers]:
    from nnx.backend import load_backend, load_namespace

    backend = load_backend("cpu")
    xp = load_namespace(backend)
    native, best = backend.kernels("native"), backend.kernels("best")
    warnings.simplefilter("error", RuntimeWarning)  # that a NumPy kernel serves in the place of a compiled one
    names = compiled_names(native, best)

    @cache
    def runs(name: str, size: Size) -> dict[str, Run]:
        def run(kernel: Callable[..., Any]) -> Run:
            args, options = CASES[name].arguments(Draw(dtype), *size)  # of its own: some work in place
            if name not in STATE:
                return lambda: kernel(xp, *args, **options)
            state = list(args)

            def update() -> None:
                for place, array in zip(STATE[name], kernel(xp, *state, **options), strict=True):
                    state[place] = array

            return update

        run(best[name])()  # the first call compiles; the table then has what was compiled
        found = {COMPILED: run(best[name])}
        if name in native:
            found[NATIVE] = run(native[name])
        found[REFERENCE] = run(gathering(reference(name)))
        return found

    def turn(name: str, size: Size, seconds: float) -> Times | str:
        if name not in CASES:
            return "has no case in ci/benchmark/kernels/cases.py: write one"
        try:
            return {what: timed(run, seconds) for what, run in runs(name, size).items()}
        except Exception as error:
            return repr(error)

    def release() -> None:
        runs.cache_clear()

    return backend.kernels_from("best"), {"names": lambda: names, "turn": turn, "release": release}


def gathering(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reference of an update takes one gradient; the time to make it of several is part of it."""
    parameters = inspect.signature(function).parameters
    if "gradients" not in parameters or ("gradient_sum" not in parameters and "velocity" not in parameters):
        return function

    def call(xp: Any, flat: Any, gradients: Any, *args: Any, **options: Any) -> Any:
        return function(xp, flat, [xp.concat(gradients)], *args, **options)

    return call


def _prepare_torch(dtype: str, threads: int) -> tuple[str, Answers]:
    import torch

    from benchmark.kernels.torch_calls import CALLS

    @cache
    def run(name: str, size: Size) -> Run:
        args, options = CASES[name].arguments(Draw(dtype), *size)
        return CALLS[name](*args, **options)

    def turn(name: str, size: Size, seconds: float) -> Times | str:
        times: Times = {}
        try:
            for count in sorted({1, threads}) if name in CALLS else ():
                torch.set_num_threads(count)
                times[f"torch, {count}"] = timed(run(name, size), seconds)
        except Exception as error:
            return repr(error)
        return times

    def release() -> None:
        run.cache_clear()

    return f"torch {torch.__version__}", {"turn": turn, "release": release}
