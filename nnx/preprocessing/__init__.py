"""Transforms that are fitted to data, on its own device, and then applied to it and to other data.

``fit(x)`` learns, ``transform(x)`` applies, ``inverse(y)`` goes back; ``fit_transform(x)`` does the first
two. They are fitted to training data alone: validation data are transformed by what was learned there.
A transform is a function of arrays, so it may stand in an ``nnx.Sequential``; what it learned is then no
state of the model. It is saved by itself, with ``nnx.save_weights``.
"""

from nnx.preprocessing._transform import Transform
from nnx.preprocessing.labels import OneHot, one_hot
from nnx.preprocessing.principal import PCA, ZCA, Whiten
from nnx.preprocessing.scale import Center, MinMax, Standardize

__all__ = ["PCA", "ZCA", "Center", "MinMax", "OneHot", "Standardize", "Transform", "Whiten", "one_hot"]
