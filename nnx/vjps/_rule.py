"""The forms in which the chapters write their rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Any

from nnx._precision import total
from nnx._typing import Array, DType, Namespace
from nnx.backend import dtype_kind, kernels_of
from nnx.tape.call import Joint
from nnx.tape.needs import Picker, shape_of
from nnx.tape.rule import Derivative, Rule

Formula = Callable[..., Array]


def rule(parameters: str, *, casts: bool = False, **derivatives: Formula) -> Rule:
    """The rule of a function with these positional parameters: ``rule("x axes", x=...)``.

    A parameter that callers may name, as in ``permute_dims(x, axes=...)``, needs a default in the
    formula.
    """
    found = {name: Derivative(formula) for name, formula in derivatives.items()}
    return Rule(tuple(parameters.split()), found, casts=casts)


def unary(formula: Formula) -> Rule:
    """The rule of an elementwise function of ``x``."""
    return rule("x", x=formula)


def binary(x1: Formula, x2: Formula) -> Rule:
    """The rule of an elementwise function of ``x1`` and ``x2``, which broadcast and promote."""
    derivatives = {"x1": Summed(x1), "x2": Summed(x2)}
    return Rule(("x1", "x2"), derivatives, promotes=True)


def sequence(formula: Formula) -> Rule:
    """The rule of a function of a sequence of arrays; ``position`` says which one it is by."""
    return Rule(("arrays",), {"arrays": Derivative(formula)}, promotes=True, sequence=True)


def joint(parameters: str, results: int | None, **derivatives: Formula) -> Rule:
    """The rule of a function of several results: ``y`` is their tuple, and ``g`` that of their gradients.

    The gradient of a result that was not used is ``None``. Where the number of results depends on the
    arguments (``None``), ``g`` is a dict of the gradients of those that were used, by index.
    """
    found = {name: Joint(results, formula) for name, formula in derivatives.items()}
    return Rule(tuple(parameters.split()), found, several=True)


class Summed(Derivative):
    """The derivative by an argument that was broadcast: the formula, summed over the copies."""

    __slots__ = ()

    def __init__(self, formula: Formula) -> None:
        super().__init__(formula)
        self.whole = Derivative(formula)

    def picker(self, parameters: Sequence[str], position: int) -> tuple[Picker, bool]:
        """The shape of the argument, and what the formula needs."""
        pick, of_options = super().picker(parameters, position)
        shape = shape_of(position)
        if of_options:
            return (lambda environment, options: (shape(environment), pick(environment, options))), True
        return (lambda environment: (shape(environment), pick(environment))), False

    def pull(self, xp: Namespace, g: Array, needs: tuple[Any, ...]) -> Array:
        shape, others = needs
        return unbroadcast(xp, super().pull(xp, g, others), shape)


def unbroadcast(xp: Namespace, g: Array, shape: tuple[int, ...]) -> Array:
    """Sum ``g`` over the axes along which an array of ``shape`` was repeated."""
    return g if g.shape == shape else kernels_of(xp).get("summed_to", summed_to)(xp, g, shape)


def summed_to(xp: Namespace, g: Array, shape: tuple[int, ...]) -> Array:
    """The sum of ``g`` that has ``shape``: over its first axes, and over those for which ``shape`` has length 1."""
    extra = len(g.shape) - len(shape)
    if g.shape[extra:] == shape:
        return total(xp, g, tuple(range(extra)))
    repeated = [axis + extra for axis, n in enumerate(shape) if n == 1 and g.shape[axis + extra] != 1]
    return xp.reshape(total(xp, g, (*range(extra), *repeated)), shape)


def restore(
    xp: Namespace, g: Array, shape: tuple[int, ...], axis: int | tuple[int, ...] | None, keepdims: bool
) -> Array:
    """Give a reduced ``g`` its reduced axes back, with length 1."""
    if keepdims:
        return g
    reduced = reduced_axes(shape, axis)
    return xp.reshape(g, tuple(1 if a in reduced else n for a, n in enumerate(shape)))


def count(shape: tuple[int, ...], axis: int | tuple[int, ...] | None) -> int:
    """How many elements a reduction over ``axis`` puts together."""
    return prod(shape[a] for a in reduced_axes(shape, axis))


def reduced_axes(shape: tuple[int, ...], axis: int | tuple[int, ...] | None) -> list[int]:
    """The axes that a reduction over ``axis`` takes away, in order, counted from the first."""
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    return sorted(a % len(shape) for a in axes) if shape else []


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The permutation that takes back the permutation ``order``."""
    return tuple(sorted(range(len(order)), key=lambda i: order[i]))


def raw(xp: Namespace) -> Namespace:
    """The library's own namespace, beneath ``xp`` if that is differentiable."""
    beneath: Namespace = getattr(xp, "raw", xp)
    return beneath


def is_complex(xp: Namespace, dtype: DType) -> bool:
    """Whether a dtype is one of complex numbers."""
    return dtype_kind(raw(xp), dtype) == "complex floating"


def cast(xp: Namespace, g: Array, dtype: DType) -> Array:
    """``g`` in a dtype of floats. Of a complex gradient a real argument gets the real part."""
    if is_complex(xp, g.dtype) and not is_complex(xp, dtype):
        g = xp.real(g)
    return xp.astype(g, dtype, copy=False)


def conj(xp: Namespace, x: Array) -> Array:
    """The conjugate, which a real array is itself."""
    return xp.conj(x) if is_complex(xp, x.dtype) else x


def adjoint(xp: Namespace, x: Array) -> Array:
    """The conjugate transpose of matrices, Xᴴ."""
    return conj(xp, xp.matrix_transpose(x))


def or_inf(xp: Namespace, x: Array) -> Array:
    """``x`` with inf for 0, as a divisor for what is 0 itself at a 0 of ``x``, and is to stay so."""
    return xp.where(x == 0, xp.full_like(x, inf), x)
