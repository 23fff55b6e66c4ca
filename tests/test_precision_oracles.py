"""Training in low precision against other implementations: torch's autocast, and steps written out in torch and JAX."""

from __future__ import annotations

import numpy as np
import pytest

import nnx

STEPS, RATE = 50, 0.05


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 20)).astype("float32")
    y = np.argmax(x @ rng.standard_normal((20, 4)), axis=1)
    weights = [0.3 * rng.standard_normal(shape).astype("float32") for shape in ((20, 32), (32,), (32, 4), (4,))]
    return x, y, weights


def ours(flag, problem, precision, scale=None):
    """The losses of so many steps of gradient descent."""
    x, y, weights = problem
    model = nnx.Sequential(nnx.Linear(20, 32, device=flag), nnx.tanh, nnx.Linear(32, 4, device=flag))
    model.load(dict(zip(model.arrays(), weights, strict=True)))
    optimizer = nnx.optim.SGD(RATE, momentum=0.9, loss_scale=scale)
    step = nnx.value_and_grad(
        lambda m, x, y: nnx.losses.cross_entropy(m(x), y), precision=precision, loss_scale=optimizer.loss_scale
    )
    x, y, losses = nnx.asarray(x, device=flag), nnx.asarray(y, device=flag), []
    for _ in range(STEPS):
        loss, grads = step(model, x, y)
        optimizer.update(model, grads)
        losses.append(nnx.to_numpy(loss).item())
    return losses


def by_torch(problem, dtype, *, autocast):
    """The same with torch's own autograd: under autocast, or with copies of the parameters that are cast by hand."""
    import torch

    x, y, weights = problem
    x, y = torch.tensor(x), torch.tensor(y)
    masters = [torch.tensor(w, requires_grad=True) for w in weights]
    optimizer = torch.optim.SGD(masters, lr=RATE, momentum=0.9)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        if autocast:
            with torch.autocast("cpu", dtype=dtype):
                w1, b1, w2, b2 = masters
                z = torch.nn.functional.linear(torch.tanh(torch.nn.functional.linear(x, w1.T, b1)), w2.T, b2)
                loss = torch.nn.functional.cross_entropy(z.float(), y)
        else:
            w1, b1, w2, b2 = (w.to(dtype) for w in masters)
            z = torch.tanh(x.to(dtype) @ w1 + b1) @ w2 + b2
            loss = torch.nn.functional.cross_entropy(z.float(), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def by_jax(problem, dtype):
    import jax
    import jax.numpy as jnp

    x, y, weights = problem

    def loss(masters):
        w1, b1, w2, b2 = (w.astype(dtype) for w in masters)
        z = (jnp.tanh(x.astype(dtype) @ w1 + b1) @ w2 + b2).astype(jnp.float32)
        return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(len(y)), y])

    x, masters = jnp.asarray(x), [jnp.asarray(w) for w in weights]
    velocity, losses = [jnp.zeros_like(w) for w in masters], []
    for _ in range(STEPS):
        value, grads = jax.value_and_grad(loss)(masters)
        velocity = [0.9 * v + g for v, g in zip(velocity, grads, strict=True)]
        masters = [w - RATE * v for w, v in zip(masters, velocity, strict=True)]
        losses.append(float(value))
    return losses


@pytest.mark.parametrize(("precision", "eps"), [("bfloat16", 2.0**-7), ("float16", 2.0**-10)])
def test_losses_are_those_of_steps_written_out(flags, problem, precision, eps):
    wide = ours("cpu", problem, None)
    assert wide[-1] < wide[0] / 10
    for flag in flags:
        device = nnx.backend.device(flag)
        if device.backend.precision(precision) is None:
            continue
        found = ours(flag, problem, precision, nnx.optim.LossScale(256.0) if precision == "float16" else None)
        np.testing.assert_allclose(found, wide, rtol=8 * eps)
        if device.backend.name == "torch":
            import torch

            # by hand it is the same but for the order of additions; autocast keeps more in float32
            expected = by_torch(problem, getattr(torch, precision), autocast=False)
            np.testing.assert_allclose(found, expected, rtol=2 * eps)
            if precision == "bfloat16":  # in float16 autocast wants a scaler
                expected = by_torch(problem, torch.bfloat16, autocast=True)
                np.testing.assert_allclose(found, expected, rtol=8 * eps)
        if device.backend.name == "jax":
            np.testing.assert_allclose(found, by_jax(problem, precision), rtol=2 * eps)


def test_a_convolutional_network_is_near_autocast(flags):
    torch = pytest.importorskip("torch")
    flag = next((flag for flag in flags if flag.startswith("torch")), None)
    if flag is None:
        pytest.skip("torch is not in this run")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 8, 8, 1)).astype("float32"), rng.integers(0, 3, 16)
    nnx.seed(0)
    layers = nnx.Conv2d(1, 6, 3, padding="same", device=flag), nnx.relu, nnx.MaxPool2d(2), nnx.Flatten()
    model = nnx.Sequential(*layers, nnx.Linear(96, 3, device=flag))
    kernel, offset, w, b = (
        torch.tensor(nnx.to_numpy(array), requires_grad=True) for array in model.parameters().values()
    )
    theirs = torch.optim.SGD([kernel, offset, w, b], lr=RATE)
    optimizer = nnx.optim.SGD(RATE)
    step = nnx.value_and_grad(lambda m, x, y: nnx.losses.cross_entropy(m(x), y), precision="bfloat16")
    ours, expected = [], []
    for _ in range(30):
        loss, grads = step(model, nnx.asarray(x, device=flag), nnx.asarray(y, device=flag))
        optimizer.update(model, grads)
        ours.append(loss.item())
        theirs.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            images, filters = torch.tensor(x).permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
            z = torch.nn.functional.conv2d(images, filters, offset, padding=1)
            z = torch.nn.functional.max_pool2d(torch.relu(z), 2).permute(0, 2, 3, 1).reshape(16, -1)
            value = torch.nn.functional.cross_entropy((z @ w + b).float(), torch.tensor(y))
        value.backward()
        theirs.step()
        expected.append(value.item())
    assert expected[-1] < expected[0] / 2
    np.testing.assert_allclose(ours, expected, rtol=8 * 2.0**-7)
