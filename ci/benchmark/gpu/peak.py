"""The rate of large matrix products on this device: what the share of a network's step is a share of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import nnx
from benchmark.card import ordinal
from benchmark.gpu import Save, Settings

ROUNDS, QUEUED = 7, 4
"""Timings of a product, and how many are queued in each."""


def run(settings: Settings, save: Save) -> None:
    """Multiply square matrices of normal numbers: by torch, and by the array library that nnx computes with."""
    size, device = settings["size"], settings["device"]
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), dtype="float32") for _ in range(2))
    found: dict[str, Any] = {"size": size, "products": {}, "notes": {}}
    for library, measure in (("torch", _torch), (nnx.device(device).backend.name, _backend)):
        rates: dict[str, float] = {}
        found["products"].setdefault(library, rates)
        try:
            for precision, product, timed in measure(a, b, device, found["notes"]):
                for _ in range(3):
                    product()
                seconds = median(timed(product) / QUEUED for _ in range(ROUNDS))
                rates[precision] = 2 * size**3 / seconds
                save(found)
        except Exception as error:
            found["notes"][library] = f"{type(error).__name__}: {error}".splitlines()[0]
        save(found)


def _torch(a: Any, b: Any, flag: str, notes: dict[str, str]) -> Any:
    if not find_spec("torch"):
        notes["torch"] = "not installed"
        return
    import torch

    number = ordinal(flag)
    device = torch.device("cpu" if number is None else f"cuda:{number}")

    def timed(product: Callable[[], Any]) -> float:
        if device.type == "cpu":
            return _clock(product, lambda: None)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.device(device):
            start.record()
            for _ in range(QUEUED):
                product()
            end.record()
            end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    x, y = torch.from_numpy(a).to(device), torch.from_numpy(b).to(device)
    dtypes = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    for precision, dtype in dtypes.items():
        if precision == "tf32" and device.type == "cpu":
            continue
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        p, q = x.to(dtype), y.to(dtype)
        yield precision, (lambda p=p, q=q: torch.matmul(p, q)), timed


def _backend(a: Any, b: Any, flag: str, notes: dict[str, str]) -> Any:
    device = nnx.device(flag)
    xp, wait = device.namespace, lambda: device.backend.synchronize(device.native)
    if device.backend.name == "torch":  # measured above
        return
    for precision in ("float32", "bfloat16", "float16"):
        if precision != "float32" and ordinal(flag) is None:
            continue  # processors are slow at it
        p = q = None
        with suppress(nnx.DTypeError, TypeError, AttributeError, ValueError):  # it has no such type
            p, q = (nnx.asarray(array, dtype=precision, device=device) for array in (a, b))
        if p is not None:
            yield precision, (lambda p=p, q=q: xp.matmul(p, q)), lambda product: _clock(product, wait)


def _clock(product: Callable[[], Any], wait: Callable[[], None]) -> float:
    wait()
    start = perf_counter()
    for _ in range(QUEUED):
        product()
    wait()
    return perf_counter() - start
