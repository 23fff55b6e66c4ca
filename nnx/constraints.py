"""Constraints: functions that bring the parameters of a model back to a set after an update.

They act on the parameters of two axes or more, which leaves biases and the scales of normalisation
layers out, or on those whose names match ``pattern``. Frozen parameters are never among them.

    nnx.Trainer(model, loss=..., optimizer=..., constraints=[nnx.constraints.max_norm(3.0)])

does what a loop of one's own does with ``constraint(model)`` after ``optimizer.update(model, grads)``.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

from nnx._arguments import positive
from nnx._errors import ArgumentError
from nnx._select import Pattern, as_patterns, described, select
from nnx._typing import Array, Model, Namespace
from nnx.backend import activating, namespace_of

__all__ = ["max_norm", "non_negative", "unit_norm"]

Axis = int | tuple[int, ...] | None
"""The axes of a unit's weights; ``None`` for all but the last one, which counts the units."""


class Constraint:
    """A projection: ``constraint(model)`` binds the model to the nearest arrays that satisfy it."""

    def __init__(self, text: str, pattern: Pattern, project: Callable[[Namespace, str, Array], Array]) -> None:
        self._text = text
        self._patterns = as_patterns(pattern)
        self._project = project

    @activating
    def __call__(self, model: Model) -> None:
        """Replace the model's parameters by their projections, which are new arrays."""
        chosen = select(model.parameters(), self._patterns)
        xp = namespace_of(*chosen.values())
        model._rebind({name: self._project(xp, name, array) for name, array in chosen.items()})

    def __repr__(self) -> str:
        return self._text


def max_norm(limit: float, axis: Axis = None, pattern: Pattern = None) -> Constraint:
    """Scale the incoming weights of each unit down to a norm: w ← w · min(1, limit / ‖w‖).

    Srebro and Shraibman, "Rank, trace-norm and max-norm", COLT 2005; Srivastava et al., "Dropout: a
    simple way to prevent neural networks from overfitting", JMLR 15, 2014, section 5.1, with limits of 3
    to 4.

    Args:
        limit: the largest Euclidean norm, greater than 0.
        axis: the axes of one unit's weights; ``None`` for all but the last, which are the incoming
            weights in a weight of shape (in, out) or (height, width, in, out).
        pattern: names of parameters, with ``*`` and ``?``; one, or a list of them.

    Raises:
        ArgumentError: the limit is not greater than 0; (when it is called) a pattern matches no
            parameter, or a parameter has no such axis.

    >>> import nnx
    >>> model = nnx.Linear(4, 2, weight_init=nnx.init.ones)
    >>> nnx.constraints.max_norm(1.0)(model)
    >>> model.weight[0]
    array([0.5, 0.5], dtype=float32)
    """
    limit, axes = positive("limit", limit), _as_axes(axis)

    def project(xp: Namespace, name: str, w: Array) -> Array:
        return w * (limit / xp.maximum(_norm(xp, name, w, axes), limit))

    return Constraint(_text("max_norm", limit, axis=axis, pattern=pattern), pattern, project)


def unit_norm(axis: Axis = None, pattern: Pattern = None) -> Constraint:
    """Scale the incoming weights of each unit to norm 1: w ← w / ‖w‖; weights that are all 0 stay so.

    Args:
        axis, pattern: as for :func:`max_norm`.

    Raises:
        ArgumentError: (when it is called) a pattern matches no parameter, or a parameter has no such axis.
    """
    axes = _as_axes(axis)

    def project(xp: Namespace, name: str, w: Array) -> Array:
        norm = _norm(xp, name, w, axes)
        return w / xp.where(norm > 0, norm, xp.ones_like(norm))

    return Constraint(_text("unit_norm", axis=axis, pattern=pattern), pattern, project)


def non_negative(pattern: Pattern = None) -> Constraint:
    """Set negative weights to 0: w ← max(w, 0).

    Args:
        pattern: names of parameters, with ``*`` and ``?``; one, or a list of them.

    Raises:
        ArgumentError: (when it is called) a pattern matches no parameter.
    """
    text = _text("non_negative", pattern=pattern)
    return Constraint(text, pattern, lambda xp, name, w: xp.maximum(w, 0.0))


def _text(name: str, *args: object, **options: object) -> str:
    return described(f"nnx.constraints.{name}", *args, **options)


def _as_axes(axis: Axis) -> tuple[int, ...] | None:
    if axis is None:
        return None
    axes = (axis,) if isinstance(axis, Integral) else axis
    if not isinstance(axes, tuple) or not axes or not all(isinstance(a, Integral) for a in axes):
        raise ArgumentError(f"axis is a whole number, a tuple of them, or None, got {axis!r}")
    return tuple(map(int, axes))


def _norm(xp: Namespace, name: str, w: Array, axes: tuple[int, ...] | None) -> Array:
    """The norms of the units, over axes which they keep with length 1."""
    rank = len(w.shape)
    if axes is None:
        axes = tuple(range(max(rank - 1, 0)))
    elif not all(-rank <= a < rank for a in axes):
        raise ArgumentError(f"{name} has shape {tuple(w.shape)}, and no axis {', '.join(map(str, axes))}")
    return xp.sqrt(xp.sum(w * w, axis=axes, keepdims=True))
