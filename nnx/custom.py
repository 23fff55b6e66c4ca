"""Functions whose derivative the user writes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnx import tree
from nnx._errors import DifferentiationError, DTypeError, ShapeError
from nnx._step import flatten, is_float_array, step
from nnx._trace import companion
from nnx._typing import Array, Tree
from nnx.backend import namespace_of
from nnx.tape.call import Pull
from nnx.tape.namespace import carries
from nnx.tape.primitive import held, untracked
from nnx.tape.tracked import Tracked


def custom_vjp(f: Callable[..., Any], adjoint: Callable[..., Any]) -> Callable[..., Any]:
    r"""Make a function that computes as ``f`` does and is differentiated by ``adjoint``.

    For y = f(x₁, …, xₙ) the adjoint answers the products of a cotangent with the Jacobians,
    (gᵀ ∂y/∂x₁, …, gᵀ ∂y/∂xₙ). It is for derivatives that are known in a better form than the one
    that follows from the steps of ``f``: more stable, cheaper, or where ``f`` takes steps that nnx
    cannot follow. Second derivatives are those of the adjoint, which is to be written in functions
    of the standard, and may call the function made. That it fits ``f`` can be tested with
    :func:`nnx.testing.check_gradients`.

    Args:
        f: a function of arrays, or of lists, tuples and dicts of arrays, that answers the like. It
            gets plain arrays, to parts of which it must not assign. Every array by which there is a
            gradient is a positional argument: a tracked array that it holds otherwise raises, or, if it is of a
            differentiation further out, is differentiated by the steps of ``f``.
        adjoint: ``adjoint(g, y, *args, **options)`` answers a tuple with one entry for each of
            ``args``. An entry has the structure, shapes and dtypes of its argument; ``None``, for an
            argument or an array within it, stands for zeros, and for what is no array of floats.
            ``g`` has the structure, shapes and dtypes of ``y``, with ``None`` for what is no array
            of floats; ``y`` is what ``f`` answered. Complex gradients are as those of :func:`nnx.vjp`.

    Returns:
        A function with the arguments of ``f``. What ``args`` and ``y`` hold is kept until the walk back.

    Raises:
        ShapeError, DTypeError: (when the gradient is computed) an answer of the adjoint does not fit.
        DifferentiationError: the adjoint answered no such tuple; a model is among the arguments; a
            tracked array is a keyword argument, or is used by ``f``, beside tracked arguments, without being one.

    ``log(1 + exp(x))``, whose derivative by its steps is nan where ``exp(x)`` overflows:

    >>> import math, nnx
    >>> def softplus(x):
    ...     xp = nnx.namespace_of(x)
    ...     return xp.where(x > 30, x, xp.log1p(xp.exp(x)))
    >>> softplus = nnx.custom_vjp(softplus, lambda g, y, x: (g * nnx.sigmoid(x),))
    >>> nnx.grad(softplus)(0.0), nnx.grad(nnx.grad(softplus))(0.0)
    (np.float32(0.5), np.float32(0.25))
    """
    name = getattr(f, "__name__", type(f).__name__)

    @functools.wraps(f, updated=())
    def call(*args: Any, **options: Any) -> Any:
        if carries(options):
            raise DifferentiationError(
                f"{name}() got a tracked array as a keyword argument, for which its adjoint answers no gradient: "
                "make it a positional argument, or pass nnx.stop_gradient(...) of it"
            )
        tree.map_leaves(functools.partial(_refuse_model, name), args)
        leaves, rebuild = flatten(args)
        options = tree.map_leaves(_plain, options)

        def pull_back(values: Sequence[Any], places: Sequence[int], y: Tree) -> Pull:
            def pull(found: Mapping[int, Array]) -> list[Array]:
                xp = next((a.xp for a in (*found.values(), *values, *tree.leaves(y)) if type(a) is Tracked), None)
                inputs = [held(companion(a, xp)) for a in values]
                outputs = tree.map_leaves(lambda v: held(companion(v, xp)), y)
                g = _cotangent(outputs, {k: held(companion(c, xp)) for k, c in found.items()})
                answer = adjoint(g, outputs, *rebuild(inputs), **tree.map_leaves(lambda o: companion(o, xp), options))
                gradients = _Fitting(name).gradients(args_like=rebuild(inputs), answer=answer)
                return [companion(gradients[place], xp) for place in places]

            return pull

        return step(f"{name}()", lambda new: f(*rebuild(new), **options), leaves, pull_back)

    return call


def _plain(x: Any) -> Any:
    return untracked(x) if type(x) is Tracked else x


def _refuse_model(name: str, x: Any) -> None:
    if hasattr(x, "_twin"):
        raise DifferentiationError(
            f"{name}() has an adjoint of its own, which is by arrays, and got a {type(x).__name__}: pass the arrays of "
            "the model"
        )


def _cotangent(y: Tree, found: Mapping[int, Array]) -> Tree:
    """The gradient by ``y``: zeros for its arrays of floats to which no path leads."""
    count = iter(range(len(tree.leaves(y))))

    def by(v: Any) -> Any:
        if not is_float_array(v):
            return None
        k = next(count)
        return found[k] if k in found else namespace_of(v).zeros_like(v)

    return tree.map_leaves(by, y)


class _Fitting:
    """Brings what the adjoint of the function ``name`` answered into the order of the leaves."""

    def __init__(self, name: str) -> None:
        self._who = f"the adjoint of {name}()"
        self._found: list[Array | None] = []

    def gradients(self, *, args_like: tuple[Any, ...], answer: Any) -> list[Array | None]:
        """The gradient by each leaf; ``None`` for what is no array of floats."""
        if not isinstance(answer, tuple) or len(answer) != len(args_like):
            got = f"{len(answer)} entries" if isinstance(answer, tuple) else f"a {type(answer).__name__}"
            raise DifferentiationError(
                f"{self._who} must answer a tuple with one entry for each of {len(args_like)} arguments; it answered "
                + got
            )
        for i, (x, g) in enumerate(zip(args_like, answer, strict=True)):
            self._walk(x, g, f"argument {i}")
        return self._found

    def _walk(self, x: Tree, g: Tree, where: str) -> None:
        if isinstance(x, dict):
            if g is not None and (not isinstance(g, dict) or g.keys() != x.keys()):
                raise self._structure(x, g, where)
            for key, item in x.items():
                self._walk(item, None if g is None else g[key], f"{where}[{key!r}]")
        elif isinstance(x, (list, tuple)):
            if g is not None and (not isinstance(g, (list, tuple)) or len(g) != len(x)):
                raise self._structure(x, g, where)
            for i, item in enumerate(x):
                self._walk(item, None if g is None else g[i], f"{where}[{i}]")
        else:
            self._found.append(self._leaf(x, g, where))

    def _leaf(self, x: Any, g: Any, where: str) -> Array | None:
        if not is_float_array(x):
            if g is not None:
                raise DTypeError(
                    f"{self._who} answered a gradient by {where}, which is no array of floats: answer None"
                )
            return None
        if g is None:
            return namespace_of(x).zeros_like(x)
        shape, dtype = getattr(g, "shape", None), getattr(g, "dtype", None)
        if shape is None or dtype is None:
            raise DTypeError(f"{self._who} must answer an array by {where}, or None; it answered a {type(g).__name__}")
        if shape != x.shape:
            raise ShapeError(
                f"{self._who} must answer shape {tuple(x.shape)} by {where}, as that argument has; it answered shape "
                f"{tuple(shape)}: sum over the axes along which the argument was broadcast"
            )
        if dtype != x.dtype:
            raise DTypeError(
                f"{self._who} must answer dtype {x.dtype} by {where}, as that argument has; it answered {dtype}"
            )
        return g

    def _structure(self, x: Any, g: Any, where: str) -> DifferentiationError:
        return DifferentiationError(
            f"{self._who} must answer a {type(x).__name__} of {len(x)} by {where}, as that argument is; it answered a "
            f"{type(g).__name__}" + (f" of {len(g)}" if isinstance(g, (dict, list, tuple)) else "")
        )
