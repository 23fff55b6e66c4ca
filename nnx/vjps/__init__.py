"""Derivative rules of the Array API standard, a file for each of its chapters.

Every name of the standard (2025.12) is in exactly one group: it has a rule, or its results are
constants, or it makes arrays from none, or it is no function of arrays, or its rule is a gap that
raises. ``x[key]`` is the rule ``getitem``; ``asarray`` is written out in ``tape/namespace.py``.
"""

from __future__ import annotations

import functools

from nnx._typing import Namespace
from nnx.tape.namespace import DifferentiableNamespace, Table
from nnx.vjps import elementwise, indexing, linalg, linalg_extension, manipulation, statistical

_CREATION = """arange empty empty_like eye from_dlpack full full_like linspace ones ones_like zeros
zeros_like"""

_DTYPES = """bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128"""

_PLAIN = """__array_api_version__ __array_namespace_info__ broadcast_shapes can_cast e finfo iinfo inf isdtype nan
newaxis pi result_type"""

_FFT_GAPS = """fft fftn fftshift hfft ifft ifftn ifftshift ihfft irfft irfftn rfft rfftn"""

STANDARD = Table(
    rules={
        **elementwise.RULES,
        **indexing.RULES,
        **linalg.RULES,
        **manipulation.RULES,
        **statistical.RULES,
    },
    constant=elementwise.CONSTANT | indexing.CONSTANT | statistical.CONSTANT,
    creation=frozenset(_CREATION.split()),
    plain=frozenset((_DTYPES + " " + _PLAIN).split()),
    gaps=elementwise.GAPS | indexing.GAPS | linalg.GAPS | manipulation.GAPS | statistical.GAPS,
    extensions={
        "linalg": Table(rules=linalg.RULES | linalg_extension.RULES, gaps=linalg_extension.GAPS),
        "fft": Table(rules={}, creation=frozenset(["fftfreq", "rfftfreq"]), gaps=frozenset(_FFT_GAPS.split())),
    },
)


@functools.cache
def differentiable(xp: Namespace) -> DifferentiableNamespace:
    """The functions of a conforming namespace, on tracked arrays.

    Its creation functions answer tracked constants, so it is a complete namespace of its own. A
    function whose derivative is not written yet raises ``MissingRuleError`` on tracked arrays.

    Args:
        xp: the array-api-compat namespace of an array library.
    """
    return DifferentiableNamespace(xp, STANDARD)
