"""What a model consists of: a table of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from typing import Any, NamedTuple

from nnx import tree
from nnx._declare import declared
from nnx._errors import ShapeError
from nnx._typing import Array, Tree
from nnx._watch import watch
from nnx.backend import is_array, itemsize, named_dtype, namespace_of
from nnx.layers.sequential import function_name
from nnx.module import Module


class Row(NamedTuple):
    """One layer of a summary.

    Attributes:
        name: the path to it.
        layer: its text form.
        output: the shape of what it answered.
        parameters: how many numbers its own parameters hold.
        operations: floating-point operations of its own in one call, where the layer counts them.
        memory: bytes of its own arrays and of what it answered.
    """

    name: str
    layer: str
    output: tuple[Any, ...]
    parameters: int
    operations: int
    memory: int


class Summary:
    """The layers of a model in the order in which they answered; print it for a table."""

    def __init__(self, rows: list[Row], *, trained: int, frozen: int) -> None:
        self.rows = rows
        self.trained = trained
        self.frozen = frozen

    @property
    def parameters(self) -> int:
        """How many numbers are parameters: also frozen ones, and those of layers that were not called."""
        return self.trained + self.frozen

    @property
    def operations(self) -> int:
        """Floating-point operations of one call."""
        return sum(row.operations for row in self.rows)

    @property
    def memory(self) -> int:
        """Bytes of the arrays of the model and of what its layers answer."""
        return sum(row.memory for row in self.rows)

    def __str__(self) -> str:
        head = ("name", "layer", "output", "parameters", "operations", "memory")
        body = [
            (r.name, r.layer, str(r.output), f"{r.parameters:,}", f"{r.operations:,}", _bytes(r.memory))
            for r in self.rows
        ]
        total = ("total", "", "", f"{self.parameters:,}", f"{self.operations:,}", _bytes(self.memory))
        widths = [max(map(len, column)) for column in zip(head, *body, total, strict=True)]

        def line(cells: tuple[str, ...]) -> str:
            left = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
            right = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
            return "  ".join(left + right).rstrip()

        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines = [line(head), rule, *map(line, body), rule, line(total)]
        if self.frozen:
            lines.append(f"{self.trained:,} parameters are trained, {self.frozen:,} are frozen")
        return "\n".join(lines)

    __repr__ = __str__


def summary(model: Module, shape: tuple[int, ...], *, dtype: str | None = None) -> Summary:
    """Call a model on zeros, and tell what each of its layers is and answers.

    Args:
        model: it is called once, to predict, and stays as it was.
        shape: the shape of a batch of inputs, e.g. ``(1, 784)``.
        dtype: the name of the dtype of the inputs (default: the dtype of the first parameter, or float32 if
            there is none).

    Raises:
        ShapeError: the shape is empty, or does not fit the model.
        DTypeError: the dtype is not one of the standard, or does not fit the model.

    >>> import nnx
    >>> print(nnx.summary(nnx.Sequential(nnx.Linear(784, 10), nnx.relu), (1, 784)))
    name   layer            output   parameters  operations    memory
    -----------------------------------------------------------------
    0      Linear(784, 10)  (1, 10)       7,850      15,680  30.7 KiB
    1      relu             (1, 10)           0           0      40 B
    -----------------------------------------------------------------
    total                                 7,850      15,680  30.7 KiB
    """
    if not shape or prod(shape) < 1:
        raise ShapeError(f"the shape of a batch of at least one example was expected, got {shape}")
    rows: list[Row] = []
    seen: set[int] = set()  # arrays that stand in several places count once
    twin, _ = model._twin(False, {})

    def tell(name: str, layer: Callable[..., Any], x: Array, y: Tree) -> None:
        if isinstance(layer, Module):
            rows.append(_row(name, layer, x, y, seen))
        else:
            rows.append(Row(name, function_name(layer), _shape(y), 0, 0, _sizes(y)))

    watch(twin, tell)
    place = model.device
    first = next(iter(model.parameters().values()), None) if dtype is None else None
    kind = named_dtype(place.namespace, dtype or "float32") if first is None else first.dtype
    twin(place.namespace.zeros(shape, dtype=kind, device=place.native))
    trained, buffers = model.parameters(), model.buffers()
    frozen = [array for name, array in model.arrays().items() if name not in trained and name not in buffers]
    return Summary(rows, trained=_count(trained.values()), frozen=_count(frozen))


def _count(arrays: Iterable[Array]) -> int:
    return sum(int(prod(array.shape)) for array in arrays)


def _row(name: str, module: Module, x: Array, y: Tree, seen: set[int]) -> Row:
    """What a module itself adds; ``seen`` are the arrays that have been counted."""
    kind = declared(type(module))
    own = [array for array in _own(module, kind.parameters) if id(array) not in seen]
    seen.update(map(id, own))
    held = sum(map(_size, [*own, *_own(module, kind.buffers)]))
    text = repr(module)
    text = type(module).__name__ if "\n" in text else text  # the modules below have rows of their own
    return Row(name, text, _shape(y), _count(own), module.operations(_shape(x), _shape(y)), held + _sizes(y))


def _own(module: Module, attributes: tuple[str, ...]) -> list[Array]:
    """The arrays that a module itself holds in these attributes."""
    return [array for name in attributes if (array := module.__dict__.get(name)) is not None]


def _shape(y: Tree) -> tuple[Any, ...]:
    """The shape of an array; of several in lists, tuples and dicts, a tuple of theirs."""
    return tuple(y.shape) if is_array(y) else tuple(_shape(item) for item in tree.leaves(y) if is_array(item))


def _sizes(y: Tree) -> int:
    return sum(_size(item) for item in tree.leaves(y) if is_array(item))


def _size(array: Array) -> int:
    """Bytes of an array."""
    return int(prod(array.shape)) * itemsize(namespace_of(array), array.dtype)


def _bytes(n: int) -> str:
    """A number of bytes as people read it.

    >>> _bytes(40), _bytes(31400), _bytes(5 * 2**30)
    ('40 B', '30.7 KiB', '5.0 GiB')
    """
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{n} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
