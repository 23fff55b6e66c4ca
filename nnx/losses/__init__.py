"""Losses: what a prediction costs, given its target.

Each takes ``(prediction, target)`` and, by keyword,

``reduction``
    ``"mean"`` (the default), ``"sum"``, or ``"none"`` for the loss of each example
``weights``
    one number for each example, of the shape and dtype that ``"none"`` answers. The mean is then the
    weighted one, Σ w l / Σ w.

and raises ``ShapeError`` where shapes do not fit or the batch is empty, ``DTypeError`` where dtypes do not
fit. Logits of any size, such as ±10,000 in float32, overflow nowhere.

``entropy`` has the losses of probabilities, ``margin`` those of support vector machines,
``regression`` those of numbers, and ``hierarchical`` the one over a tree of classes.
"""

from nnx.losses.entropy import binary_cross_entropy, cross_entropy, kl_divergence, multilabel_logistic, nll
from nnx.losses.hierarchical import HierarchicalSoftmax
from nnx.losses.margin import hinge, multiclass_hinge, multilabel_hinge, squared_hinge
from nnx.losses.regression import huber, log_cosh, mae, mse

__all__ = [
    "HierarchicalSoftmax",
    "binary_cross_entropy",
    "cross_entropy",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mae",
    "mse",
    "multiclass_hinge",
    "multilabel_hinge",
    "multilabel_logistic",
    "nll",
    "squared_hinge",
]
