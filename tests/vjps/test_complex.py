"""Complex numbers: values of gradients in JAX's convention, and the conventions that the chapters state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import nnx
from rule_cases import CASES, OPERATORS, indexing, manipulation

# --- agreement with JAX -----------------------------------------------------------------------

UNARY = """abs acos asin asinh atan atanh conj cos cosh exp expm1 imag log log10 log1p log2 negative positive real
reciprocal sin sinh sqrt square tan tanh""".split()

BINARY = "add divide multiply pow subtract".split()

TABLE = (
    {name: lambda xp, z, w, name=name: getattr(xp, name)(z) for name in UNARY}
    | {name: lambda xp, z, w, name=name: getattr(xp, name)(z, w) for name in BINARY}
    | {
        # on the left, JAX has the derivative of the other branch
        "acosh": lambda xp, z, w: xp.acosh(xp.where(xp.real(z) > 0, z, -z)),
        "a complex number": lambda xp, z, w: (1.5 - 2j) ** (z / (0.3 - 1j) + w * 1j),
        "concat": lambda xp, z, w: xp.concat([xp.real(z), z, xp.imag(z)], axis=-1),
        "cumulative_prod": lambda xp, z, w: xp.cumulative_prod(z, axis=-1),
        "cumulative_sum": lambda xp, z, w: xp.cumulative_sum(z, axis=0, include_initial=True),
        "diff": lambda xp, z, w: xp.diff(z, axis=-1),
        "from real to complex": lambda xp, z, w: xp.astype(xp.real(z) * xp.imag(w), z.dtype),
        "getitem": lambda xp, z, w: z[..., 1:] * z[0, :1],
        "matmul": lambda xp, z, w: xp.matmul(z, xp.matrix_transpose(w)),
        "mean": lambda xp, z, w: xp.mean(z, axis=0),
        "of real and complex": lambda xp, z, w: xp.real(z) * w + z / xp.imag(w) + xp.pow(xp.abs(z), w),
        "prod": lambda xp, z, w: xp.prod(z, axis=-1),
        "stack": lambda xp, z, w: xp.stack([z, xp.abs(z)]),
        "std": lambda xp, z, w: xp.std(z, correction=1),
        "sum": lambda xp, z, w: xp.sum(z, axis=0),
        "sum of reals as complex": lambda xp, z, w: xp.sum(xp.real(z), dtype=z.dtype),
        "take": lambda xp, z, w: xp.take(z, xp.argsort(xp.real(w[0, ...])), axis=-1),
        "var": lambda xp, z, w: xp.var(z, axis=-1),
        "where": lambda xp, z, w: xp.where(xp.real(z) > 0, xp.imag(z), w),
        "where of a complex number": lambda xp, z, w: xp.where(xp.real(z) > 0, xp.imag(z), 2j),
    }
)

every_function = pytest.mark.parametrize("name", TABLE)


@st.composite
def arrays(draw):
    """Complex arrays that broadcast, away from the branch cuts, which are parts of the two axes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def numbers(shape):  # always the same, since JAX compiles for each
        size, angle = rng.uniform(0.5, 2, shape), rng.uniform(0.3, 1.2, shape)
        return size * np.exp(1j * (angle + rng.integers(0, 4, shape) * np.pi / 2))

    return numbers((2, 3)), numbers((1, 3))


def cotangent(y, seed=1):
    rng = np.random.default_rng(seed)
    u = rng.normal(size=y.shape)
    return u + 1j * rng.normal(size=y.shape) if np.iscomplexobj(y) else u


@pytest.fixture(scope="module")
def jax():
    return pytest.importorskip("jax")


def functions(name):
    """A function of the table on arrays of any library, and on those of JAX by its own functions."""
    import jax.numpy as jnp

    return lambda z, w: TABLE[name](nnx.namespace_of(z, w), z, w), lambda z, w: TABLE[name](jnp, z, w)


@every_function
@settings(max_examples=10)
@given(zw=arrays())
def test_pull_backs_and_push_forwards_are_those_of_jax(jax, name, zw):
    ours, theirs = functions(name)
    y, pull = nnx.vjp(ours, *zw)
    expected, their_pull = jax.vjp(theirs, *map(jax.numpy.asarray, zw))
    assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    g = cotangent(y)
    for found, right in zip(pull(g), their_pull(jax.numpy.asarray(g)), strict=True):
        assert found.dtype == np.complex128
        assert_allclose(found, right, rtol=1e-11, atol=1e-11)

    tangents = [cotangent(x, seed=2) for x in zw]
    value, pushed = nnx.jvp(ours, zw, tangents)
    assert_array_equal(value, y)
    assert_allclose(pushed, jax.jvp(theirs, zw, tuple(tangents))[1], rtol=1e-11, atol=1e-11)


@every_function
def test_gradients_and_their_derivatives_are_those_of_jax(jax, name):
    ours, theirs = functions(name)
    rng = np.random.default_rng(0)
    zw = tuple(rng.uniform(0.5, 1.5, shape) + 1j * rng.uniform(0.4, 0.9, shape) for shape in [(2, 3), (1, 3)])

    def our_loss(z, w):
        y = ours(z, w)
        xp = nnx.namespace_of(y)
        return xp.sum(xp.abs(y) ** 2)

    their_gradient = jax.grad(lambda z, w: jax.numpy.sum(jax.numpy.abs(theirs(z, w)) ** 2), (0, 1))
    vectors = [cotangent(x) for x in zw]
    expected, along = jax.jvp(their_gradient, zw, tuple(vectors))
    for found, right in zip(nnx.grad(our_loss, (0, 1))(*zw), expected, strict=True):
        assert_allclose(found, right, rtol=1e-11, atol=1e-11)
    for found, right in zip(nnx.hvp(our_loss, zw, vectors), along, strict=True):
        assert_allclose(found, right, rtol=1e-10, atol=1e-10)


NOT_IN_THE_STANDARD = {"std", "var"}  # of complex numbers


@every_function
def test_every_backend_has_the_numbers_of_numpy_in_single_precision(name, make, device):
    if device.backend.name == "strict" and name in NOT_IN_THE_STANDARD:
        pytest.skip("the standard does not have it")
    ours = lambda z, w: TABLE[name](nnx.namespace_of(z, w), z, w)  # noqa: E731
    rng = np.random.default_rng(0)
    hosts = [rng.uniform(0.5, 1.5, shape) + 1j * rng.uniform(0.4, 0.9, shape) for shape in [(2, 3), (1, 3)]]
    expected, their_pull = nnx.vjp(ours, *hosts)
    g = cotangent(expected)
    arrays = [make(host, "complex64") for host in hosts]
    y, pull = nnx.vjp(ours, *arrays)
    found = pull(make(g, "complex64" if np.iscomplexobj(g) else "float32"))
    for a, b in zip([y, *found], [expected, *their_pull(g)], strict=True):
        assert nnx.backend.device_of(a) == device
        assert str(nnx.to_numpy(a).dtype) == {"complex128": "complex64", "float64": "float32"}[str(b.dtype)]
        assert_allclose(nnx.to_numpy(a), b, rtol=2e-4, atol=2e-4)


MOVING = [*indexing.CASES, *manipulation.CASES, "full", "linspace"]
"""The functions that compute nothing: they are linear, but for a constant that some bring in."""


@pytest.mark.parametrize("name", [name for name in MOVING if name not in ("astype", "sort")])
@settings(max_examples=10)
@given(data=st.data())
def test_what_moves_elements_about_moves_complex_ones(name, data):
    case = data.draw(CASES[name])
    rng = np.random.default_rng(0)
    constants = [c.astype(complex) if c.dtype.kind == "f" else c for c in case.constants]

    def f(arrays):
        xp = nnx.namespace_of(*arrays)
        return case.call(OPERATORS.get(name) or getattr(xp, name), *arrays, *constants)

    z = [x + 1j * rng.normal(size=x.shape) for x in case.arrays]
    v = [cotangent(x, seed) for seed, x in enumerate(z)]
    y, pull = nnx.vjp(f, z)
    assert y.dtype == np.complex128
    g = cotangent(y)
    (found,) = pull(g)
    change = f([x + step for x, step in zip(z, v, strict=True)]) - f(z)
    assert {x.dtype for x in found} == {np.dtype(complex)}
    assert_allclose(sum(np.sum(a * b).real for a, b in zip(found, v, strict=True)), np.sum(g * change).real, atol=1e-12)


# --- beside Python's numbers -------------------------------------------------------------------

SCALARS = {
    "+": lambda x: x + 2j,
    "r+": lambda x: 2j + x,
    "-": lambda x: x - 2j,
    "r-": lambda x: 2j - x,
    "*": lambda x: x * 2j,
    "r*": lambda x: 2j * x,
    "/": lambda x: x / (1 + 2j),
    "r/": lambda x: (1 + 2j) / x,
    "**": lambda x: x ** (1 + 2j),
    "r**": lambda x: (1 + 2j) ** x,
    "a negative base": lambda x: (-2.0) ** (x * 1j),
}


@pytest.mark.parametrize("operator", SCALARS)
def test_real_arrays_beside_complex_numbers(operator, make):
    x = make([0.5, 2.0])
    y, pull = nnx.vjp(SCALARS[operator], x)
    assert y.dtype == nnx.namespace_of(x).complex64
    (found,) = pull(make([1 - 1j, 2j], "complex64"))
    assert found.dtype == x.dtype
    ahead, behind = (SCALARS[operator](np.asarray([0.5, 2.0]) + step) for step in (1e-6, -1e-6))
    assert_allclose(nnx.to_numpy(y), SCALARS[operator](np.asarray([0.5, 2.0])), rtol=1e-5)
    assert_allclose(nnx.to_numpy(found), (np.asarray([1 - 1j, 2j]) * (ahead - behind) / 2e-6).real, rtol=1e-4)


# --- where no derivative exists, and edges ----------------------------------------------------


@pytest.mark.parametrize("name", ["abs", "sign"])
def test_abs_and_sign_have_zero_at_zero(name, make):
    def f(z):
        xp = nnx.namespace_of(z)
        y = getattr(xp, name)(z)
        return xp.sum(xp.real(y) + xp.imag(y * 1j) + xp.real(y * z))

    z = make([0j, 3 + 4j], "complex128")
    with np.errstate(invalid="ignore"):  # NumPy's sign divides 0 by 0, and then corrects that
        found = nnx.to_numpy(nnx.grad(f)(z))
        (second,) = nnx.hvp(f, (z,), (make([1 + 1j, 1j], "complex128"),))
    assert found[0] == 0
    assert np.all(np.isfinite(nnx.to_numpy(second)))


def test_sign_turns_with_its_argument(make):
    z = make([3 + 4j, -2j], "complex128")
    sign = lambda z: nnx.namespace_of(z).sign(z)  # noqa: E731
    y, along = nnx.jvp(sign, (z,), (z,))  # from the origin: no change
    _, across = nnx.jvp(sign, (z,), (1j * z,))
    assert_allclose(nnx.to_numpy(along), [0, 0], atol=1e-15)
    assert_allclose(nnx.to_numpy(across), 1j * nnx.to_numpy(y), rtol=1e-12)


def test_sign_of_real_numbers_is_a_constant(make):
    assert float(nnx.grad(lambda x: x * float(nnx.namespace_of(x).sign(x)))(make(-2.0))) == -1


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("acos", [2, -2]),
        ("acosh", [-2, 0.5]),
        ("asin", [2, -2]),
        ("asinh", [2j, -2j]),
        ("atan", [2j, -2j]),
        ("atanh", [2, -2]),
        ("log", [-2]),
        ("log1p", [-2]),
        ("sqrt", [-2]),
    ],
)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_on_a_branch_cut_the_derivative_is_that_of_the_side_that_the_function_takes(name, points, zero):
    f = getattr(nnx.namespace_of(np.zeros(1)), name)
    for point in points:
        along = 1e-6 * (1j if isinstance(point, complex) else 1)

        def on_the_cut(step, point=point, along=along):
            z = point + step * along
            return np.asarray(complex(zero, z.imag) if isinstance(point, complex) else complex(z, zero))

        (g,) = nnx.vjp(lambda z: getattr(nnx.namespace_of(z), name)(z), on_the_cut(0))[1](np.asarray(1 + 0j))
        assert_allclose(g, (f(on_the_cut(1)) - f(on_the_cut(-1))) / (2 * along), rtol=1e-8)


def test_acosh_on_the_left():
    z = np.asarray([-2 + 0.5j, -0.3 - 1j])
    (g,) = nnx.vjp(lambda z: nnx.namespace_of(z).acosh(z), z)[1](np.ones(2, complex))
    assert_allclose(g, 1 / np.sinh(np.arccosh(z)), rtol=1e-12)


def test_powers_of_zero():
    def pull(f, *args):
        return nnx.vjp(f, *args)[1](np.ones(args[0].shape, complex))

    zeros, exponents = np.zeros(4, complex), np.asarray([0, 1, 2, 2 + 1j])
    by_base, by_exponent = pull(lambda z, w: z**w, zeros, exponents)
    assert_array_equal(by_base, [0, 1, 0, 0])
    assert_array_equal(by_exponent, [0, 0, 0, 0])
    for base in (0.0, 0j):
        assert_array_equal(pull(lambda w, base=base: base**w, exponents)[0], 4 * [0])
    for exponent, expected in [(0, 0), (1, 1), (2, 0), (2 + 1j, 0)]:
        assert_array_equal(pull(lambda z, exponent=exponent: z**exponent, zeros)[0], 4 * [expected])


def test_rounded_numbers_and_comparisons_are_constants(make):
    def f(z):
        xp = nnx.namespace_of(z)
        good = xp.logical_and(xp.isfinite(z), xp.logical_not(xp.logical_or(xp.isnan(z), xp.isinf(z))))
        kept = xp.where(xp.logical_and(good, z != 0), z, 1j)
        return xp.sum(xp.real(kept * xp.round(z)))

    g = nnx.grad(f)(make([1.2 + 2.1j, 0j], "complex64"))
    assert_array_equal(nnx.to_numpy(g), [1 + 2j, 0])


@pytest.mark.parametrize("name", ["real", "conj"])
def test_real_arrays_are_their_own_real_part_and_conjugate(name, make):
    x = make([1.0, -2.0])
    (g,) = nnx.vjp(lambda x: getattr(nnx.namespace_of(x), name)(x), x)[1](x)
    assert g.dtype == x.dtype
    assert_array_equal(nnx.to_numpy(g), [1, -2])


def test_the_imaginary_part_of_a_real_array_is_zero():
    assert_array_equal(nnx.grad(lambda x: nnx.namespace_of(x).sum(nnx.namespace_of(x).imag(x)))(np.ones(2)), [0, 0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_a_cast_to_real_numbers_is_refused(dtype, make):
    z = make([1j], "complex64")
    xp = nnx.namespace_of(z)
    with pytest.raises(nnx.DTypeError, match=r"cannot be cast to .*imaginary part: take xp.real\(x\)"):
        nnx.vjp(lambda z: nnx.namespace_of(z).astype(z, getattr(xp, dtype)), z)
    with pytest.raises(nnx.DTypeError, match="imaginary part"):  # of a constant
        nnx.vjp(lambda z: (xp := nnx.namespace_of(z)).astype(xp.ones_like(z), getattr(xp, dtype)), z)
    with pytest.raises(nnx.DTypeError, match="imaginary part"):
        nnx.vjp(lambda z: nnx.namespace_of(z).asarray(z, dtype=getattr(xp, dtype)), z)
