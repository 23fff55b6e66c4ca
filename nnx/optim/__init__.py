"""Optimisers: ``optimizer.update(model, grads)`` changes a model's parameters by their gradients.

``LBFGS`` is another kind: its ``minimize(loss, model)`` evaluates the loss of all the data where it likes.
"""

from nnx.optim import schedules
from nnx.optim.adam import Adam, AdamW
from nnx.optim.clip import clip_by_norm
from nnx.optim.lbfgs import LBFGS, Minimum
from nnx.optim.loss_scale import LossScale
from nnx.optim.optimizer import Optimizer
from nnx.optim.sgd import SGD

__all__ = ["LBFGS", "SGD", "Adam", "AdamW", "LossScale", "Minimum", "Optimizer", "clip_by_norm", "schedules"]
