"""Training a model on data."""

from nnx.train.history import History
from nnx.train.trainer import Trainer

__all__ = ["History", "Trainer"]
