"""Whether what replays a step does what the step does: both are run once, from the same state."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from nnx import tree
from nnx._typing import Array, Namespace, Tree
from nnx.backend import Library, is_array, is_float, is_low
from nnx.capture.discover import Found
from nnx.capture.program import Outcome, Program
from nnx.capture.state import Snapshot, State


class Tolerance(NamedTuple):
    """How far results may be apart.

    Attributes:
        relative: of the largest number of an array, by its bits: what is counted as another number.
        absolute: the same, in units of the last place of 1, for arrays that are answered.
        answered: the share of other numbers in each array that is answered.
        kept: that in the changes of all arrays of models and optimisers. A gradient that is zero but for rounding
            becomes a full step of either sign where an optimiser normalises it, as Adam does.
    """

    relative: dict[int, float]
    absolute: float
    answered: float
    kept: float


REPLAYED = Tolerance({64: 1e-10, 32: 1e-5}, 0, 0, 0)
"""The same functions on the same numbers: the same but for what a product of matrices does not promise."""

COMPILED = Tolerance({64: 1e-8, 32: 1e-3}, 16, 1 / 16, 1 / 2)
"""A compiler adds in another order."""

GRAPHED = Tolerance({64: 1e-8, 32: 1e-4}, 16, 1 / 16, 1 / 16)
"""The same functions, which may have other memory to work in, and then add in another order."""


LOW = 2.0**-4
"""How far, relative to the largest number, float32 results may be apart that bfloat16 leads to, by a few roundings."""


class Proof(NamedTuple):
    """What came of running both.

    Attributes:
        result: what the step answers. All is as after a plain step.
        same: whether the program does the same; ``None`` where that cannot be said yet, as it did not run.
    """

    result: Any
    same: bool | None


def prove(
    program: Program, step: Callable[..., Any], arguments: tuple[Any, Any], library: Library, tolerance: Tolerance
) -> Proof:
    """Run ``program``, take back what it did, and run ``step``.

    Raises:
        Exception: what the step raises.
    """
    if program.low and tolerance is not REPLAYED:
        tolerance = tolerance._replace(relative=tolerance.relative | {32: max(tolerance.relative[32], LOW)})
    args, options = arguments
    state = State(Found(step, arguments))
    xp = library.namespace

    def copied(x: Tree) -> Tree:
        return tree.map_leaves(lambda a: xp.asarray(a, copy=True) if _may_change(a) else a, x)

    def kept() -> list[Any]:
        return [place.get() for place in state.places]

    before = copied(kept())
    snapshot = Snapshot(state, library, [list(args), options])
    answer: Any = None
    replayed: Any = None
    try:
        answer = program.run(args, options)
        replayed = copied([answer, list(args), options]), copied(kept())
    except Exception:  # the step raises it, too, or the program does something else
        replayed = None
    finally:
        snapshot.restore()
    result = step(*args, **options)
    if isinstance(answer, Outcome):
        return Proof(result, None)
    if replayed is None or not _agree([result, list(args), options], replayed[0], xp, tolerance):
        return Proof(result, False)
    return Proof(result, _changes_agree(kept(), replayed[1], before, xp, tolerance))


def _agree(a: Any, b: Any, xp: Namespace, tolerance: Tolerance) -> bool:
    """Whether two trees are the same, but for a share of the numbers of each array."""
    if is_array(a):
        return is_array(b) and _alike(a, b) and _apart(a, b, None, xp, tolerance) <= tolerance.answered * prod(a.shape)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(_agree(a[key], b[key], xp, tolerance) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(_agree(x, y, xp, tolerance) for x, y in zip(a, b, strict=True))
    return bool(a is b or (isinstance(a, (float, complex)) and repr(a) == repr(b)) or a == b)


def _changes_agree(a: Any, b: Any, before: Any, xp: Namespace, tolerance: Tolerance) -> bool:
    a, b, before = tree.leaves(a), tree.leaves(b), tree.leaves(before)
    if len(a) != len(b):
        return False
    apart, size = 0, 0
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        if not is_array(x) or not is_array(y):
            if x is not y:
                return False
            continue
        if not _alike(x, y):
            return False
        start = before[i] if len(before) == len(a) and is_array(before[i]) and _alike(x, before[i]) else None
        found = _apart(x, y, start, xp, tolerance)
        if found and not is_float(xp, x.dtype):
            return False
        apart, size = apart + found, size + prod(x.shape)
    return apart <= tolerance.kept * size


def _may_change(x: Any) -> bool:
    return is_array(x) and hasattr(x, "__setitem__")


def _alike(a: Array, b: Array) -> bool:
    return bool(a.shape == b.shape and a.dtype == b.dtype)


def _apart(a: Array, b: Array, before: Array | None, xp: Namespace, tolerance: Tolerance) -> int:
    """How many numbers of two arrays, or of what they have become of ``before``, are others."""
    unlike = a != b
    if not bool(xp.any(unlike)):
        return 0
    if not is_float(xp, a.dtype):
        return int(xp.count_nonzero(unlike))
    if is_low(a.dtype):
        bits, eps = 16, 2.0**-7 if str(a.dtype).endswith("bfloat16") else 2.0**-10
        a, b = xp.astype(a, xp.float32), xp.astype(b, xp.float32)
        before = None if before is None else xp.astype(before, xp.float32)
    else:
        info = xp.finfo(a.dtype)
        bits, eps = int(info.bits), float(info.eps)
    finite = xp.isfinite(a) & xp.isfinite(b)
    x, y = (xp.where(finite, each, xp.zeros_like(each)) for each in (a, b))
    largest = xp.max(xp.abs(y))
    scale = largest
    if before is not None:
        scale = xp.max(xp.abs(y - xp.where(finite & xp.isfinite(before), before, xp.zeros_like(before))))
    allowed = tolerance.relative.get(bits, 8 * eps) * scale + 4 * eps * largest
    if before is None:
        allowed = allowed + tolerance.absolute * eps
    both_nan = xp.isnan(a) & xp.isnan(b)
    return int(xp.count_nonzero(unlike & ~both_nan & ~(finite & (xp.abs(x - y) <= allowed))))
