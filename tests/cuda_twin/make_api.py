"""Writes cupy/_api.json: the names, signatures and types of the real CuPy, which the twin holds its callers to.

Run it with a Python that has the real CuPy (no GPU is needed): ``python tests/cuda_twin/make_api.py``.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [path for path in sys.path if Path(path).resolve() != HERE]  # where the twin would be found

import cupy  # noqa: E402
import cupy.fft  # noqa: E402
import cupy.linalg  # noqa: E402
import cupyx  # noqa: E402


def parameters(function):
    """``[name, kind, whether it has a default]`` of each parameter; ``None`` where they cannot be told."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    return [[p.name, int(p.kind), p.default is not p.empty] for p in signature.parameters.values()]


def table(module):
    found = {"functions": {}, "ufuncs": {}, "types": [], "values": [], "modules": []}
    for name in sorted(vars(module)):
        value = getattr(module, name)
        if name.startswith("_") or name == "annotations":
            continue
        if isinstance(value, cupy.ufunc):
            found["ufuncs"][name] = {"name": value.name.removeprefix("cupy_"), "types": value.types}
        elif isinstance(value, types.ModuleType):
            found["modules"].append(name)
        elif isinstance(value, type):
            found["types"].append(name)
        elif callable(value):
            found["functions"][name] = parameters(value)
        else:
            found["values"].append(name)
    return found


def members(kind):
    return [name for name in dir(kind) if not name.startswith("_") or name.startswith("__")]


api = {"version": cupy.__version__}
api |= {module.__name__: table(module) for module in (cupy, cupy.linalg, cupy.fft, cupyx)}
api["members"] = {
    "ndarray": members(cupy.ndarray),
    "ufunc": members(cupy.ufunc),
    "Stream": members(cupy.cuda.Stream),
    "Event": members(cupy.cuda.Event),
    "Graph": members(cupy.cuda.Graph),
    "Device": members(cupy.cuda.Device),
    "MemoryPool": members(cupy.cuda.MemoryPool),
    "MemoryPointer": members(cupy.cuda.MemoryPointer),
    "PinnedMemoryPool": members(cupy.cuda.PinnedMemoryPool),
    "PinnedMemoryPointer": members(cupy.cuda.PinnedMemoryPointer),
    "cuda": members(cupy.cuda),
    "runtime": members(cupy.cuda.runtime),
}


def written(value, depth):
    """JSON with a line for each entry of the innermost tables."""
    if not depth or not isinstance(value, dict):
        return json.dumps(value)
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {written(each, depth - 1)}" for key, each in value.items()) + "\n}"


(HERE / "cupy" / "_api.json").write_text(written(api, 3) + "\n")
