"""What the tests of assignment share."""

from __future__ import annotations

import numpy as np

import nnx

X = np.arange(1.0, 13.0).reshape(4, 3)


def total(x):
    return nnx.namespace_of(x).sum(x)


def weighted(x, seed=0):
    """Σ w x, with a weight of its own for each element."""
    xp = nnx.namespace_of(x)
    w = np.random.default_rng(seed).normal(size=x.shape).astype(str(x.dtype).rsplit(".")[-1])
    return xp.sum(x * nnx.asarray(w, device=nnx.backend.device_of(x)))


def during_grad(f, x=X):
    """What ``f`` answers of ``x`` while it is differentiated."""
    found = []

    def loss(x):
        found.append(f(x))
        return x[..., 0] if not x.shape else nnx.namespace_of(x).sum(x)

    nnx.vjp(loss, x)
    return found[0]
