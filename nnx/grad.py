"""Gradients of functions of arrays, of nested lists and dicts of arrays, and of models."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnx import tree
from nnx._errors import ArgumentError, DifferentiationError, DTypeError, ShapeError
from nnx._precision import in_dtype, require_precision, wide
from nnx._trace import Trace
from nnx._typing import Array, DType, Namespace, Tree
from nnx.backend import dtype_kind, is_array, is_float, library_of, namespace_of
from nnx.tape.node import Node
from nnx.tape.primitive import constants, held, untracked
from nnx.tape.tracked import Tracked


def value_and_grad(
    f: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
    training: bool = True,
    precision: str | None = None,
    loss_scale: Any = None,
) -> Callable[..., tuple[Any, Any]]:
    r"""Make a function that answers the value of ``f`` and its gradient ∂f/∂x.

    By reverse accumulation: one walk back costs a small multiple of ``f``, however many inputs there
    are (Baydin et al., "Automatic differentiation in machine learning: a survey", JMLR 18, 2018).

    The gradient by a complex z = x + iy is ∂f/∂x - i ∂f/∂y, as in JAX. ``f`` rises most steeply in the
    direction of its conjugate, so a step of descent is ``z - rate * xp.conj(gradient)``.

    Args:
        f: a function that answers one real floating-point number, an array of shape ``()``.
        argnums: which positional argument or arguments to differentiate by. Each is an array of
            real or complex floats, a model, or lists, tuples and dicts of these.
        has_aux: ``f`` answers ``(value, aux)``; so does the function made, with ``aux`` untracked.
        training: the mode of the models in ``argnums``. ``f`` gets a shallow copy of each, whose
            parameters are tracked. Buffers that the copy rebinds are written back when ``f`` and its
            gradient have succeeded; until then the models are as they were.
        precision: ``None`` for that of the arrays. ``"tf32"`` lets float32 products round their factors, on
            devices that have such products. In ``"bfloat16"`` and ``"float16"`` float32 parameters, and float32
            arrays in ``argnums``, have copies of that type in ``f``; value and gradients are float32.
        loss_scale: a :class:`nnx.optim.LossScale`, for ``"float16"``: the gradients come multiplied by it, and the
            optimiser that has it divides them. Buffers of floats stay as they are where the value is not finite.

    Returns:
        A function ``(...) -> (value, gradient)``, or ``((value, aux), gradient)``. The gradient has
        the structure of the argument; that of a model is a dict from parameter name to array. Each
        array has the shape, dtype and device of what it is by. Treat it as read-only: it may be a view,
        and two gradients may be one array; copy what you mean to change.

    Raises:
        DifferentiationError: ``f`` answered no scalar, or used something that has no derivative.
        DTypeError: an argument is not of a floating-point dtype, or, in a low precision, not float32.
        ArgumentError: there is no such precision, or the library of the arrays does not compute in it.

    >>> import nnx
    >>> nnx.value_and_grad(lambda x: x * x)(3.0)
    (np.float32(9.0), np.float32(6.0))
    """

    require_precision(precision)
    _require_scale(loss_scale)
    plain = precision is None and loss_scale is None

    @functools.wraps(f)
    def differentiated(*args: Any, **options: Any) -> tuple[Any, Any]:
        trace = Trace(training, precision)
        tracked, several = trace.track_arguments(args, argnums)
        with trace.activation():
            value, aux = _split(f(*tracked, **options), has_aux)
            _require_scalar(value)
            if not plain and is_array(value):
                value = wide(namespace_of(value), value)
            answer = trace.untrack(value)
            roots = []
            if type(value) is Tracked and value.node.level == trace.level:
                start = _one(value.xp, value.value) if loss_scale is None else _scaled(value, loss_scale)
                roots = [(value.node, start)]
            gradients = trace.gradients(roots, release=True)
            keep = None if loss_scale is None else _finite_keeper(answer)
            if has_aux:
                answer = answer, tree.map_leaves(trace.untrack, aux)
            trace.write_back(keep)
        return answer, tuple(gradients) if several else gradients[0]

    return differentiated


def grad(
    f: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
    training: bool = True,
    precision: str | None = None,
    loss_scale: Any = None,
) -> Callable[..., Any]:
    """Make a function that answers the gradient of ``f``; with ``has_aux``, ``(gradient, aux)``.

    Arguments and errors are those of :func:`value_and_grad`. Nest it for higher derivatives.

    >>> import nnx
    >>> nnx.grad(nnx.grad(lambda x: x**3))(2.0)
    np.float32(12.0)
    """
    both = value_and_grad(f, argnums, has_aux=has_aux, training=training, precision=precision, loss_scale=loss_scale)

    @functools.wraps(f)
    def differentiated(*args: Any, **options: Any) -> Any:
        value, gradient = both(*args, **options)
        return (gradient, value[1]) if has_aux else gradient

    return differentiated


def vjp(
    f: Callable[..., Any],
    *primals: Any,
    has_aux: bool = False,
    training: bool = True,
    precision: str | None = None,
) -> tuple[Any, ...]:
    """Answer ``f(*primals)`` and its pull-back: the product of a cotangent with the Jacobian.

    For complex numbers the pull-back is the transpose, without a conjugate: Re Σ g ẏ = Re Σ ḡ ẋ for the
    change ẏ of the value that a change ẋ makes, and the answer ḡ; so ḡ = g f'(z) where ``f`` is holomorphic.

    Args:
        f: a function of ``primals`` that answers an array, or lists, tuples and dicts of arrays.
        primals: as the arguments in ``argnums`` of :func:`value_and_grad`.
        has_aux: ``f`` answers ``(value, aux)``.
        training: the mode of the models among ``primals``.
        precision: as for :func:`value_and_grad`; the value has the dtype that ``f`` answers.

    Returns:
        ``(value, pull)`` or ``(value, pull, aux)``. ``pull(cotangent)``, with the structure, shapes
        and dtypes of ``value``, answers a tuple with the gradient of each primal, and may be called
        many times. It holds the arrays that the derivatives need, not copies of them: leave them as they are.

    Raises:
        ShapeError, DTypeError: a cotangent does not fit the value.
    """
    require_precision(precision)
    argnums = range(len(primals))
    answer, pull, aux = pull_back(f, primals, {}, argnums, has_aux=has_aux, training=training, precision=precision)
    return (answer, pull, aux) if has_aux else (answer, pull)


def pull_back(
    f: Callable[..., Any],
    args: Sequence[Any],
    options: Mapping[str, Any],
    argnums: Sequence[int],
    *,
    has_aux: bool,
    training: bool,
    precision: str | None = None,
) -> tuple[Any, Callable[[Tree], tuple[Any, ...]], Any]:
    """:func:`vjp` by some of the arguments: the value, its pull-back, and ``aux`` or ``None``."""
    trace = Trace(training, precision)
    tracked, _ = trace.track_arguments(args, argnums)
    with trace.activation():
        value, aux = _split(f(*tracked, **options), has_aux)
    answer = tree.map_leaves(trace.untrack, value)
    value = tree.map_leaves(held, value)
    trace.write_back()

    def pull(cotangent: Tree) -> tuple[Any, ...]:
        roots: list[tuple[Node, Array]] = []

        def root(y: Any, g: Any) -> None:
            if not is_array(y):
                return  # a number or None, which depends on nothing
            if not is_array(g):
                raise DTypeError(f"a cotangent is an array of dtype {y.dtype}, as the value; got a {type(g).__name__}")
            if g.shape != y.shape:
                raise ShapeError(f"a cotangent of shape {y.shape} was expected, as that of the value; got {g.shape}")
            if g.dtype != y.dtype:
                raise DTypeError(f"a cotangent of dtype {y.dtype} was expected, as that of the value; got {g.dtype}")
            if type(y) is Tracked and y.node.level == trace.level:
                outer = type(y.value) is Tracked and type(g) is not Tracked
                roots.append((y.node, constants(y.xp, g) if outer else g))

        tree.map_leaves(root, value, cotangent)
        with trace.activation():
            return tuple(trace.gradients(roots, release=False))

    return answer, pull, tree.map_leaves(trace.untrack, aux)


def stop_gradient(x: Tree) -> Tree:
    """Answer ``x`` as a constant: no gradient flows through it, at any level.

    Args:
        x: an array, or lists, tuples and dicts of arrays.

    Raises:
        DifferentiationError: ``x`` is or holds a model.
    """
    return tree.map_leaves(_stopped, x)


def _stopped(x: Any) -> Any:
    if hasattr(x, "_twin"):
        raise DifferentiationError(
            "stop_gradient() takes arrays, not a model: stop the gradient of what the model answers, "
            "freeze() its parameters, or leave it out of argnums"
        )
    return constants(x.xp, untracked(x)) if type(x) is Tracked else x


_ones: dict[tuple[type, DType], Array] = {}


def _one(xp: Namespace, y: Array) -> Array:
    """The derivative of a scalar by itself, made once where there is one device and it cannot be changed."""
    if type(y) is Tracked:
        return xp.ones_like(y)
    one = _ones.get((type(y), y.dtype))
    if one is None:
        one = xp.raw.ones_like(y)
        if library_of(y).one_device:
            one = one * 1  # a product of NumPy arrays of shape () is a constant scalar
            if not hasattr(one, "__setitem__"):
                _ones[type(y), y.dtype] = one
    return one


def _require_scale(loss_scale: Any) -> None:
    if loss_scale is not None and not hasattr(loss_scale, "claim"):
        raise ArgumentError(
            f"loss_scale is that of an optimiser, an nnx.optim.LossScale, or None; got {loss_scale!r}: make the "
            "optimiser with loss_scale=nnx.optim.LossScale(), and pass optimizer.loss_scale"
        )


def _scaled(value: Tracked, loss_scale: Any) -> Array:
    """The loss scale, as what the walk back starts from."""
    raw = untracked(value)
    start = in_dtype(namespace_of(raw), loss_scale.start(raw), raw.dtype)
    return constants(value.xp, start) if type(value.value) is Tracked else start


def _finite_keeper(value: Any) -> Callable[[Array, Array], Array] | None:
    """Chooses what a buffer of floats becomes: what it was, where the value of the function is not finite."""
    if not is_array(value):
        return None
    finite = namespace_of(value).isfinite(value)

    def keep(before: Array, after: Array) -> Array:
        if not is_array(before) or not is_array(after) or before.shape != after.shape or before.dtype != after.dtype:
            return after
        xp = namespace_of(before, after, finite)
        return xp.where(finite, after, before) if is_float(namespace_of(untracked(after)), after.dtype) else after

    return keep


def _split(result: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise DifferentiationError(
            f"with has_aux=True the function must answer (value, aux), not {type(result).__name__}"
        )
    return result


def _require_scalar(value: Any) -> None:
    if isinstance(value, float):
        return
    if not is_array(value):
        raise DifferentiationError(
            f"the function must answer one number, an array of shape (); it answered a {type(value).__name__}"
            + ("; use has_aux=True to answer other values beside it" if isinstance(value, tuple) else "")
        )
    if value.shape != ():
        raise DifferentiationError(
            f"the function must answer one number, an array of shape (); it answered shape {tuple(value.shape)}: "
            "reduce it with sum() or mean(), or use nnx.vjp"
        )
    xp = value.xp.raw if type(value) is Tracked else namespace_of(value)
    if dtype_kind(xp, value.dtype) != "real floating":
        raise DifferentiationError(
            f"the function must answer a real number; it answered dtype {value.dtype}"
            + ("; for the derivative of a complex function use nnx.vjp" if is_float(xp, value.dtype) else "")
        )
