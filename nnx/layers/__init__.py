"""Layers, one family a file: plain Array API code over ``nnx.ops``."""

from nnx.layers.dropout import Dropout
from nnx.layers.linear import Linear
from nnx.layers.sequential import Sequential

__all__ = ["Dropout", "Linear", "Sequential"]
