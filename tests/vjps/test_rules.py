"""Every derivative rule, against finite differences, torch's autograd, and NumPy's numbers on each backend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, seed, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import nnx
from nnx.backend import device_of
from nnx.tape.namespace import Table
from nnx.vjps import STANDARD
from rule_cases import CASES, OPERATORS

every_rule = pytest.mark.parametrize("name", CASES)


def names(table: Table, prefix=""):
    extensions = (names(below, f"{prefix}{name}.") for name, below in table.extensions.items())
    composed = [name for name, composition in table.creation.items() if composition]
    return {prefix + name for name in (*table.rules, *table.compositions, *composed)}.union(*extensions)


def test_every_rule_has_a_case():
    assert set(CASES) == names(STANDARD)


def function(name, case):
    """``case`` as a function of its arrays, for ``name`` of whatever namespace they have."""

    def call(*arrays):
        xp = nnx.namespace_of(*arrays)
        for part in name.split("."):
            xp = OPERATORS.get(part) or getattr(xp, part)
        return case.call(xp, *arrays)

    return call


def on(flag, arrays, dtypes=()):
    dtypes = dtypes or ("float64",) * len(arrays)
    return [
        nnx.asarray(a.astype(d) if a.dtype.kind == "f" else a, device=flag) for a, d in zip(arrays, dtypes, strict=True)
    ]


def projected(f, constants, u):
    """Σ u f(x): a scalar, whose gradient every element of the result has a part in."""

    def scalar(*arrays):
        y = f(*arrays, *constants)
        xp = nnx.namespace_of(y)
        return xp.sum(xp.astype(y, xp.float64) * u)

    return scalar


def central_difference(f, arrays, directions, step=1e-5):
    ahead, behind = ([a + s * v for a, v in zip(arrays, directions, strict=True)] for s in (step, -step))
    return (f(*ahead) - f(*behind)) / (2 * step)


def along(gradients, directions):
    return sum(np.sum(g * v) for g, v in zip(gradients, directions, strict=True))


@every_rule
@settings(max_examples=15)
@given(data=st.data())
def test_finite_differences_of_first_and_second_order(name, data):
    case = data.draw(CASES[name])
    f, arrays, constants = function(name, case), on("cpu", case.arrays), case.constants
    y = f(*arrays, *constants)
    assume(y.dtype == np.float64)
    rng = np.random.default_rng(0)
    u, *directions = (rng.normal(size=a.shape) for a in (y, *arrays))
    loss = projected(f, constants, u)
    gradient = nnx.grad(loss, argnums=range(len(arrays)))
    assert_allclose(
        along(gradient(*arrays), directions), central_difference(loss, arrays, directions), rtol=1e-6, atol=1e-7
    )

    weights = [rng.normal(size=a.shape) for a in arrays]

    def slope(*arrays):
        parts = [nnx.namespace_of(g).sum(g * w) for g, w in zip(gradient(*arrays), weights, strict=True)]
        return sum(parts[1:], parts[0])

    second = nnx.grad(slope, argnums=range(len(arrays)))(*arrays)
    assert_allclose(along(second, directions), central_difference(slope, arrays, directions), rtol=1e-5, atol=1e-6)


@every_rule
@settings(max_examples=15)
@given(data=st.data())
def test_autograd_of_torch_agrees_in_every_mix_of_dtypes(name, data):
    torch = pytest.importorskip("torch")
    case = data.draw(CASES[name])
    dtypes = [data.draw(st.sampled_from(["float32", "float64"])) for _ in (*case.arrays, *case.constants)]
    if name == "clip":  # torch casts x to the dtype of its bounds, which in the standard is that of x
        dtypes = dtypes[:1] * len(dtypes)
    f = function(name, case)
    dtypes, others = dtypes[: len(case.arrays)], dtypes[len(case.arrays) :]
    constants = on("torch", case.constants, others)
    inputs = [x.requires_grad_() for x in on("torch", case.arrays, dtypes)]
    theirs = f(*inputs, *constants)
    u = torch.randn(theirs.shape, dtype=theirs.dtype, generator=torch.Generator().manual_seed(0))
    expected = torch.autograd.grad(theirs, inputs, u)

    arrays = on("cpu", case.arrays, dtypes)
    values = [c.numpy() for c in constants]
    y, pull = nnx.vjp(lambda *arrays: f(*arrays, *values), *arrays)
    assert y.shape == tuple(theirs.shape)
    assert str(y.dtype) == str(theirs.dtype).removeprefix("torch.")
    rtol = 2e-4 if "float32" in {*dtypes, *(str(a.dtype) for a in (y, *values))} else 1e-11
    for g, x, e in zip(pull(u.numpy()), arrays, expected, strict=True):
        assert g.dtype == x.dtype
        assert g.shape == x.shape
        assert_allclose(g, e.numpy(), rtol=rtol, atol=rtol)


@every_rule
@seed(0)
@settings(max_examples=3, database=None)
@given(data=st.data())
def test_every_backend_has_the_numbers_of_numpy(each_flag, name, data):
    case = data.draw(CASES[name])
    f = function(name, case)

    def run(flag):
        arrays, constants = on(flag, case.arrays), on(flag, case.constants, [c.dtype for c in case.constants])
        y, pull = nnx.vjp(lambda *arrays: f(*arrays, *constants), *arrays)
        ones = [nnx.namespace_of(x).ones_like(x) for x in arrays]
        _, tangent = nnx.jvp(lambda *arrays: f(*arrays, *constants), arrays, ones)  # tracked gradients, raw arguments
        return arrays, y, pull(nnx.namespace_of(y).ones_like(y)), tangent

    _, expected, gradients, slope = run("cpu")
    arrays, y, found, tangent = run(each_flag)
    rtol = 1e-6 if y.dtype != arrays[0].dtype else 1e-12
    assert_allclose(nnx.to_numpy(tangent), slope, rtol=rtol, atol=max(rtol * 1e-2, 1e-12))
    assert_allclose(nnx.to_numpy(y), expected, rtol=rtol, atol=1e-12)
    for g, x, e in zip(found, arrays, gradients, strict=True):
        assert (g.dtype, g.shape, device_of(g)) == (x.dtype, x.shape, device_of(x))
        assert_allclose(nnx.to_numpy(g), e, rtol=1e-12, atol=1e-12)
