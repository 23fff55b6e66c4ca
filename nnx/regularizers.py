"""Regularisers: functions ``model -> penalty`` that are added to a loss, and keep weights small.

They act on the parameters of two axes or more, which leaves biases and the scales of normalisation
layers out, or on those whose names match ``pattern``. Frozen parameters are never among them.

    nnx.Trainer(model, loss=..., optimizer=..., regularizer=nnx.regularizers.l2(1e-4))

does what a loss of one's own does with ``loss(model(x), y) + penalty(model)``.
"""

from __future__ import annotations

from collections.abc import Callable

from nnx import ops
from nnx._arguments import non_negative
from nnx._precision import wide
from nnx._select import Pattern, as_patterns, described, select
from nnx._typing import Array, Model, Namespace
from nnx.backend import activating, namespace_of

__all__ = ["elastic", "l1", "l2"]


class Regularizer:
    """A penalty: ``regularizer(model)`` answers an array of shape ().

    Args:
        text: its text form.
        pattern: names of the parameters that it acts on.
        l1, l2: the strengths of its parts; ``None`` for a part that it has not.
    """

    def __init__(self, text: str, pattern: Pattern, *, l1: float | None = None, l2: float | None = None) -> None:
        self._text = text
        self._patterns = as_patterns(pattern)
        self._parts: list[tuple[Callable[[Array], Array], float]] = []
        if l1 is not None:
            self._parts.append((ops.sum_abs, l1))
        if l2 is not None:
            self._parts.append((ops.sum_squares, 0.5 * l2))

    @activating
    def __call__(self, model: Model) -> Array:
        """The penalty of the model's parameters, in their widest dtype."""
        chosen = select(model.parameters(), self._patterns).values()
        xp = namespace_of(*chosen)
        return _sum(
            xp, [_sum(xp, [measure(wide(xp, w)) for w in chosen]) * strength for measure, strength in self._parts]
        )

    def __repr__(self) -> str:
        return self._text


def l1(strength: float, pattern: Pattern = None) -> Regularizer:
    """The L1 penalty λ Σ |w|, which makes weights 0: the derivative is λ sign(w), and 0 at 0.

    Tibshirani, "Regression shrinkage and selection via the lasso", Journal of the Royal Statistical
    Society B 58, 1996.

    Args:
        strength: λ ≥ 0.
        pattern: names of parameters, with ``*`` and ``?``; one, or a list of them.

    Raises:
        ArgumentError: the strength is negative; (when it is called) a pattern matches no parameter.

    >>> import nnx
    >>> penalty = nnx.regularizers.l1(0.5)
    >>> penalty(nnx.Linear(3, 2, weight_init=nnx.init.ones))
    np.float32(3.0)
    """
    value = non_negative("strength", strength)
    return Regularizer(_text("l1", pattern, strength), pattern, l1=value)


def l2(strength: float, pattern: Pattern = None) -> Regularizer:
    """The L2 penalty ½ λ Σ w², which keeps weights small and even: the derivative is λ w.

    Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems", Technometrics
    12, 1970. The ½ is that of the course CS231n, and of the ``weight_decay`` of optimisers: with plain
    SGD the two are the same, but for what they act on. Some libraries leave the ½ out: halve their
    strength to get this one's.

    Args:
        strength: λ ≥ 0.
        pattern: names of parameters, with ``*`` and ``?``; one, or a list of them.

    Raises:
        ArgumentError: the strength is negative; (when it is called) a pattern matches no parameter.

    >>> import nnx
    >>> penalty = nnx.regularizers.l2(0.5)
    >>> penalty(nnx.Linear(3, 2, weight_init=nnx.init.ones))
    np.float32(1.5)
    """
    value = non_negative("strength", strength)
    return Regularizer(_text("l2", pattern, strength), pattern, l2=value)


def elastic(l1: float, l2: float, pattern: Pattern = None) -> Regularizer:
    """The elastic net λ₁ Σ |w| + ½ λ₂ Σ w²: the sum of :func:`l1` and :func:`l2`.

    Zou and Hastie, "Regularization and variable selection via the elastic net", Journal of the Royal
    Statistical Society B 67, 2005. Departure: the ½ of :func:`l2`.

    Args:
        l1: λ₁ ≥ 0.
        l2: λ₂ ≥ 0.
        pattern: names of parameters, with ``*`` and ``?``; one, or a list of them.

    Raises:
        ArgumentError: a strength is negative; (when it is called) a pattern matches no parameter.
    """
    values = {"l1": non_negative("l1", l1), "l2": non_negative("l2", l2)}
    return Regularizer(_text("elastic", pattern, l1, l2), pattern, **values)


def _text(name: str, pattern: Pattern, *strengths: float) -> str:
    return described(f"nnx.regularizers.{name}", *strengths, pattern=pattern)


def _sum(xp: Namespace, terms: list[Array]) -> Array:
    """The sum of 0-d arrays, in the widest of their dtypes."""
    if any(term.dtype != terms[0].dtype for term in terms):
        dtype = xp.result_type(*terms)
        terms = [xp.astype(term, dtype) for term in terms]
    return sum(terms[1:], start=terms[0])
