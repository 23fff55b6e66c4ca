"""Cross-entropy of softmax: losses and slopes in one pass over the logits. No value is waited for."""

from __future__ import annotations

from typing import Any

from nnx._typing import Array, Kernel
from nnx.ops.softmax import softmax_cross_entropy_forward as any_cross_entropy
from nnx_cupy.kernels._arrays import summed_in, whole
from nnx_cupy.kernels._rows import LONG_THREADS, cut
from nnx_cupy.kernels._source import Source, floating

SOURCE = Source("cross_entropy", "teams")
LABELS = {4: "int", 8: "long long"}
"""The C++ types of labels that are read as they are, by the bytes of each."""


def softmax_cross_entropy_forward(xp: Any, logits: Array, labels: Array, *, mean: bool = False) -> tuple[Array, Array]:
    """One launch; for the mean of more than a few rows, another. Labels out of range make the loss NaN."""
    dtype, kind = logits.dtype, labels.dtype
    if not logits.size or labels.shape != logits.shape[:-1] or kind.kind not in "iu" or not floating(dtype):
        return any_cross_entropy(xp, logits, labels, mean=mean)
    label = LABELS.get(kind.itemsize) if kind.kind == "i" else None
    if label is None:  # unsigned ones beyond all classes become negative, which is as much out of range
        labels, label = labels.astype(xp.int64), "long long"
    columns = logits.shape[-1]
    rows = logits.size // columns
    sliced = cut(rows, columns, bool(mean))
    several = mean and sliced.blocks > 1
    partial = xp.empty(sliced.blocks, dtype=summed_in(xp, dtype)) if several else 0
    loss = xp.empty(() if mean else labels.shape, dtype=dtype)
    slope = xp.empty(logits.shape, dtype=dtype)
    arguments = (whole(xp, logits), whole(xp, labels), slope, loss, partial, rows, columns, bool(mean))
    sliced.launch(SOURCE, "cross_entropy", dtype, *arguments, LABEL=label)
    if several:
        finish = SOURCE("mean_of", dtype)
        finish((1,), (LONG_THREADS,), (partial, loss, sliced.blocks, rows))
    return loss, slope


KERNELS: dict[str, Kernel] = {"softmax_cross_entropy_forward": softmax_cross_entropy_forward}
