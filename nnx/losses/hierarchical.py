"""Softmax over a tree of classes: one decision at each node on the way to the label."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, Self

from nnx import ops
from nnx._arguments import count
from nnx._errors import LabelError, ShapeError
from nnx._precision import wide
from nnx._typing import Array, Namespace
from nnx.backend import (
    HOST,
    activating,
    device_of,
    is_array,
    load_backend,
    load_namespace,
    namespace_of,
    native_device,
    readable,
    to_numpy,
)
from nnx.losses import _tree
from nnx.losses._common import classwise, reduce, require_floating, require_last_axis
from nnx.tape.primitive import untracked


class HierarchicalSoftmax:
    """A loss that follows the path to the label through a tree of classes.

        P(class) = Π_v P(child of v on the path | v)        loss = -ln P(label)

    over the inner nodes v on the path. A node of two children decides by one logit z, P(second) = sigmoid(z);
    one of more children by a softmax over a logit for each. So the logits of an example are those of all
    inner nodes, ``outputs`` of them, the root's first and a level after the other:
    ``nnx.Linear(features, loss.outputs)`` is the last layer of a model. The loss reads those on the path
    alone, about log₂ C of them for C classes in a balanced binary tree.

    Morin and Bengio, "Hierarchical probabilistic neural network language model", AISTATS 2005; two
    levels: Goodman, "Classes for fast maximum entropy training", ICASSP 2001; trees by Huffman: Mikolov,
    Sutskever, Chen, Corrado and Dean, "Distributed representations of words and phrases and their
    compositionality", NeurIPS 2013.

    Args:
        tree: lists in lists, whose innermost items are the class ids 0 … C-1, each once.
            :meth:`huffman` and :meth:`two_level` build one.

    Attributes:
        classes: C.
        outputs: how many logits an example has.
        depth: the most decisions on a path.

    Raises:
        ArgumentError: a node has fewer than two children, or the leaves are not 0 … C-1.

    >>> import nnx
    >>> loss = nnx.losses.HierarchicalSoftmax([[0, 1], [2, 3, 4]])
    >>> loss.classes, loss.outputs, loss.depth
    (5, 5, 2)
    >>> loss.probabilities(nnx.init.zeros((1, 5))).tolist()[0][:2]
    [0.25, 0.25]
    """

    def __init__(self, tree: Any) -> None:
        children, paths = _tree.read(tree)
        self.classes = len(paths)
        self.depth = max(map(len, paths))
        width = max(children)
        # a table row for each inner node, and a last one for the end of shorter paths, whose only child is certain
        self.outputs = 0
        logits, kinds = [], []
        for n in children:
            own = list(range(self.outputs, self.outputs + (1 if n == 2 else n)))
            self.outputs += len(own)
            row, kind = ([0, *own], [_ZERO, _LOGIT]) if n == 2 else (own, [_LOGIT] * n)
            logits.append(row + [0] * (width - n))
            kinds.append(kind + [_ABSENT] * (width - n))
        logits.append([0] * width)
        kinds.append([_ZERO] + [_ABSENT] * (width - 1))
        ends = [path + [(len(children), 0)] * (self.depth - len(path)) for path in paths]
        xp = load_namespace(load_backend(HOST))
        self._host = tuple(
            xp.asarray(table, dtype=xp.int64)
            for table in (
                logits,
                kinds,
                [[v for v, _ in path] for path in ends],
                [[i for _, i in path] for path in ends],
            )
        )
        self._placed: dict[str, tuple[Array, ...]] = {}

    @classmethod
    def huffman(cls, counts: Iterable[float]) -> Self:
        """The loss over the binary tree in which classes of high counts have short paths.

        Args:
            counts: how often each class occurs, at least 0; numbers, or an array of one axis.
        """
        return cls(_tree.huffman(to_numpy(counts).tolist() if is_array(counts) else counts))

    @classmethod
    def two_level(cls, classes: int, groups: int | None = None) -> Self:
        """The loss over groups of classes of consecutive ids: a softmax over groups, and one within the group.

        Args:
            classes: C, at least 2.
            groups: how many; ``None`` for the square root of C.
        """
        return cls(_tree.two_level(count("the number of classes", classes), groups))

    def __repr__(self) -> str:
        return f"<HierarchicalSoftmax of {self.classes} classes, {self.outputs} outputs, depth {self.depth}>"

    @activating
    def __call__(self, logits: Array, target: Array, *, reduction: str = "mean", weights: Array | None = None) -> Array:
        """The loss of logits, given class ids.

        Args:
            logits: shape (..., outputs), floating-point.
            target: integer class ids, shape (...).
            reduction, weights: see the package.

        Raises:
            LabelError: a class id is not in the tree. Where values cannot be read at once (on a GPU, or
                under a compiler) the loss is NaN instead.
        """
        xp, logits = classwise(logits, target)
        self._require_outputs(logits)
        self._check_labels(target)
        n, raw = prod(target.shape), namespace_of(untracked(target))
        index, kind, path, choice = self._tables(logits)
        ids = raw.astype(raw.reshape(untracked(target), (n,)), path.dtype)
        known = raw.logical_and(ids >= 0, ids < self.classes)
        ids = raw.where(known, ids, 0)
        nodes = raw.reshape(raw.take(path, ids, axis=0), (n * self.depth,))
        columns = raw.reshape(raw.take(index, nodes, axis=0), (n, -1))
        z = ops.gather(xp.reshape(logits, (n, self.outputs)), columns)
        kinds = raw.take(kind, nodes, axis=0)
        log_p = _log_probabilities(xp, xp.reshape(z, kinds.shape), kinds)
        taken = raw.reshape(raw.take(choice, ids, axis=0), (n * self.depth, 1))
        taken = taken == raw.arange(kinds.shape[-1], dtype=taken.dtype, device=native_device(taken))
        loss = -xp.sum(xp.reshape(xp.where(taken, log_p, 0.0), (n, -1)), axis=-1)
        loss = xp.where(known, loss, float("nan"))
        return reduce(xp.reshape(loss, target.shape), reduction, weights)

    @activating
    def log_probabilities(self, logits: Array) -> Array:
        """The logarithms of the probabilities of all classes.

        Args:
            logits: shape (..., outputs), floating-point.

        Returns:
            Shape (..., classes).
        """
        xp = namespace_of(logits)
        logits = wide(xp, logits)
        require_floating(xp, logits)
        self._require_outputs(logits)
        raw = namespace_of(untracked(logits))
        index, kind, path, choice = self._tables(logits)
        n, (nodes, width) = prod(logits.shape[:-1]), kind.shape
        z = xp.take(xp.reshape(logits, (n, self.outputs)), raw.reshape(index, (-1,)), axis=-1)
        log_p = xp.reshape(_log_probabilities(xp, xp.reshape(z, (n, nodes, width)), kind), (n, nodes * width))
        steps = xp.take(log_p, raw.reshape(path * width + choice, (-1,)), axis=-1)
        total = xp.sum(xp.reshape(steps, (n, self.classes, self.depth)), axis=-1)
        return xp.reshape(total, (*logits.shape[:-1], self.classes))

    @activating
    def probabilities(self, logits: Array) -> Array:
        """The probabilities of all classes, which add to 1; the largest is the prediction.

        Args:
            logits: shape (..., outputs), floating-point.

        Returns:
            Shape (..., classes).
        """
        log_p = self.log_probabilities(logits)
        return namespace_of(log_p).exp(log_p)

    def _tables(self, like: Array) -> tuple[Array, ...]:
        """The tables where ``like`` lies."""
        device = device_of(like)
        placed = self._placed.get(str(device))
        if placed is None:
            placed = tuple(map(device.from_host, self._host))
            if all(native_device(table) is not None for table in placed):  # or a compiler's, for one call
                self._placed[str(device)] = placed
        return placed

    def _require_outputs(self, logits: Array) -> None:
        require_last_axis(logits, "outputs")
        if logits.shape[-1] != self.outputs:
            raise ShapeError(
                f"logits of shape (..., {self.outputs}) were expected, one for each output of the tree of "
                f"{self.classes} classes; got shape {tuple(logits.shape)}"
            )

    def _check_labels(self, target: Array) -> None:
        target = untracked(target)
        if readable(target):
            xp = namespace_of(target)
            low, high = int(xp.min(target)), int(xp.max(target))
            if low < 0 or high >= self.classes:
                raise LabelError(
                    f"labels from 0 to {self.classes - 1} were expected, the classes of the tree; got labels from "
                    f"{low} to {high}"
                )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_placed": {}}


_LOGIT, _ZERO, _ABSENT = range(3)
"""What stands in a place of a node: a logit; a zero, beside the one logit of two children; no child."""


def _log_probabilities(xp: Namespace, z: Array, kind: Array) -> Array:
    """Log-softmax of the nodes along the last axis."""
    z = xp.where(kind == _LOGIT, z, xp.where(kind == _ZERO, xp.zeros_like(z), -float("inf")))
    return ops.log_softmax(z)
