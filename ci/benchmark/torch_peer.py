"""PyTorch: eager, and through ``torch.compile``; both with the fused Adam."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch.nn import functional

from benchmark.card import ordinal
from benchmark.images import Images
from benchmark.problem import BATCHES, Peer, Problem


def network(problem: Problem | Images) -> torch.nn.Sequential:
    """The layers, on the host."""
    if isinstance(problem, Images):
        pool, relu = torch.nn.MaxPool2d(2), torch.nn.ReLU()
        first, second = torch.nn.Conv2d(1, 16, 5), torch.nn.Conv2d(16, 32, 5)
        return torch.nn.Sequential(first, pool, relu, second, pool, relu, torch.nn.Flatten(), torch.nn.Linear(512, 10))
    layers: list[torch.nn.Module] = []
    for m, n in pairwise(problem.widths):
        layers += [torch.nn.Linear(m, n, device="meta"), torch.nn.ReLU()]  # no initial weights are drawn in vain
    return torch.nn.Sequential(*layers[:-1]).to_empty(device="cpu")


def weights(problem: Problem | Images) -> list[torch.Tensor]:
    """The initial weights in torch's layouts: (out, in), and channels before pixels."""
    pairs = problem.weights()
    if isinstance(problem, Images):
        (weight, bias), flat = pairs[-1], (4, 4, 32)  # what is flattened lies (height, width, channels) there
        pairs[-1] = weight.reshape(*flat, -1).transpose(2, 0, 1, 3).reshape(weight.shape), bias
    axes = {2: (1, 0), 4: (3, 2, 0, 1)}
    return [torch.from_numpy(a) for w, b in pairs for a in (w.transpose(axes[w.ndim]).copy(), b)]


class Eager(Peer):
    """``zero_grad``, forward, ``backward``, ``step``."""

    packages = ("torch",)

    def __init__(self, problem: Problem | Images, device: str) -> None:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        number = ordinal(device)
        self.device = torch.device("cpu" if number is None else f"cuda:{number}")
        self.problem = problem
        torch.set_float32_matmul_precision("high" if problem.precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = problem.precision == "tf32"
        torch.backends.cudnn.benchmark = True
        self.model = network(problem).to(self.device)
        self.weights = weights(problem)
        axes = (0, 3, 1, 2) if isinstance(problem, Images) else (0, 1)
        self.batches = [
            (torch.from_numpy(x.transpose(axes).copy()).to(self.device), torch.from_numpy(y).to(self.device))
            for x, y in problem.batches()
        ]
        self.reset()

    def reset(self) -> None:
        with torch.no_grad():
            for parameter, initial in zip(self.model.parameters(), self.weights, strict=True):
                parameter.copy_(initial)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.problem.rate, fused=True)

    def casting(self) -> AbstractContextManager[object]:
        """Where products are of low precision."""
        if self.problem.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with self.casting():
            return functional.cross_entropy(self.model(x), y)

    def step(self, i: int) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*self.batches[i % BATCHES])
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, steps: int) -> None:
        for i in range(steps):
            self.step(i)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def losses(self, steps: int) -> list[float]:
        self.reset()
        return [self.step(i).item() for i in range(steps)]

    def versions(self) -> str:
        name = f", {torch.cuda.get_device_name(self.device)}" if self.device.type == "cuda" else ""
        return super().versions() + name


class Compiled(Eager):
    """The same, with forward, loss and backward compiled; on a GPU with CUDA graphs. Needs a C++ compiler."""

    def __init__(self, problem: Problem | Images, device: str) -> None:
        super().__init__(problem, device)
        self.graphs = self.device.type == "cuda"
        mode = "reduce-overhead" if self.graphs else "default"
        self.loss = torch.compile(super().loss, mode=mode)  # type: ignore[method-assign]

    def step(self, i: int) -> torch.Tensor:
        if self.graphs:  # what the last step answered may be overwritten
            torch.compiler.cudagraph_mark_step_begin()
        return super().step(i)
