"""Calls of the extension `fft`."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
from hypothesis import strategies as st

from rule_cases.drawing import Case, axes_of, in_complex, moved, numbers, parts, real_or_complex

NORMS = st.sampled_from(["backward", "ortho", "forward"])


@st.composite
def lines(draw, half=False):
    """Transforms along one axis, cut, filled or as it is; ``half`` spectra need a length to make 2 or more of."""
    x = draw(numbers(draw(hnp.array_shapes(min_side=2 if half else 1, max_dims=3, max_side=4))))
    optional = {"n": st.integers(1, 6), "axis": axes_of(x.shape), "norm": NORMS}
    options = draw(st.fixed_dictionaries({}, optional=optional))
    return Case((x,), lambda f, x: parts(f(x, **options)))


@st.composite
def grids(draw, half=False):
    """Transforms along several axes."""
    x = draw(numbers(draw(hnp.array_shapes(min_side=2 if half else 1, max_dims=3, max_side=4))))
    axes = draw(st.lists(axes_of(x.shape), min_size=1, unique_by=lambda a: a % x.ndim))
    lengths = st.lists(st.integers(1, 5), min_size=len(axes), max_size=len(axes))
    chosen = {"axes": st.just(tuple(axes)), "s": lengths.map(tuple)}
    options = draw(st.sampled_from([{}, {"axes": chosen["axes"]}, chosen]).flatmap(st.fixed_dictionaries))
    options |= draw(st.fixed_dictionaries({}, optional={"norm": NORMS}))
    return Case((x,), lambda f, x: parts(f(x, **options)))


def shifts(shape):
    axes = st.lists(axes_of(shape), min_size=1, unique_by=lambda a: a % len(shape)).map(tuple)
    return st.fixed_dictionaries({}, optional={"axes": axes}).map(lambda options: ((), options))


CASES = {
    "fft.fft": in_complex(lines()),
    "fft.fftn": in_complex(grids()),
    "fft.fftshift": real_or_complex(moved(shifts)),
    "fft.hfft": in_complex(lines(half=True)),
    "fft.ifft": in_complex(lines()),
    "fft.ifftn": in_complex(grids()),
    "fft.ifftshift": real_or_complex(moved(shifts)),
    "fft.ihfft": lines(),
    "fft.irfft": in_complex(lines(half=True)),
    "fft.irfftn": in_complex(grids(half=True)),
    "fft.rfft": lines(),
    "fft.rfftn": grids(),
}
