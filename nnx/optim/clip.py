"""Gradients scaled down to a norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnx._arguments import positive
from nnx._typing import Array, Namespace
from nnx.backend import activating, namespace_of
from nnx.ops._op import replaceable

EPSILON = 1e-6
"""Added to the norm, so that gradients of zero stay zero."""


def squared_norm(xp: Namespace, gradients: Sequence[Array]) -> Array:
    """Σ g² over all elements of ``gradients``, of one dtype: a 0-d array of that dtype."""
    return sum((xp.sum(g * g) for g in gradients[1:]), start=xp.sum(gradients[0] * gradients[0]))


def global_norm(xp: Namespace, groups: Sequence[Sequence[Array]]) -> Array:
    """The Euclidean norm over groups of arrays, each group of one dtype, as a 0-d array of the widest."""
    squares = [_squared_norm(xp, group) for group in groups]
    if len(squares) > 1:
        widest = xp.result_type(*squares)
        squares = [xp.astype(square, widest) for square in squares]
    return xp.sqrt(sum(squares[1:], start=squares[0]))


def clip_scale(xp: Namespace, norm: Array, max_norm: float) -> Array:
    """min(1, max_norm / (norm + 10⁻⁶)), as a 0-d array; NaN stays NaN."""
    return xp.minimum(max_norm / (norm + EPSILON), 1.0)


def unless_negative(xp: Namespace, scale: Array, g: Array, rate: Array, *kept: float) -> tuple[Array, ...]:
    """What makes an update one that changes nothing, where ``scale`` is negative: one pass over ``g``, no wait.

    Returns:
        ``g`` or zeros, ``rate`` or 0, and each share of the state that is ``kept``, or 1.
    """
    if isinstance(scale, float):
        return (g, rate, *kept) if scale >= 0 else (xp.zeros_like(g), 0.0, *(1.0 for _ in kept))
    skipped = scale < 0

    def choose(a: float, b: Array) -> Array:
        # of two Python numbers `where` would make an array of the default dtype
        return xp.where(skipped, a, b) if hasattr(b, "dtype") else xp.where(skipped, xp.full_like(scale, a), b)

    return (choose(0.0, g), choose(0.0, rate), *(choose(1.0, share) for share in kept))


@activating
def clip_by_norm(grads: Mapping[str, Array], max_norm: float) -> tuple[dict[str, Array], Array]:
    """Scale gradients so that their norm over all arrays together is at most ``max_norm``.

        norm = sqrt(Σ g²),   g ← g · min(1, max_norm / (norm + 10⁻⁶))

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013,
    algorithm 1; the 10⁻⁶ is that of ``torch.nn.utils.clip_grad_norm_``. An optimiser does the same with
    ``clip_norm=``, in fewer passes.

    Args:
        grads: arrays by name, as :func:`nnx.value_and_grad` answers them.
        max_norm: greater than 0.

    Returns:
        New arrays of the same shapes and dtypes, and the norm before scaling, a 0-d array. Nothing
        waits for the device.

    Raises:
        ArgumentError: ``max_norm`` is not greater than 0.
        MixedLibrariesError: there are no gradients, or they belong to two libraries.
    """
    max_norm = positive("max_norm", max_norm)
    xp = namespace_of(*grads.values())
    groups: dict[str, list[Array]] = {}
    for g in grads.values():
        groups.setdefault(str(g.dtype), []).append(g)
    norm = global_norm(xp, list(groups.values()))
    scale = clip_scale(xp, norm, max_norm)
    return {name: g * xp.astype(scale, g.dtype) for name, g in grads.items()}, norm


_squared_norm = replaceable(squared_norm)
