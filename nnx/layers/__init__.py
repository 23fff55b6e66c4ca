"""Layers, one family a file: plain Array API code over ``nnx.ops``."""

from nnx.layers.activation import Maxout, PReLU
from nnx.layers.convolution import Conv2d
from nnx.layers.dropout import Dropout
from nnx.layers.embedding import Embedding
from nnx.layers.linear import Linear
from nnx.layers.normalization import BatchNorm, LayerNorm
from nnx.layers.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from nnx.layers.recurrent import GRU, LSTM, RNN
from nnx.layers.sequential import Sequential
from nnx.layers.shape import Flatten

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AvgPool2d",
    "BatchNorm",
    "Conv2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAvgPool2d",
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "Maxout",
    "PReLU",
    "Sequential",
]
