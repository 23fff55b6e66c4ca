"""The names of the standard, and a call of each of its functions; array-api-strict says which arguments there are."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

strict = pytest.importorskip("array_api_strict")

NOT_OF_THE_STANDARD = {"ArrayAPIStrictFlags", "Device", "__version__"}  # what array-api-strict has beside it
NOT_LISTED = {"eig", "eigvals"}  # of 2025.12: array-api-strict has them, but not in __all__
WRITTEN_OUT = {"asarray"}  # a method of the namespace: it takes nested sequences too
OPERATORS = {"getitem", "setitem", "to_device"}  # what arrays do

MAIN = {name for name in strict.__all__ if not name.endswith("_strict_flags")} - NOT_OF_THE_STANDARD
EXTENSIONS = {"linalg": NOT_LISTED.union(strict.linalg.__all__), "fft": set(strict.fft.__all__)}
WHOLE = sorted(MAIN - set(EXTENSIONS)) + [f"{e}.{name}" for e, names in EXTENSIONS.items() for name in sorted(names)]


def look_up(xp, name):
    for part in name.split("."):
        xp = getattr(xp, part)
    return xp


MATRIX = np.asarray([[2.0, 0.5], [0.5, 1.5]])
LINE = np.asarray([0.5, 0.25, 0.75])
# fmt: off
VALUES = {  # what an argument of that name is, or that of one function
    "x": MATRIX, "x1": MATRIX, "x2": MATRIX, "arrays": [MATRIX, MATRIX], "obj": MATRIX, "condition": MATRIX > 1,
    "axis": 0, "axes": (0, 1), "shape": (2, 2), "n": 2, "s": (2, 2), "norm": "ortho", "dtype": np.float64,
    "keepdims": True, "copy": None, "k": 1, "offset": 0, "d": 0.5, "rtol": 1e-6, "upper": False, "mode": "reduced",
    "start": 0.5, "stop": 2.5, "step": 1.0, "num": 3, "endpoint": True, "n_rows": 2, "n_cols": 2, "fill_value": 1.5,
    "indexing": "xy", "min": 0.0, "max": 1.0, "source": 0, "destination": 1, "repeats": 2, "shift": 1, "side": "left",
    "repetitions": (2, 1), "indices": np.asarray([0, 1]), "sorter": np.asarray([1, 0, 2]), "invert": False, "ord": 2,
    "descending": False, "stable": True, "include_initial": False, "correction": 0, "prepend": MATRIX, "append": MATRIX,
    "full_matrices": False, "kind": "integral", "shapes": (2, 1), "type": np.float64, "from_": np.float32,
    "to": np.float64, "arrays_and_dtypes": MATRIX, "device": "cpu",
    "broadcast_arrays.arrays": MATRIX,
    "acosh.x": MATRIX + 1, "atanh.x": MATRIX / 4, "acos.x": MATRIX / 4, "asin.x": MATRIX / 4, "meshgrid.arrays": LINE,
    "searchsorted.x1": LINE, "searchsorted.x2": LINE, "squeeze.x": MATRIX[None, ...], "broadcast_to.shape": (3, 2, 2),
    "take.x": LINE, "take_along_axis.indices": np.zeros((2, 2), dtype=int), "nonzero.x": LINE, "isin.x1": LINE,
    "isin.x2": LINE, "unique_all.x": LINE, "unique_counts.x": LINE, "unique_inverse.x": LINE, "unique_values.x": LINE,
    "linalg.cross.x1": LINE, "linalg.cross.x2": LINE, "linalg.outer.x1": LINE, "linalg.outer.x2": LINE,
    "linalg.cross.axis": -1, "vecdot.axis": -1, "linalg.vecdot.axis": -1, "tensordot.axes": 1,
    "linalg.tensordot.axes": 1, "linalg.matrix_norm.ord": "fro", "permute_dims.axes": (1, 0),
    "fft.fftfreq.n": 4, "fft.rfftfreq.n": 4,
}
# fmt: on
FUNCTIONS = [name for name in WHOLE if inspect.isfunction(look_up(strict, name))]


def parameters(name):
    return inspect.signature(look_up(strict, name)).parameters.values()


def call(xp, name, change, besides=None):
    """A call of a function without what may be left out, but for the argument ``besides``.

    ``change`` is told the name of each argument and its value, and answers what to put in its place.
    """
    args, options = [], {}
    for p in parameters(name):
        if p.name != besides and p.default is not p.empty:
            continue
        value = VALUES.get(f"{name}.{p.name}", VALUES.get(p.name))
        if p.kind is p.VAR_POSITIONAL:
            args += [change(p.name, value), change(p.name, value)]
        elif p.kind is p.KEYWORD_ONLY:
            options[p.name] = change(p.name, value)
        else:
            args.append(change(p.name, value))
    if name in ("cumulative_sum", "cumulative_prod"):  # which need it, for arrays of two axes
        options.setdefault("axis", 0)
    return look_up(xp, name)(*args, **options)
