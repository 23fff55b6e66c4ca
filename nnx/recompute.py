"""Functions that are computed again on the walk back, so that nothing in between is kept."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nnx import tree
from nnx._errors import DifferentiationError
from nnx._step import flatten, is_float_array, step
from nnx._trace import Trace, companion
from nnx._typing import Array, Tree
from nnx.random import Generator
from nnx.tape.call import Pull
from nnx.tape.node import CONSTANT
from nnx.tape.primitive import constants, held, same
from nnx.tape.tracked import Tracked


def remat(f: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that keeps its arguments for the walk back, and computes the rest a second time.

    The values and gradients are those of ``f``. What ``f`` computes on the way is freed when it
    returns, and computed again when its gradient is needed: for a chain of n equal steps in √n such
    functions, memory grows as √n instead of n, for one more evaluation of ``f`` (checkpointing;
    Griewank and Walther, Evaluating Derivatives, 2008, chapter 12; Chen, Xu, Zhang and Guestrin,
    "Training deep nets with sublinear memory cost", arXiv:1604.06174, 2016). It may be nested.

    Args:
        f: a function of arrays, models, and lists, tuples and dicts of these, that answers arrays
            in lists, tuples and dicts; or a model, or a method of one. It must answer the same when
            it is called again: random numbers come from modules such as ``nnx.Dropout``, which draw
            the same mask, not from an ``nnx.Generator``. Inside a model, write
            ``nnx.remat(self.block)(x)`` where it is called; to keep what it answers as an attribute
            would hide the parameters of the block. Where it assigns to a part of an argument, it alone
            sees the change.

    Returns:
        A function with the arguments of ``f``. Buffers that ``f`` rebinds are rebound once.

    Raises:
        DifferentiationError: ``f`` holds a model, or uses a tracked array, that is not among its
            arguments; it is given an ``nnx.Generator``; or it answered other arrays when it was
            called again.

    >>> import nnx
    >>> nnx.grad(nnx.remat(lambda x: x * x * x))(2.0)
    np.float32(12.0)
    """
    name = getattr(f, "__name__", type(f).__name__)
    owner = f if _is_model(f) else getattr(f, "__self__", None)
    if not _is_model(owner):
        owner = None
        _require_nothing_that_changes(name, _held(f))

    @functools.wraps(f, updated=())
    def call(*args: Any, **options: Any) -> Any:
        leaves, rebuild = flatten((owner, args, options))
        _require_nothing_that_changes(name, leaves)

        def compute(new: Sequence[Any]) -> Tree:
            """What ``f`` answers, and the buffers that it has rebound in each model."""
            # what is tracked outside is so inside, or an assignment to a part of it would change the raw array
            stand_ins = [
                constants(xp, a) if was and type(a) is not Tracked else companion(a, xp)
                for was, a in zip(were_tracked, new, strict=True)
            ]
            copies = copy, copied_args, copied_options = rebuild(stand_ins)
            models = _models(copies)
            before = [{name: held(array) for name, array in model.buffers().items()} for model in models]
            if copy is None:
                y = f(*copied_args, **copied_options)
            else:
                y = getattr(f, "__func__", type(copy).__call__)(copy, *copied_args, **copied_options)
            rebound = [_rebound(*each) for each in zip(models, before, strict=True)]
            return tree.map_leaves(_without_constants, (y, rebound))

        xp = next((a.xp for a in leaves if type(a) is Tracked and a.node.level > 0), None)
        if xp is None:
            return f(*args, **options)
        were_tracked = [type(a) is Tracked for a in leaves]
        pull_back = functools.partial(_pull_back, name, compute)
        y, buffers = step(f"{name}()", compute, leaves, pull_back)
        for model, rebound in zip(_models((owner, args, options)), buffers, strict=True):
            for path, array in rebound.items():
                module, _, attribute = path.rpartition(".")
                setattr(model.modules()[module], attribute, array)
        return y

    return call


def _pull_back(
    name: str, compute: Callable[[Sequence[Any]], Tree], values: Sequence[Any], places: Sequence[int], y: Tree
) -> Pull:
    del y  # it is not kept
    values = tuple(values)

    def pull(found: Mapping[int, Array]) -> Sequence[Array]:
        trace = Trace(training=False)  # models keep the mode that they were called in
        others = [None if place in places else held(a) for place, a in enumerate(values)]
        (floats, leaves), _ = trace.track_arguments(([values[place] for place in places], others), 0)
        for place, a in zip(places, floats, strict=True):
            leaves[place] = a
        results = [v for v in tree.leaves(compute(leaves)) if is_float_array(v)]
        roots = []
        for k, g in found.items():
            v = results[k] if k < len(results) else None
            if v is None or v.shape != g.shape or v.dtype != g.dtype:
                raise DifferentiationError(
                    f"{name}() answered other arrays when it was called again for its gradient: a function that is "
                    "given to nnx.remat() must answer the same each time"
                )
            if type(v) is Tracked and v.node.level == trace.level:
                outer = type(v.value) is Tracked and type(g) is not Tracked
                roots.append((v.node, constants(v.xp, g) if outer else g))
        (gradients,) = trace.gradients(roots, release=True)
        return gradients  # type: ignore[no-any-return]

    return pull


def _is_model(x: Any) -> bool:
    return hasattr(x, "_twin") and not isinstance(x, type)


def _models(x: Tree) -> list[Any]:
    return [leaf for leaf in tree.leaves(x) if _is_model(leaf)]


def _held(f: Callable[..., Any]) -> Iterator[Any]:
    """What a function takes from where it was made, beside its arguments."""
    if isinstance(f, functools.partial):
        yield from tree.leaves([f.func, list(f.args), f.keywords])
    for cell in getattr(f, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # the name has no value yet
            yield from tree.leaves(cell.cell_contents)
    yield from tree.leaves(list(getattr(f, "__defaults__", None) or ()))


def _require_nothing_that_changes(name: str, held: Iterable[Any]) -> None:
    """Raise at what would be changed by one call of the function, and so make the next one differ."""
    for x in held:
        if _is_model(x) or _is_model(getattr(x, "__self__", None)):
            raise DifferentiationError(
                f"nnx.remat() got a function, {name}, that holds a model: pass the model as an argument, as in "
                "nnx.remat(lambda block, x: block(x) + x)(self.block, x), or give nnx.remat() the model or its method"
            )
        if isinstance(x, Generator):
            raise DifferentiationError(
                f"nnx.remat() got a function, {name}, that is given an nnx.Generator, which would draw other numbers "
                "when the function is called again: pass the numbers as an argument"
            )


def _rebound(model: Any, before: Mapping[str, Array]) -> dict[str, Array | None]:
    """The buffers that are other arrays than before, by path; ``None`` for one that is gone."""
    after = model.buffers()
    gone = dict.fromkeys(before.keys() - after.keys())
    return {name: array for name, array in after.items() if not same(array, before.get(name))} | gone


def _without_constants(x: Any) -> Any:
    while type(x) is Tracked and x.node is CONSTANT:
        x = x.value
    return x
