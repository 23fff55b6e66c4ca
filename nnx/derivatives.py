"""Jacobians, Hessians, and their products with vectors, by pull-backs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

from nnx import tree
from nnx._errors import DifferentiationError, DTypeError, ShapeError
from nnx._typing import Array, DType, Namespace, Tree
from nnx.backend import activating, dtype_kind, is_array, is_float, namespace_of, native_device
from nnx.grad import grad, pull_back, vjp
from nnx.tape.tracked import Tracked


def jvp(
    f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], *, training: bool = True
) -> tuple[Any, Any]:
    """Answer ``f(*primals)`` and the product of its Jacobian with the tangents: a derivative along a line.

    ẏ = Σᵢ (∂f/∂xᵢ) ẋᵢ. The pull-back g ↦ gᵀ ∂f/∂x is linear in g, so its own pull-back is the
    transpose of the transpose (Townsend, "A new trick for calculating Jacobian vector products",
    2017). The cost is a small multiple of that of ``f``, however many results there are.

    Args:
        f: a function of ``primals`` that answers an array, or lists, tuples and dicts of arrays.
        primals: as those of :func:`nnx.vjp`.
        tangents: one for each primal, with its structure, shapes and dtypes: that of its gradient,
            so a dict from parameter name to array for a model. Numbers will do for shape ``()``.
        training: the mode of the models among ``primals``.

    Returns:
        ``(value, tangent)``; the tangent has the structure, shapes and dtypes of the value. It is
        zeros for arrays of integers and booleans, and ``None`` for what is no array.

    Raises:
        ShapeError, DTypeError, DifferentiationError: a tangent does not fit its primal.

    >>> import nnx
    >>> nnx.jvp(lambda x: x**3, (2.0,), (1.0,))
    (np.float32(8.0), np.float32(12.0))
    """
    primals, tangents = _several("primals", primals), _several("tangents", tangents)
    value, pull = vjp(f, *primals, training=training)
    # where the pull-back is taken does not matter, since it is linear
    gradients, push = vjp(lambda g: pull(_put_floats(value, g)), [_zeros(y) for y in tree.leaves(value) if _varies(y)])
    (pushed,) = push(_fitting("tangent", gradients, tangents))
    return value, _put_floats(value, pushed)


def hvp(
    f: Callable[..., Any], primals: Sequence[Any], vectors: Sequence[Any], *, training: bool = True
) -> tuple[Any, ...]:
    """Answer the product of the Hessian of a scalar function with vectors, without the Hessian.

    (Hv)ᵢ = Σⱼ (∂²f/∂xᵢ∂xⱼ) vⱼ, as the pull-back of the gradient, since H is symmetric (Christianson,
    "Automatic Hessians by reverse accumulation", IMA Journal of Numerical Analysis 12, 1992; Pearlmutter,
    "Fast exact multiplication by the Hessian", Neural Computation 6, 1994, has it forward). The cost
    is a small multiple of that of ``f``. For complex numbers, too, Hv is the derivative of the gradient
    along v.

    Args:
        f: a function that answers one floating-point number, an array of shape ``()``.
        primals: as those of :func:`nnx.vjp`.
        vectors: one for each primal, as the tangents of :func:`jvp`.
        training: the mode of the models among ``primals``.

    Returns:
        A tuple with Hv for each primal, of the structure, shapes and dtypes of its vector.

    Raises:
        ShapeError, DTypeError, DifferentiationError: a vector does not fit its primal, or ``f`` answered no
            scalar.

    >>> import nnx
    >>> nnx.hvp(lambda x, y: x**2 * y, (3.0, 2.0), (1.0, 0.0))
    (np.float32(4.0), np.float32(6.0))
    """
    primals, vectors = _several("primals", primals), _several("vectors", vectors)
    gradient, pull = vjp(grad(f, range(len(primals)), training=training), *primals, training=training)
    return pull(_fitting("vector", gradient, vectors))  # type: ignore[no-any-return]


def jacobian(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, *, has_aux: bool = False, training: bool = True
) -> Callable[..., Any]:
    """Make a function that answers the Jacobian of ``f``: J[i…, j…] = ∂yᵢ… / ∂xⱼ….

    A row at a time, by one walk back for each element of y: for few results and many inputs. For
    products with J alone, use :func:`jvp` or :func:`nnx.vjp`, which do not make it.

    Args:
        f: a function that answers an array of real floats, or lists, tuples and dicts of them.
        argnums: as that of :func:`nnx.grad`.
        has_aux: ``f`` answers ``(value, aux)``.
        training: the mode of the models in ``argnums``.

    Returns:
        A function that answers, for arrays y and x, an array of shape ``y.shape + x.shape`` and of
        the dtype of x. Otherwise it is nested: the structure of the value outside, that of the
        gradient (see :func:`nnx.grad`) inside. With ``has_aux``, ``(jacobian, aux)``.

    Raises:
        DTypeError: ``f`` answered an array that is not of real floats.
        DifferentiationError: ``f`` answered something that is no array.

    >>> import nnx
    >>> x = nnx.asarray([1.0, 2.0], dtype="float32")
    >>> nnx.jacobian(lambda x: x * x)(x)
    array([[2., 0.],
           [0., 4.]], dtype=float32)
    """

    @functools.wraps(f)
    def differentiated(*args: Any, **options: Any) -> Any:
        several = isinstance(argnums, Iterable)
        chosen = tuple(argnums) if isinstance(argnums, Iterable) else (argnums,)
        value, pull, aux = pull_back(f, args, options, chosen, has_aux=has_aux, training=training)
        tree.map_leaves(_require_floats, value)
        rows = functools.partial(_rows, value, pull if several else lambda g: pull(g)[0])
        count = iter(range(len(tree.leaves(value))))
        found = tree.map_leaves(lambda y: rows(next(count), y), value)
        return (found, aux) if has_aux else found

    return differentiated


def hessian(f: Callable[..., Any], argnums: int | Sequence[int] = 0, *, training: bool = True) -> Callable[..., Any]:
    """Make a function that answers the Hessian of a scalar function: H[i…, j…] = ∂²f / ∂xᵢ… ∂xⱼ….

    The Jacobian of the gradient. For products with H alone, use :func:`hvp`, which does not make it.

    Args:
        f: a function that answers one floating-point number, an array of shape ``()``.
        argnums: as that of :func:`nnx.grad`.
        training: the mode of the models in ``argnums``.

    Returns:
        A function that answers, for an array x, an array of shape ``x.shape + x.shape`` and of the
        dtype of x. Otherwise it is nested, as the gradient (see :func:`nnx.grad`) of a gradient is:
        ``hessian(f, (0, 1))(x, y)[0][1]`` is ∂²f/∂x∂y.

    Raises:
        DifferentiationError: ``f`` answered no scalar.
        DTypeError: an argument is complex, whose second derivatives are no array of that shape.

    >>> import nnx
    >>> nnx.hessian(lambda x, y: x**2 * y, (0, 1))(3.0, 2.0)
    ((array(4., dtype=float32), array(6., dtype=float32)), (array(6., dtype=float32), array(0., dtype=float32)))
    """
    return jacobian(grad(f, argnums, training=training), argnums, training=training)


@activating
def _rows(value: Tree, pull: Callable[[Tree], Tree], place: int, y: Any) -> Tree:
    """The derivatives of one array of a value, stacked: a row is the pull-back of a unit cotangent."""
    if y is None:
        return None
    xp, n = _raw(y), prod(y.shape)
    index = xp.arange(n, device=native_device(y))

    def row(i: int) -> Tree:
        count = iter(range(len(tree.leaves(value))))
        unit = xp.reshape(xp.astype(index == i, y.dtype), y.shape)
        return pull(tree.map_leaves(lambda v: unit if next(count) == place else _zeros(v), value))

    if n == 0:
        like = pull(tree.map_leaves(_zeros, value))  # for the shapes alone
        return tree.map_leaves(lambda x: None if x is None else _stacked(y.shape, [x], 0), like)
    return tree.map_leaves(lambda *xs: None if xs[0] is None else _stacked(y.shape, xs, n), *map(row, range(n)))


def _stacked(shape: tuple[int, ...], rows: Sequence[Array], n: int) -> Array:
    xp = next((x.xp for x in rows if type(x) is Tracked), None) or namespace_of(rows[0])
    return xp.reshape(xp.stack(rows)[:n, ...], (*shape, *rows[0].shape))


def _require_floats(y: Any) -> None:
    if y is not None and not is_array(y):
        raise DifferentiationError(
            f"a Jacobian is of an array, or of lists, tuples and dicts of arrays; the function answered a "
            f"{type(y).__name__}: use has_aux=True to answer other values beside it"
        )
    if y is not None and dtype_kind(_raw(y), y.dtype) != "real floating":
        raise DTypeError(
            f"a Jacobian is of arrays of real floats; the function answered one of dtype {y.dtype}: "
            + (
                "answer its real and imaginary parts, or use nnx.vjp, nnx.jvp or nnx.hvp"
                if is_float(_raw(y), y.dtype)
                else "use has_aux=True to answer it beside the others"
            )
        )


def _raw(x: Array) -> Any:
    return x.xp.raw if type(x) is Tracked else namespace_of(x)


def _varies(x: Any) -> bool:
    """Whether ``x`` is an array that has a tangent: one of floats."""
    return is_array(x) and is_float(_raw(x), x.dtype)


def _zeros(x: Any) -> Any:
    return namespace_of(x).zeros_like(x) if is_array(x) else None


def _put_floats(value: Tree, floats: Sequence[Array]) -> Tree:
    """``value`` with the arrays of floats replaced, and other arrays by zeros."""
    them = iter(floats)
    return tree.map_leaves(lambda y: next(them) if _varies(y) else _zeros(y), value)


def _several(what: str, them: Any) -> Sequence[Any]:
    if not isinstance(them, (tuple, list)):
        raise DifferentiationError(
            f"{what} are a tuple with one entry for each argument of the function, such as (x,); got a "
            f"{type(them).__name__}"
        )
    return them


def _fitting(what: str, expected: Tree, got: Tree) -> Tree:
    """``got`` with numbers made arrays, in the structure of ``expected``, which it must have."""
    if isinstance(expected, dict):
        if not isinstance(got, dict) or got.keys() != expected.keys():
            names = ", ".join(map(repr, expected))
            raise DifferentiationError(
                f"a {what} of a dict or a model is a dict with the keys {names}; got {_kind(got)}"
            )
        return {key: _fitting(what, item, got[key]) for key, item in expected.items()}
    if isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(expected):
            raise DifferentiationError(
                f"a {what} was expected as a {type(expected).__name__} of {len(expected)}; got {_kind(got)}"
            )
        items = [_fitting(what, *each) for each in zip(expected, got, strict=True)]
        return tree.sequence(type(expected), items)
    if expected is None:
        if got is not None:
            raise DifferentiationError(f"the {what} of None is None; got {_kind(got)}")
        return None
    if _is_number(got, expected.dtype, _raw(expected)) and expected.shape == ():
        return _raw(expected).asarray(got, dtype=expected.dtype, device=native_device(expected))
    if not is_array(got):
        raise DTypeError(f"a {what} is an array of dtype {expected.dtype}, as its primal; got {_kind(got)}")
    if got.shape != expected.shape:
        raise ShapeError(
            f"a {what} of shape {tuple(expected.shape)} was expected, as its primal; got {tuple(got.shape)}"
        )
    if got.dtype != expected.dtype:
        raise DTypeError(f"a {what} of dtype {expected.dtype} was expected, as its primal; got {got.dtype}")
    return got


def _is_number(x: Any, dtype: DType, xp: Namespace) -> bool:
    """Whether ``x`` is a Python number that an array of ``dtype`` can hold."""
    return type(x) in (float, int) or (type(x) is complex and dtype_kind(xp, dtype) == "complex floating")


def _kind(x: Any) -> str:
    if isinstance(x, dict):
        return f"a dict with the keys {', '.join(map(repr, x)) or 'none'}"
    return f"a {type(x).__name__} of {len(x)}" if isinstance(x, (list, tuple)) else f"a {type(x).__name__}"
