"""Optimisers: ``optimizer.update(model, grads)`` changes a model's parameters by their gradients."""

from nnx.optim import schedules
from nnx.optim.adam import Adam, AdamW
from nnx.optim.clip import clip_by_norm
from nnx.optim.optimizer import Optimizer
from nnx.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "clip_by_norm", "schedules"]
