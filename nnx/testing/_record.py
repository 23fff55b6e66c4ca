"""What a run on one backend computed, copied to the host, and how two such results compare."""

from __future__ import annotations

from typing import Any, NamedTuple

from nnx._typing import Array
from nnx.backend import HOST, Device, device_of, is_array, load_backend, load_namespace, to_numpy
from nnx.tape.node import Node
from nnx.tape.primitive import Primitive, untracked
from nnx.tape.rule import Derivative
from nnx.tape.tracked import Tracked

_RTOL = {"float32": 1e-5, "complex64": 1e-5, "float64": 1e-10, "complex128": 1e-10}


class Result(NamedTuple):
    """An array that was computed: what it is, a copy of it on the host, and where it lay."""

    label: str
    host: Any
    device: Device


def result(label: str, array: Array) -> Result:
    """A record of ``array``."""
    raw = untracked(array)
    return Result(label, to_numpy(raw), device_of(raw))


class Record:
    """The results of every operation and of every step of the walk back, in their order."""

    def __init__(self) -> None:
        self.steps: list[Result] = []
        self._operations: dict[Node, tuple[int, Primitive]] = {}

    def recorded(self, primitive: Primitive, y: Tracked) -> None:
        """An operation has been recorded."""
        # the results of one operation have one node
        number, _ = self._operations.setdefault(y.node, (len(self._operations) + 1, primitive))
        self.steps.append(result(f"operation {number}, {primitive.name}", y))

    def walked(self, node: Node, derivative: Derivative, gradient: Array) -> None:
        """A derivative of an operation has been computed."""
        found = self._operations.get(node)
        if found is None and is_array(gradient):  # of the last step of an op, whose node leads to that of the op
            found = self._operations.get(node.edges[0][0])
        if found is None:
            return  # of a call that is one step (nnx/tape/call.py), whose inputs are compared when they go on
        number, primitive = found
        label = f"the gradient of operation {number}, {primitive.name}, by {_argument(primitive, derivative)}"
        self.steps.append(result(label, gradient))


def _argument(primitive: Primitive, derivative: Derivative) -> str:
    """The name of the argument that a derivative is by; and that of its function, if it has one."""
    derivatives = {} if primitive.rule is None else primitive.rule.derivatives
    name = next((name for name, each in derivatives.items() if derivative in (each, each.whole)), None)
    if name is None:
        name = "its last step" if derivative is getattr(primitive, "last", None) else "an argument"
    function = derivative.formula.__name__
    return name if function.startswith("<") else f"{name} ({function})"


def disagreement(found: Result, expected: Result, device: Device, rtol: float | None, atol: float | None) -> str | None:
    """What is wrong with a result, given the reference's and the device it should lie on; ``None`` if nothing is."""
    a, b = found.host, expected.host
    if a.shape != b.shape:
        return f"it has shape {a.shape}, and {b.shape} was expected"
    # the width of integers may differ: the default one belongs to the library
    if a.dtype.kind != b.dtype.kind or (a.dtype.kind not in "iu" and a.dtype != b.dtype):
        return f"it has dtype {a.dtype}, and {b.dtype} was expected"
    if found.device != device:
        return f"it lies on {found.device}, and {device} was expected"
    if 0 in a.shape:
        return None
    return _exact(a, b) if a.dtype.kind in "biu" else _close(a, b, rtol, atol)


def _exact(a: Any, b: Any) -> str | None:
    wrong = a != b
    return f"{int(wrong.sum())} of {a.size} elements differ, {_first(wrong, a, b)}" if wrong.any() else None


def _close(a: Any, b: Any, rtol: float | None, atol: float | None) -> str | None:
    xp = load_namespace(load_backend(HOST))
    epsilon = float(xp.finfo(b.dtype).eps)
    rtol = _RTOL.get(str(b.dtype), 100 * epsilon) if rtol is None else rtol
    atol = 10 * epsilon if atol is None else atol
    same = (a == b) | (xp.isnan(a) & xp.isnan(b))  # infinities of one sign are
    odd = ~same & ~(xp.isfinite(a) & xp.isfinite(b))
    if odd.any():
        return f"{int(odd.sum())} of {a.size} elements are not finite alike, {_first(odd, a, b)}"
    zeros = xp.zeros_like(b)
    error = abs(xp.where(same, zeros, a) - xp.where(same, zeros, b))
    size = abs(xp.where(xp.isfinite(b), b, zeros)).max()
    worst = error.max()
    if worst <= atol + rtol * size:
        return None
    relative = f"max relative error {worst / size:.1e}" if size else f"max error {worst:.1e} where zeros were expected"
    return f"{relative} (tolerance {rtol:.0e}), {_first(error == worst, a, b)}"


def _first(mask: Any, a: Any, b: Any) -> str:
    """Where ``mask`` is first true, and what stands there."""
    place = tuple(int(axis[0]) for axis in mask.nonzero()) if mask.ndim else ()
    return f"e.g. at {place}: {a[place]} against {b[place]}"
