"""Low precision on a GPU: no wait in a step, products in TF32 where they are asked for, and batches of low matrices."""

from __future__ import annotations

import numpy as np
import pytest

import nnx


@pytest.fixture
def twin(gpu):
    import cupy

    if not hasattr(cupy, "twin"):
        pytest.skip("a GPU does not count")
    return cupy.twin


def problem(flag):
    rng = np.random.default_rng(0)
    layers = nnx.Linear(6, 16, device=flag), nnx.BatchNorm(16, device=flag), nnx.relu, nnx.Linear(16, 3, device=flag)
    x = nnx.asarray(rng.standard_normal((8, 6)).astype("float32"), device=flag)
    return nnx.Sequential(*layers), x, nnx.asarray(rng.integers(0, 3, 8), device=flag)


def cross_entropy(model, x, y):
    return nnx.losses.cross_entropy(model(x), y)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_step_waits_for_nothing(gpu, twin, precision, clip):
    model, x, y = problem(gpu)
    scale = nnx.optim.LossScale(2.0**24, interval=2) if precision == "float16" else None
    optimizer = nnx.optim.Adam(1e-2, clip_norm=clip, loss_scale=scale)
    step = nnx.value_and_grad(cross_entropy, precision=precision, loss_scale=scale)

    def train():
        optimizer.update(model, step(model, x, y)[1])

    train()
    with twin.synchronisations() as waits:
        for _ in range(12):
            train()
    assert waits == 0, waits
    if scale is not None:
        assert 0 < int(nnx.to_numpy(optimizer.state["step"])) < 13  # some overflowed


@pytest.mark.parametrize("captured", [False, True])
def test_products_are_in_tf32_where_it_is_asked_for(gpu, twin, captured):
    from cupy._cublas import counts

    model, x, y = problem(gpu)
    optimizer = nnx.optim.SGD(1e-2)

    def step_in(precision):
        gradient = nnx.value_and_grad(cross_entropy, precision=precision)

        def step(x, y):
            loss, grads = gradient(model, x, y)
            optimizer.update(model, grads)
            return loss

        return nnx.capture(step) if captured else step

    for precision in ("tf32", None):
        step = step_in(precision)
        for _ in range(5):
            before = dict(counts)
            step(x, y)
        if captured:
            assert step.replays > 0
            continue  # what a graph launches has been counted when it was captured
        products, rounded = counts["products"] - before["products"], counts["tf32"] - before["tf32"]
        assert products == 5
        assert rounded == (5 if precision else 0)


def test_a_captured_step_rounds_as_a_plain_one(gpu, twin):
    losses = {}
    for precision in (None, "tf32"):
        for captured in (False, True):
            nnx.seed(0)
            model, x, y = problem(gpu)
            gradient = nnx.value_and_grad(cross_entropy, precision=precision)
            optimizer = nnx.optim.SGD(0.5)

            def step(model, optimizer, x, y, gradient=gradient):
                loss, grads = gradient(model, x, y)
                optimizer.update(model, grads)
                return loss

            run = nnx.capture(step) if captured else step
            losses[precision, captured] = [nnx.to_numpy(run(model, optimizer, x, y)).item() for _ in range(8)]
    np.testing.assert_allclose(losses["tf32", True], losses["tf32", False], rtol=1e-6)
    np.testing.assert_allclose(losses[None, True], losses[None, False], rtol=1e-6)
    assert abs(losses["tf32", True][-1] - losses[None, True][-1]) > 1e-6 * losses[None, True][-1]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize(("left", "right"), [((2, 5, 4), (4, 3)), ((2, 5, 4), (2, 4, 3)), ((2, 1, 5, 4), (3, 4, 3))])
def test_products_of_more_axes_in_low_types(gpu, precision, left, right):
    rng = np.random.default_rng(0)
    a, b = (nnx.asarray(rng.standard_normal(shape).astype("float32"), device=gpu) for shape in (left, right))

    def total(a, b):
        y = a @ b
        xp = nnx.namespace_of(y)
        assert str(y.dtype) == precision
        return xp.sum(xp.astype(y, xp.float32) ** 2)

    value, grads = nnx.value_and_grad(total, (0, 1), precision=precision)(a, b)
    expected, others = nnx.value_and_grad(lambda a, b: nnx.namespace_of(a).sum((a @ b) ** 2), (0, 1))(a, b)
    eps = 2.0**-7 if precision == "bfloat16" else 2.0**-10
    assert abs(float(nnx.to_numpy(value)) - float(nnx.to_numpy(expected))) <= 4 * eps * float(nnx.to_numpy(expected))
    for g, other in zip(grads, others, strict=True):
        g, other = nnx.to_numpy(g), nnx.to_numpy(other)
        assert np.linalg.norm(g - other) <= 4 * eps * np.linalg.norm(other)


def test_bfloat16_says_what_it_needs(gpu, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    with pytest.raises(nnx.BackendUnavailableError, match="pip install ml_dtypes"):
        nnx.backend.device(gpu).backend.precision("bfloat16")
