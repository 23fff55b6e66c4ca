"""PyTorch: the loop that its users write, over a ``DataLoader`` and over slices by a permutation.

They have the fused AdamW, except for one, take the mean of the scores as nnx does, and refresh the bar ten times a
second, which is the default of tqdm.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from benchmark.mnist.task import DROPOUT, PIXEL_DROPOUT, RATE, VALIDATION_BATCH, Scores, Task, Trainee, rate_factor

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


class Loop(Trainee):
    """``zero_grad``, forward, ``backward``, ``step``; loss and accuracy of each batch."""

    packages = ("torch",)
    fused: bool | None = True
    """``None`` is torch's default: the update of one parameter after the other."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        torch.manual_seed(0)
        arrays = [torch.from_numpy(a) for a in task.arrays()]
        self.train_data, self.validation, self.test = arrays[:2], arrays[2:4], arrays[4:]

    @abstractmethod
    def batches(self, data: list[torch.Tensor], batch: int, shuffle: bool) -> Batches:
        """One pass over the data after another: sized, so that the bar has an end."""

    def prepare(self) -> None:
        task = self.task
        dropout = (lambda rate: [torch.nn.Dropout(rate)]) if task.dropout else (lambda rate: [])
        layers: list[torch.nn.Module] = dropout(PIXEL_DROPOUT)
        for (m, n), (w, b) in zip(pairwise(task.problem.widths), self.weights, strict=True):
            linear = torch.nn.Linear(m, n)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(w.T.copy()))
                linear.bias.copy_(torch.from_numpy(b))
            layers += [linear, torch.nn.ReLU(), *dropout(DROPOUT)]
        self.model = torch.nn.Sequential(*layers[: -2 if task.dropout else -1])
        steps = task.steps(len(self.train_data[0]))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=RATE, weight_decay=0.01, fused=self.fused)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: rate_factor(step, steps))

    def train(self) -> Scores:
        loader = self.batches(self.train_data, self.task.batch, True)
        held_out = self.batches(self.validation, VALIDATION_BATCH, False)
        for epoch in range(1, self.task.epochs + 1):
            self.model.train()
            total, right, seen = 0.0, 0, 0
            with tqdm(loader, desc=f"epoch {epoch}/{self.task.epochs}") as bar:
                for x, y in bar:
                    self.optimizer.zero_grad()
                    logits = self.model(x)
                    loss = functional.cross_entropy(logits, y)
                    loss.backward()
                    self.optimizer.step()
                    self.schedule.step()
                    total += loss.item() * len(y)
                    right += (logits.argmax(1) == y).sum().item()
                    seen += len(y)
                    bar.set_postfix(loss=total / seen, accuracy=right / seen, refresh=False)
                found = self.evaluate(held_out)
                bar.set_postfix(loss=total / seen, accuracy=right / seen, validation=found.accuracy)
        return self.evaluate(self.batches(self.test, VALIDATION_BATCH, False))

    @torch.no_grad()
    def evaluate(self, batches: Batches) -> Scores:
        self.model.eval()
        total, right, seen = 0.0, 0, 0
        for x, y in batches:
            logits = self.model(x)
            total += functional.cross_entropy(logits, y).item() * len(y)
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
        return Scores(total / seen, right / seen)


class Loader(Loop):
    """A ``DataLoader`` over a ``TensorDataset``, in this process."""

    def batches(self, data: list[torch.Tensor], batch: int, shuffle: bool) -> Batches:
        return DataLoader(TensorDataset(*data), batch_size=batch, shuffle=shuffle)


class Default(Loader):
    """The same, with the AdamW that its users get who ask for none in particular."""

    fused = None


class Slices(Loop):
    """Rows of the tensors, gathered by slices of a permutation."""

    def batches(self, data: list[torch.Tensor], batch: int, shuffle: bool) -> Batches:
        return _Slices(data, batch, shuffle)


class _Slices:
    def __init__(self, data: list[torch.Tensor], batch: int, shuffle: bool) -> None:
        self.data, self.batch, self.shuffle = data, batch, shuffle

    def __len__(self) -> int:
        return (len(self.data[0]) + self.batch - 1) // self.batch

    def __iter__(self) -> Any:
        x, y = self.data
        order = torch.randperm(len(x)) if self.shuffle else None
        for start in range(0, len(x), self.batch):
            rows = slice(start, start + self.batch)
            if order is None:
                yield x[rows], y[rows]
            else:
                chosen = order[rows]
                yield x[chosen], y[chosen]
