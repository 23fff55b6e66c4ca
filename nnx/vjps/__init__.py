"""Derivative rules of the Array API standard, a file for each of its chapters.

Every name of the standard (2025.12) is in exactly one group: it has a rule, or it is differentiated as
a composition of others, or its results are constants, or it makes arrays from none, or it is no
function of arrays. ``x[key]`` is the rule ``getitem``, ``x[key] = value`` the rule ``setitem``;
``asarray`` is written out in ``tape/namespace.py``.
"""

from __future__ import annotations

import functools

from nnx._typing import Namespace
from nnx.tape.namespace import DifferentiableNamespace, Table
from nnx.vjps import (
    creation,
    decompositions,
    determinants,
    elementwise,
    fft,
    indexing,
    linalg,
    linalg_extension,
    manipulation,
    norms,
    statistical,
)

_DTYPES = """bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128"""

_PLAIN = """__array_api_version__ __array_namespace_info__ broadcast_shapes can_cast e finfo iinfo inf isdtype nan
newaxis pi result_type"""

STANDARD = Table(
    rules=elementwise.RULES | indexing.RULES | linalg.RULES | manipulation.RULES | statistical.RULES,
    compositions=elementwise.COMPOSITIONS | manipulation.COMPOSITIONS | statistical.COMPOSITIONS,
    constant=elementwise.CONSTANT | indexing.CONSTANT | statistical.CONSTANT,
    creation=creation.CREATION,
    plain=frozenset((_DTYPES + " " + _PLAIN).split()),
    operators=indexing.OPERATORS | manipulation.OPERATORS,
    extensions={
        "linalg": Table(
            rules=linalg.RULES | linalg_extension.RULES | decompositions.RULES | determinants.RULES | norms.RULES,
            compositions=decompositions.COMPOSITIONS | norms.COMPOSITIONS,
            constant=linalg_extension.CONSTANT,
        ),
        "fft": Table(rules=fft.RULES, creation=fft.CREATION),
    },
)


@functools.cache
def differentiable(xp: Namespace) -> DifferentiableNamespace:
    """The functions of a conforming namespace, on tracked arrays.

    Its creation functions answer tracked constants, so it is a complete namespace of its own.

    Args:
        xp: the array-api-compat namespace of an array library.
    """
    return DifferentiableNamespace(xp, STANDARD)
