"""Calls of the reductions and of what runs along an axis."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
from hypothesis import strategies as st

from rule_cases.drawing import Case, axes_of, moved, numbers, real_or_complex, reductions


def accumulations(shape):
    axis = {"axis": axes_of(shape)}
    least, more = ({}, axis) if len(shape) == 1 else (axis, {})
    return st.fixed_dictionaries(least, optional={**more, "include_initial": st.booleans()}).map(lambda o: ((), o))


@st.composite
def differences(draw):
    x = draw(numbers(draw(hnp.array_shapes(max_dims=3, max_side=4))))
    axis = draw(axes_of(x.shape))
    options = draw(st.fixed_dictionaries({}, optional={"n": st.integers(1, 3)})) | {"axis": axis}
    ends = {name: draw(numbers(x.shape)) for name in ("prepend", "append") if draw(st.booleans())}
    return Case((x, *ends.values()), lambda f, x, *arrays: f(x, **options, **dict(zip(ends, arrays, strict=True))))


CASES = {
    "cumulative_prod": real_or_complex(moved(accumulations)),
    "cumulative_sum": real_or_complex(moved(accumulations)),
    "diff": real_or_complex(differences()),
    "max": reductions(),
    "mean": real_or_complex(reductions()),
    "min": reductions(),
    "prod": real_or_complex(reductions()),
    "std": reductions(least=2, correction=st.sampled_from([0.0, 1.0])),
    "sum": real_or_complex(reductions()),
    "var": reductions(least=2, correction=st.sampled_from([0.0, 1.0])),
}
