"""Activations and their adjoints, one launch each."""

from __future__ import annotations

import functools
import inspect
from importlib import import_module
from typing import Any

from nnx._arguments import positive
from nnx._typing import Array, Kernel
from nnx.ops import gated, rectifier, sigmoidal
from nnx_cupy.kernels._map import mapped
from nnx_cupy.kernels._source import Source

erf = import_module("nnx.ops.erf")  # the attribute `erf` of nnx.ops is the op
RECTIFIER, GATED, SIGMOIDAL = (Source(name, "map", "activation") for name in ("rectifier", "gated", "sigmoidal"))


def fused(source: Source, reference: Kernel) -> Kernel:
    """The kernel of the name of ``reference``, which takes what that takes: arrays, then options with defaults."""
    name: str = reference.__name__
    parameters = list(inspect.signature(reference).parameters.values())[1:]
    options = {p.name: p.default for p in parameters if p.default is not p.empty}
    kinds = [type(default) for default in options.values()]
    count = len(parameters) - len(options)

    @functools.wraps(reference)
    def kernel(xp: Any, *args: Any, **given: Any) -> Array:
        arrays, values = args[:count], args[count:]
        if options and not values and given.keys() <= options.keys():
            values = tuple((options | given).values())
        y = None
        if len(arrays) == count and len(values) == len(kinds) and (options or not given):
            numbers = tuple([kind(value) for kind, value in zip(kinds, values, strict=True)])
            y = mapped(xp, source, name, *arrays, options=numbers)
        return reference(xp, *args, **given) if y is None else y

    return kernel


_celu, _hard_tanh = fused(RECTIFIER, rectifier.celu_forward), fused(SIGMOIDAL, sigmoidal.hard_tanh_forward)


def celu_forward(xp: Any, x: Array, *, alpha: float = 1.0) -> Array:
    """One launch, for an alpha that makes sense."""
    return _celu(xp, x, alpha=positive("alpha of celu", alpha))


def hard_tanh_forward(xp: Any, x: Array, *, low: float = -1.0, high: float = 1.0) -> Array:
    """One launch, for bounds that make sense."""
    return (_hard_tanh if low < high else sigmoidal.hard_tanh_forward)(xp, x, low=low, high=high)


_REFERENCES = {
    RECTIFIER: [
        rectifier.relu_forward, rectifier.relu_x, rectifier.relu6_forward, rectifier.relu6_x,
        rectifier.leaky_relu_forward, rectifier.leaky_relu_x, rectifier.elu_forward, rectifier.elu_x,
        rectifier.selu_forward, rectifier.selu_x, rectifier.celu_x,
    ],
    GATED: [
        gated.gelu_forward, gated.gelu_x, gated.silu_forward, gated.silu_x, gated.mish_forward, gated.mish_x,
        gated.hard_swish_forward, gated.hard_swish_x,
    ],
    SIGMOIDAL: [
        sigmoidal.sigmoid_forward, sigmoidal.sigmoid_x, sigmoidal.tanh_forward, sigmoidal.tanh_x,
        sigmoidal.softplus_forward, sigmoidal.softplus_x, sigmoidal.log_sigmoid_forward, sigmoidal.log_sigmoid_x,
        sigmoidal.log_cosh_forward, sigmoidal.log_cosh_x, sigmoidal.softsign_forward, sigmoidal.softsign_x,
        sigmoidal.hard_sigmoid_forward, sigmoidal.hard_sigmoid_x, sigmoidal.hard_tanh_x, erf.erf_forward, erf.erf_x,
    ],
}  # fmt: skip

KERNELS: dict[str, Kernel] = {
    **{f.__name__: fused(source, f) for source, references in _REFERENCES.items() for f in references},
    "celu_forward": celu_forward,
    "hard_tanh_forward": hard_tanh_forward,
}
