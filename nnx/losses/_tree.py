"""Trees whose leaves are classes, as lists in lists: how they are built and read."""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Iterable
from itertools import count, pairwise
from numbers import Integral, Real
from typing import Any, NamedTuple

from nnx._errors import ArgumentError

Path = list[tuple[int, int]]
"""From the root to a leaf: the number of each inner node on the way, and which of its children comes next."""


class Paths(NamedTuple):
    """A tree, read.

    Attributes:
        children: how many children each inner node has, by its number; the root is 0, and what is nearer to
            it comes first.
        paths: the path to each class.
    """

    children: list[int]
    paths: list[Path]


def read(tree: Any) -> Paths:
    """The paths of a tree of lists and class ids.

    Raises:
        ArgumentError: an inner node has fewer than two children, or the leaves are not the numbers 0 … C-1,
            each once.

    >>> read([[0, 1], 2])
    Paths(children=[2, 2], paths=[[(0, 0), (1, 0)], [(0, 0), (1, 1)], [(0, 1)]])
    """
    children: list[int] = []
    leaves: list[tuple[int, Path]] = []
    pending: deque[tuple[Any, Path]] = deque([(tree, [])])
    while pending:
        node, path = pending.popleft()
        if isinstance(node, (list, tuple)):
            if len(node) < 2:
                raise ArgumentError(f"an inner node of a tree of classes has two children or more, got {node!r}")
            number = len(children)
            children.append(len(node))
            pending.extend((child, [*path, (number, i)]) for i, child in enumerate(node))
        elif isinstance(node, Integral) and not isinstance(node, bool):
            leaves.append((int(node), path))
        else:
            raise ArgumentError(f"a tree of classes is made of lists and class ids, got {node!r}")
    classes = len(leaves)
    if classes < 2:
        raise ArgumentError(f"a tree of two classes or more was expected, got {tree!r}")
    found = Counter(label for label, _ in leaves)
    wrong = sorted(label for label, times in found.items() if times > 1 or not 0 <= label < classes)
    if wrong:
        raise ArgumentError(
            f"the leaves of a tree of {classes} classes are the ids 0 to {classes - 1}, each once; repeated or out of "
            f"range: {', '.join(map(str, wrong[:9]))}"
        )
    return Paths(children, [path for _, path in sorted(leaves, key=lambda leaf: leaf[0])])


def huffman(counts: Iterable[float]) -> Any:
    """The binary tree in which frequent classes are near the root, so that the mean path is shortest.

    Huffman, "A method for the construction of minimum-redundancy codes", Proceedings of the IRE 40, 1952.
    Of equal weights the one that came first is taken first, so equal counts give equal trees.

    >>> huffman([5, 1, 1, 2])
    [[3, [1, 2]], 0]
    """
    order = count()
    heap: list[tuple[float, int, Any]] = []
    for label, weight in enumerate(counts):
        if not isinstance(weight, Real) or not 0 <= weight < math.inf:
            raise ArgumentError(f"counts of classes are finite numbers of at least 0, got {weight!r} for class {label}")
        heap.append((float(weight), next(order), label))
    if len(heap) < 2:
        raise ArgumentError(f"counts of two classes or more were expected, got {len(heap)}")
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, _, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        heapq.heappush(heap, (a + b, next(order), [left, right]))
    return heap[0][2]


def two_level(classes: int, groups: int | None) -> Any:
    """Groups of classes of consecutive ids, as equal as can be; by default about as many as a group has classes.

    >>> two_level(7, 3)
    [[0, 1, 2], [3, 4], [5, 6]]
    """
    if groups is None:
        groups = round(math.sqrt(classes))
    if not 1 <= groups <= classes:
        raise ArgumentError(f"{classes} classes are put in 1 to {classes} groups, got {groups}")
    size, longer = divmod(classes, groups)
    starts = [i * size + min(i, longer) for i in range(groups + 1)]
    found: list[Any] = [list(range(a, b)) if b - a > 1 else a for a, b in pairwise(starts)]
    return found if groups > 1 else found[0]
