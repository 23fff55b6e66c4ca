"""Fifty steps of each optimiser are those of torch.optim, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

import nnx

torch = pytest.importorskip("torch", reason="torch.optim is the oracle")

SHAPES = {"weight": (5, 4), "bias": (4,), "gain": (), "kernel": (3, 1, 2, 2), "empty": (0, 3)}
STEPS = 50
CASES = {
    "sgd": (lambda: nnx.optim.SGD(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": (
        lambda: nnx.optim.SGD(0.05, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    ),
    "nesterov": (
        lambda: nnx.optim.SGD(0.05, momentum=0.8, nesterov=True, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.1),
    ),
    "sgd-decay": (
        lambda: nnx.optim.SGD(0.05, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.1),
    ),
    "adam": (lambda: nnx.optim.Adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    "adam-betas": (
        lambda: nnx.optim.Adam(0.01, betas=(0.0, 0.5), eps=0.1),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.0, 0.5), eps=0.1),
    ),
    "adam-decay": (
        lambda: nnx.optim.Adam(0.01, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    ),
    "adamw": (lambda: nnx.optim.AdamW(0.01), lambda p: torch.optim.AdamW(p, lr=0.01)),
    "adamw-decay": (
        lambda: nnx.optim.AdamW(0.01, weight_decay=0.5, eps=1e-3),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5, eps=1e-3),
    ),
}
CLIPPED = {
    "sgd": (
        lambda: nnx.optim.SGD(0.05, momentum=0.9, weight_decay=0.1, clip_norm=2.0),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    ),
    "adam": (
        lambda: nnx.optim.Adam(0.01, weight_decay=0.1, clip_norm=2.0),
        lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    ),
    "adamw": (lambda: nnx.optim.AdamW(0.01, clip_norm=2.0), lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01)),
}


def draw(rng, dtype):
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}


def gradients(dtype, size=1.0):
    rng = np.random.default_rng(1)
    return [{k: a * np.asarray(size, dtype) for k, a in draw(rng, dtype).items()} for _ in range(STEPS)]


def by_torch(make, start, steps, clip=None):
    parameters = {name: torch.tensor(a).requires_grad_() for name, a in start.items()}
    optimizer = make(list(parameters.values()))
    for grads in steps:
        for name, g in grads.items():
            parameters[name].grad = torch.tensor(g)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(list(parameters.values()), clip)
        optimizer.step()
    return {name: p.detach().numpy() for name, p in parameters.items()}


def check(model, expected, start, dtype):
    rtol, atol = (1e-5, 2e-6) if dtype == "float32" else (1e-12, 1e-13)
    for name, array in model.parameters().items():
        host = nnx.to_numpy(array)
        assert host.dtype == dtype
        np.testing.assert_allclose(host, expected[name], rtol=rtol, atol=atol, err_msg=name)
        assert host.size == 0 or not np.allclose(host, start[name], rtol=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_steps_are_those_of_torch(arrays, on, flag, case, dtype):
    ours, theirs = CASES[case]
    start, steps = draw(np.random.default_rng(0), dtype), gradients(dtype)
    model, optimizer = arrays(flag, start), ours()

    for grads in steps:
        optimizer.update(model, on(flag, grads))

    check(model, by_torch(theirs, start, steps), start, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [0.1, 1.0])
@pytest.mark.parametrize("case", CLIPPED)
def test_clipped_steps_are_those_of_torch(arrays, on, flag, case, size, dtype):
    ours, theirs = CLIPPED[case]
    start, steps = draw(np.random.default_rng(0), dtype), gradients(dtype, size)
    norms = [np.sqrt(sum(np.sum(np.square(g)) for g in grads.values())) for grads in steps]
    assert min(norms) > 2.0 if size == 1.0 else max(norms) < 2.0
    model, optimizer = arrays(flag, start), ours()

    for grads in steps:
        optimizer.update(model, on(flag, grads))

    check(model, by_torch(theirs, start, steps, clip=2.0), start, dtype)


def test_bias_correction_keeps_the_precision_of_float32(arrays, on, flag):
    """1 − β₂ᵗ by subtraction would be wrong by 3e-5 at the first step."""
    start = {"w": np.ones(3, "float32")}
    model, optimizer = arrays(flag, start), nnx.optim.Adam(1.0, eps=1e-12)

    optimizer.update(model, on(flag, {"w": np.asarray([1.0, -2.0, 1e-3], "float32")}))

    np.testing.assert_allclose(nnx.to_numpy(model["w"]) - 1, [-1, 1, -1], rtol=3e-7)
