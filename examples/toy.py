"""Data in the plane for the examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import nnx


def spiral(per_class: int = 100, classes: int = 3, seed: int = 0) -> tuple[Any, Any]:
    """Arms of a spiral, as in the course CS231n: no line separates them.

    Returns:
        Points ``(classes * per_class, 2)`` of float32, and the number of the arm of each.
    """
    rng = np.random.default_rng(seed)
    radius = np.tile(np.linspace(0, 1, per_class), classes)
    labels = np.repeat(np.arange(classes), per_class)
    angle = np.concatenate([np.linspace(4 * k, 4 * (k + 1), per_class) for k in range(classes)])
    angle = angle + rng.normal(size=angle.shape) * 0.2
    points = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    return points.astype(np.float32), labels.astype(np.int32)


def moons(per_class: int = 100, noise: float = 0.25, seed: int = 0) -> tuple[Any, Any]:
    """Two half circles that reach into each other, with so much noise that some points are on the wrong side.

    Returns:
        Points ``(2 * per_class, 2)`` of float32, and the number of the half circle of each.
    """
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, np.pi, 2 * per_class)
    labels = np.repeat([0, 1], per_class)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    points = np.where(labels[:, None] == 0, upper, lower) + rng.normal(size=(2 * per_class, 2)) * noise
    return (points - [0.5, 0.25]).astype(np.float32), labels.astype(np.int32)


def grid(points: Any, margin: float = 0.3, steps: int = 200) -> tuple[Any, Any, Any]:
    """A grid over the plane: the coordinates along each axis, and all its points in rows, float32."""
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    across, up = (np.linspace(low[i], high[i], steps, dtype=np.float32) for i in (0, 1))
    return across, up, np.stack([a.reshape(-1) for a in np.meshgrid(across, up)], axis=1)


def scores(model: Any) -> Callable[[Any], Any]:
    """What a model answers, as a function from NumPy arrays to NumPy arrays."""
    return lambda points: nnx.to_numpy(model(nnx.asarray(points, device=model.device)))
