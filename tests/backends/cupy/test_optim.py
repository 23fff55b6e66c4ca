"""Updates and norms over many gradients, in one launch; skipped steps; low types; what lies where."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import nnx
from nnx.optim.adam import adam_update as reference_adam
from nnx.optim.sgd import sgd_update as reference_sgd
from nnx_cupy.kernels import optim
from nnx_cupy.kernels.optim import adam_update, gather_gradients, sgd_update, squared_norm

ml_dtypes = pytest.importorskip("ml_dtypes")

RNG = np.random.default_rng(0)
ADAM = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
DTYPES = [np.dtype(ml_dtypes.bfloat16), *map(np.dtype, ("float16", "float32", "float64"))]


def draw(dtype, *shape):
    return RNG.standard_normal(shape).astype(dtype)


def split(flat, sizes):
    return np.split(flat, np.cumsum(sizes)[:-1])


SIZES = {
    "one": [5],
    "few": [3, 0, 1, 2000, 7, 0, 1025, 1],
    "empty first and last": [0, 0, 4, 0],
    "more than a table": [1 + i % 5 for i in range(2 * optim.TABLE + 3)],
    "a table of nothing": [0] * optim.TABLE + [3],
    "none": [0],
}


@pytest.fixture(params=SIZES)
def sizes(request):
    return SIZES[request.param]


def on(gpu, *hosts):
    return [nnx.asarray(h, device=gpu) if isinstance(h, np.ndarray) else h for h in hosts]


def updated(gpu, kernel, sizes, p, g, state, *numbers, **options):
    """What an update makes of parameters and state, on the host, in float64; gradients in arrays of those sizes."""
    xp = gpu.namespace
    p, *state = on(gpu, p, *state)
    gradients = gather_gradients(xp, p, on(gpu, *split(g, sizes)))
    result = kernel(xp, p, gradients, *state, *on(gpu, *numbers), **options)
    assert result[0] is p  # in place
    return [nnx.to_numpy(a).astype("float64") for a in result if a is not None]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("decay", "decoupled"), [(0.0, False), (0.1, False), (0.1, True)])
def test_adam(gpu, sizes, dtype, decay, decoupled):
    n = sum(sizes)
    hosts = [draw(dtype, n), draw(dtype, n), draw(dtype, n), np.abs(draw(dtype, n))]
    p, g, m, v = hosts
    step, rate, scale = np.asarray(3, "int32"), np.asarray(0.05, dtype), np.asarray(0.3, dtype)
    options = {**ADAM, "weight_decay": decay, "decoupled": decoupled}
    found = updated(gpu, adam_update, sizes, p, g, [m, v], step, rate, scale, **options)
    import array_api_compat.numpy as xp

    exact = [h.astype("float64") for h in (p, g, m, v)]
    numbers = np.asarray(step), np.asarray(rate, "float64"), np.asarray(scale, "float64")
    expected = reference_adam(xp, exact[0], [exact[1]], *exact[2:], *numbers, **options)
    tolerance = 8 * float(ml_dtypes.finfo(dtype).eps)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd(gpu, sizes, dtype, momentum, nesterov):
    n = sum(sizes)
    p, g, v = draw(dtype, n), draw(dtype, n), draw(dtype, n) if momentum else None
    options = {"momentum": momentum, "nesterov": nesterov, "weight_decay": 0.1}
    found = updated(gpu, sgd_update, sizes, p, g, [v], 0.05, np.asarray(0.3, dtype), **options)
    import array_api_compat.numpy as xp

    exact = [None if h is None else h.astype("float64") for h in (p, g, v)]
    scale = np.asarray(0.3, dtype).astype("float64")
    expected = reference_sgd(xp, exact[0], [exact[1]], exact[2], 0.05, scale, **options)
    tolerance = 8 * float(ml_dtypes.finfo(dtype).eps)
    for a, b in zip(found, [e for e in expected if e is not None], strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("scale", [-1.0, np.asarray(-1.0, "float32")], ids=["float", "array"])
def test_a_negative_scale_changes_nothing(gpu, scale):
    sizes = [700, 600]
    p, m, v = draw("float32", 1300), draw("float32", 1300), np.abs(draw("float32", 1300))
    g = np.full(1300, np.nan, "float32")
    step = np.asarray(1, "int32")
    for decay, decoupled in [(0.1, False), (0.1, True)]:
        options = {**ADAM, "weight_decay": decay, "decoupled": decoupled}
        found = updated(gpu, adam_update, sizes, p, g, [m, v], step, 0.1, scale, **options)
        for a, b in zip(found, [p, m, v], strict=True):
            np.testing.assert_array_equal(a, b)
    for state in ([None], [v]):
        options = {"momentum": 0.9 if state[0] is not None else 0.0, "nesterov": False, "weight_decay": 0.1}
        found = updated(gpu, sgd_update, sizes, p, g, state, 0.1, scale, **options)
        for a, b in zip(found, [p, v], strict=False):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_squared_norm(gpu, sizes, dtype):
    hosts = [0.1 * draw("float64", n) for n in sizes]
    hosts = [h.astype(dtype) for h in hosts]
    found = squared_norm(gpu.namespace, on(gpu, *hosts))
    expected = sum(float((h.astype("float64") ** 2).sum()) for h in hosts)
    assert found.shape == ()
    assert nnx.to_numpy(found).dtype == dtype
    tolerance = 8 * float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(nnx.to_numpy(found).astype("float64"), expected, rtol=tolerance)


def test_squared_norm_of_a_long_array_keeps_its_digits(gpu):
    """In float32, a million squares one after the other would lose half of them."""
    x = draw("float32", 1_000_003)
    found = nnx.to_numpy(squared_norm(gpu.namespace, on(gpu, x)))
    np.testing.assert_allclose(found, (x.astype("float64") ** 2).sum(), rtol=1e-6)


def test_a_norm_that_is_not_finite_is_not_finite(gpu):
    for bad in (np.nan, np.inf, -np.inf):
        x = draw("float32", 3000)
        x[2999] = bad
        assert not np.isfinite(nnx.to_numpy(squared_norm(gpu.namespace, on(gpu, x[:10], x[10:]))))


def test_gradients_are_copied_only_where_they_must_be(gpu):
    xp = gpu.namespace
    (p,) = on(gpu, draw("float32", 40))
    apart, transposed, within = *on(gpu, draw("float32", 2, 3), draw("float32", 4, 5)), p[7:9]
    found = gather_gradients(xp, p, [apart, transposed.T, within])
    assert found[0] is apart
    assert found[2].data.ptr != within.data.ptr
    np.testing.assert_array_equal(nnx.to_numpy(found[1]), nnx.to_numpy(transposed).T)
    np.testing.assert_array_equal(nnx.to_numpy(found[2]), nnx.to_numpy(p)[7:9])


def test_gradients_that_are_parameters(gpu):
    """The gradient of Σ a b by a is b, a view of the buffer that the update writes to."""

    class Product(nnx.Module):
        a: nnx.Parameter
        b: nnx.Parameter

        def __init__(self, device):
            rng = np.random.default_rng(1)
            self.a, self.b = (nnx.asarray(rng.standard_normal(3000), device=device) for _ in range(2))

        def __call__(self):
            return nnx.namespace_of(self.a).sum(self.a * self.b)

    results = []
    for device in (gpu, "cpu"):
        model, optimizer = Product(device), nnx.optim.SGD(0.1)
        for _ in range(3):
            _, grads = nnx.value_and_grad(lambda model: model())(model)
            optimizer.update(model, grads)
        results.append([nnx.to_numpy(model.a), nnx.to_numpy(model.b)])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-12)


def test_first_steps_of_adam_on_the_gpu_are_those_of_the_host(gpu):
    """Through the optimiser: clipping, a schedule, a layer of each kind of shape."""
    results = []
    for device, make in itertools.product([gpu, "cpu"], [nnx.optim.AdamW, nnx.optim.Adam]):
        nnx.seed(3)
        model = nnx.Sequential(nnx.Linear(6, 33), nnx.relu, nnx.Linear(33, 2)).to(device)
        optimizer = make(nnx.optim.schedules.warmup(3, 1e-2), weight_decay=0.05, clip_norm=0.1)
        x = nnx.asarray(np.random.default_rng(0).standard_normal((9, 6)).astype("float32"), device=device)
        for _ in range(5):
            _, grads = nnx.value_and_grad(lambda model, x: nnx.ops.sum_squares(model(x)))(model, x)
            optimizer.update(model, grads)
        results.append([nnx.to_numpy(a) for a in model.parameters().values()])
    for of_gpu, of_host in zip(results[:2], results[2:], strict=True):
        for a, b in zip(of_gpu, of_host, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_an_update_can_be_captured(gpu):
    """The table of addresses goes with the launch, so that a graph holds it: nothing is copied from the host."""
    import cupy

    xp, sizes = gpu.namespace, [700, 3, 900]
    n = sum(sizes)
    hosts = [draw("float32", n), np.zeros(n, "float32"), np.zeros(n, "float32")]
    gradients = on(gpu, *split(draw("float32", n), sizes))
    rate, options = on(gpu, np.asarray(0.1, "float32"))[0], {**ADAM, "weight_decay": 0.1, "decoupled": True}

    def advance(p, m, v, step):
        step += 1
        gathered = gather_gradients(xp, p, gradients)
        adam_update(xp, p, gathered, m, v, step, rate, squared_norm(xp, gathered), **options)

    eager, captured = ([*on(gpu, *hosts), *on(gpu, np.asarray(0, "int32"))] for _ in range(2))
    for _ in range(3):
        advance(*eager)
    advance(*([*on(gpu, *hosts), *on(gpu, np.asarray(0, "int32"))]))  # compiles
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    cupy.cuda.Device(0).synchronize()
    with cupy.cuda.using_allocator(pool.malloc), stream:
        stream.begin_capture()
        advance(*captured)
        graph = stream.end_capture()
        for _ in range(3):
            graph.launch()
    stream.synchronize()
    assert int(captured[3]) == 3
    for a, b in zip(eager, captured, strict=True):
        np.testing.assert_array_equal(nnx.to_numpy(a), nnx.to_numpy(b))
