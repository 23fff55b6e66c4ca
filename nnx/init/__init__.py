"""Initialisers: arrays of initial parameters, made on the host and moved to the device.

The same seed gives bit-identical arrays on every backend. Fan-in and fan-out are those of a weight
whose last two axes are (inputs, outputs); axes before them are a receptive field, which multiplies
both.

All take ``dtype``, the name of a dtype, ``device``, a device flag (``None`` for the default device),
and ``rng``, where random numbers come from (``None`` for the default generator). Those that draw no
numbers accept ``rng`` too, so that any of them can stand for any other. ``functools.partial`` gives
options: ``nnx.Linear(784, 30, weight_init=nnx.init.lecun_normal, bias_init=partial(nnx.init.constant, value=0.01))``.

========================================  ====================================================
small random numbers                      ``normal(std=0.01)``, ``uniform``, ``truncated_normal``
calibrated with 1 / sqrt(n)               ``lecun_normal``, ``lecun_uniform``
Xavier                                    ``glorot_normal``, ``glorot_uniform``
for ReLU                                  ``he_normal``, ``he_uniform``
any other variance                        ``variance_scaling``
with a structure                          ``orthogonal``, ``identity``, ``sparse``
biases                                    ``zeros``, ``ones``, ``constant``
========================================  ====================================================
"""

from nnx.init._place import fans
from nnx.init.basic import constant, normal, ones, truncated_normal, uniform, zeros
from nnx.init.scaled import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
)
from nnx.init.structured import identity, orthogonal, sparse

__all__ = [
    "constant",
    "fans",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "sparse",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "zeros",
]
