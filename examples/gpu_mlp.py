"""Train a dense network of any size, as one writes such a script for oneself: checkpoints, throughput, memory.

``python examples/gpu_mlp.py --device cuda --layers 8 --width 4096 --batch-size 8192 --precision bfloat16 --capture``
keeps a large GPU busy; without options it trains for some seconds on a CPU. ``--help`` tells the rest.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from data.mnist import load_small
from options import parser, positive, precision, run, writable

import nnx
from nnx.optim.schedules import cosine, warmup

CLASSES = 10


def data(options: argparse.Namespace) -> tuple[Any, ...]:
    """Training inputs (n, features) float32 and labels (n,) int32, and the same to test with."""
    if options.data == "digits":
        mnist = load_small()
        x, x_test = (a.reshape(len(a), -1).astype(np.float32) / 255 for a in (mnist.train_images, mnist.test_images))
        return x, mnist.train_labels.astype(np.int32), x_test, mnist.test_labels.astype(np.int32)
    rng, count = np.random.default_rng(options.seed), max(20_000, 4 * options.batch_size)
    x = rng.standard_normal((count + 1000, options.width), dtype=np.float32)
    teacher = rng.standard_normal((options.width, CLASSES), dtype=np.float32)  # says which class a point is in
    y = (x @ teacher).argmax(axis=1).astype(np.int32)
    return x[:count], y[:count], x[count:], y[count:]


def network(features: int, options: argparse.Namespace, device: nnx.Device) -> nnx.Sequential:
    """``--layers`` dense layers, with rectified linear units between them."""
    widths = [features, *[options.width] * (options.layers - 1), CLASSES]
    layers: list[Any] = []
    for m, n in itertools.pairwise(widths):
        layers += [nnx.Linear(m, n, weight_init=nnx.init.he_normal), nnx.relu]
    return nnx.Sequential(*layers[:-1], device=device)


class Checkpoint:
    """All that changes: the model, the optimiser and the number of steps, in one file of arrays."""

    def __init__(self, model: nnx.Module, optimizer: nnx.optim.Optimizer) -> None:
        self.model, self.optimizer, self.steps = model, optimizer, 0

    def arrays(self) -> dict[str, Any]:
        """By name, as ``nnx.save_weights`` wants them."""
        model = {f"model.{name}": array for name, array in self.model.arrays().items()}
        state = {f"optimizer.{name}": array for name, array in self.optimizer.state.items()}
        return {"steps": np.asarray(self.steps), **model, **state}

    def load(self, path: Path) -> None:
        """Go on from a file."""
        arrays = nnx.load_weights(path)
        self.steps = int(arrays.pop("steps"))
        for part, owner in (("model.", self.model), ("optimizer.", self.optimizer)):
            owner.load({name.removeprefix(part): a for name, a in arrays.items() if name.startswith(part)})


def feed(batches: nnx.data.Batches, rng: nnx.Generator, done: int) -> Iterator[tuple[Any, ...]]:
    """Batches without end, from the one that follows ``done`` steps: epochs that are over drew their orders, too."""
    epochs, step = divmod(done, len(batches))
    for _ in range(epochs):
        rng.permutation(batches.examples)
    yield from itertools.islice(batches, step, None)
    while True:
        yield from batches


def memory(device: nnx.Device) -> str:
    """What is in use, where the library tells."""
    found = device.backend.memory(device.native)
    return "" if found is None else f", {(found.total - found.free) / 2**30:.2f} of {found.total / 2**30:.0f} GiB"


def train(device: nnx.Device, options: argparse.Namespace) -> None:
    """Train, and say how fast."""
    nnx.seed(options.seed)
    x, y, x_test, y_test = data(options)
    model = network(x.shape[1], options, device)
    rise = options.steps // 10
    rate = options.rate if options.schedule == "constant" else cosine(options.rate, options.steps - rise)
    scale = nnx.optim.LossScale() if options.precision == "float16" else None
    optimizer = nnx.optim.AdamW(warmup(rise, then=rate) if rise else rate, loss_scale=scale)

    def loss_of(model: Any, x: Any, y: Any) -> Any:
        return nnx.losses.cross_entropy(model(x), y)

    value_and_grad = nnx.value_and_grad(loss_of, precision=options.precision, loss_scale=scale)

    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        loss, grads = value_and_grad(model, x, y)
        optimizer.update(model, grads)
        return loss

    do = nnx.capture(step) if options.capture else step
    checkpoint = Checkpoint(model, optimizer)
    if options.resume and options.checkpoint.exists():
        checkpoint.load(options.checkpoint)
        print(f"going on after step {checkpoint.steps} of {options.checkpoint}")
    count = sum(math.prod(array.shape) for array in model.parameters().values())
    print(f"{count:,} parameters on {device} ({device.backend.name} {device.backend.version()})", flush=True)

    rng = nnx.Generator(options.seed + 1)
    size, last = min(options.batch_size, len(x)), min(options.steps, options.stop or options.steps)
    cut = {"batch_size": size, "shuffle": True, "drop_last": True, "rng": rng}
    batches = nnx.data.batches(x, y, device=device, fixed=True, **cut)  # a GPU gets data that fits there once
    source = feed(batches, rng, checkpoint.steps)
    start, begun = time.perf_counter(), checkpoint.steps
    for xb, yb in itertools.islice(source, max(0, last - begun)):
        loss = do(model, optimizer, xb, yb)  # nothing waits for the device
        checkpoint.steps += 1
        if checkpoint.steps % options.log_interval == 0 or checkpoint.steps == last:  # but here
            value = float(nnx.to_numpy(loss))
            device.backend.synchronize(device.native)
            speed = (checkpoint.steps - begun) * size / (time.perf_counter() - start)
            print(f"step {checkpoint.steps:>6}  loss {value:.6f}  {speed:,.0f} examples/s{memory(device)}", flush=True)
            if not math.isfinite(value):
                raise nnx.NonFiniteLossError(f"the loss is {value}: lower --rate", step=checkpoint.steps)
            start, begun = time.perf_counter(), checkpoint.steps
        if options.checkpoint and (checkpoint.steps % options.save_interval == 0 or checkpoint.steps == last):
            nnx.save_weights(options.checkpoint, checkpoint)  # beside, then renamed: never half a file
    right = [
        nnx.to_numpy(model(xb)).argmax(axis=1) for (xb,) in nnx.data.batches(x_test, batch_size=500, device=device)
    ]
    print(f"test accuracy {np.mean(np.concatenate(right) == y_test):.2%} after {checkpoint.steps} steps")


def main() -> None:
    """The command."""
    made = parser("Train a dense network of any size.", quick="20 small steps", plots=False)
    add = made.add_argument
    add("--data", choices=("synthetic", "digits"), default="synthetic", help="points, or the shipped MNIST images")
    add("--layers", type=positive, default=4, metavar="N", help="dense layers (default: %(default)s)")
    add("--width", type=positive, default=512, metavar="N", help="units of a hidden layer (default: %(default)s)")
    add("--batch-size", type=positive, default=256, metavar="N", help="examples a step (default: %(default)s)")
    add("--steps", type=positive, default=500, metavar="N", help="of the whole training (default: %(default)s)")
    add("--stop", type=positive, metavar="N", help="stop after step N, to go on with --resume")
    add("--rate", type=float, default=1e-3, metavar="R", help="highest learning rate (default: %(default)s)")
    add("--schedule", choices=("cosine", "constant"), default="cosine", help="of the rate, after a warm-up")
    precision(made)
    add("--capture", action="store_true", help="record a step once, and replay it")
    add("--checkpoint", type=writable, metavar="FILE", help="where to write model and optimiser")
    add("--save-interval", type=positive, default=200, metavar="N", help="steps from one to the next (%(default)s)")
    add("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    add("--log-interval", type=positive, default=50, metavar="N", help="steps from line to line (default: %(default)s)")
    if made.parse_known_args()[0].quick:
        made.set_defaults(steps=20, width=64, layers=3, batch_size=64, log_interval=5)
    if (options := made.parse_args()).resume and options.checkpoint is None:
        made.error("--resume needs --checkpoint FILE")
    run(made, train)


if __name__ == "__main__":
    main()
