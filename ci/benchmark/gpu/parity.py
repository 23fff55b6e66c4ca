"""Whether a device computes what the CPU does: weights, masks, and losses over many steps, eager and captured."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import nnx
from benchmark.gpu import Save, Settings
from benchmark.mnist.task import Task
from benchmark.rounds import deviation
from nnx.optim.schedules import cosine, warmup

REFERENCE = "cpu"
RATES = (0.1, 0.5)
SHAPES = ((7,), (128, 784), (64, 28, 28, 3), (1_000_003,))
"""Of masks: odd lengths, several axes, and more than one block of anything."""

CHARACTERS, LENGTH = 40, 24


def run(settings: Settings, save: Save) -> None:
    """Train each network on the CPU, on the device, and captured there."""
    flag, steps = settings["device"], settings["parity_steps"]
    found: dict[str, Any] = {"device": str(nnx.device(flag)), "steps": steps, "networks": {}, "errors": []}
    found["masks"] = masks(flag)
    save(found)
    for name, network in NETWORKS.items():
        record = found["networks"][name] = {"weights": compare_weights(network.build, flag)}
        save(found)
        try:
            for figures in _compare(network, flag, steps):
                record |= figures
                save(found)
        except Exception as error:  # the others are worth knowing all the same
            found["errors"].append(f"{name}: {type(error).__name__}: {error}".splitlines()[0])
        found["errors"] += [f"{name}: {message}" for message in record.pop("warnings", [])]
        save(found)


class Network(NamedTuple):
    """A model by device flag, batches by size and number, an optimiser by number of steps, and the size of batches."""

    build: Callable[[str], Any]
    draw: Callable[[int, int], list[tuple[Any, Any]]]
    optimizer: Callable[[int], Any]
    batch: int


def _compare(network: Network, flag: str, steps: int) -> Iterator[dict[str, Any]]:
    start = time.perf_counter()
    batches = network.draw(network.batch, steps)
    host, _ = losses(network, batches, REFERENCE, False)
    eager, _ = losses(network, batches, flag, False)
    yield {"loss": [host[0], host[-1]], "cpu_to_device": deviation(eager, host)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        captured, replays = losses(network, batches, flag, True)
    yield {"warnings": [str(warning.message) for warning in caught], "replays": replays}
    if replays:  # else it was run plainly, and nothing is shown
        yield {"eager_to_captured": deviation(captured, eager)}
    yield {"seconds": round(time.perf_counter() - start, 1)}


def masks(flag: str) -> dict[str, int]:
    """Elements of dropout's results in training, and how many of them differ between CPU and device."""
    elements = different = 0
    for shape in SHAPES:
        for rate in RATES:
            layers = [nnx.Dropout(rate, device=each, rng=nnx.Generator(5)) for each in (REFERENCE, flag)]
            for _ in range(3):
                kept = [_dropped(layer, shape, device) for layer, device in zip(layers, (REFERENCE, flag), strict=True)]
                elements += kept[0].size
                different += int(np.count_nonzero(kept[0].view(np.int32) != kept[1].view(np.int32)))
    return {"elements": elements, "different": different}


def _dropped(layer: nnx.Dropout, shape: tuple[int, ...], device: str) -> Any:
    ones = nnx.asarray(np.ones(shape, np.float32), device=device)

    def scaled(arguments: tuple[Any, Any]) -> Any:
        scale, model = arguments
        return nnx.namespace_of(scale, ones).sum(model(ones * scale))

    scale = nnx.asarray(np.ones(shape, np.float32), device=device)
    _, (mask, _) = nnx.value_and_grad(scaled)((scale, layer))
    return nnx.to_numpy(mask)


def compare_weights(build: Callable[[str], Any], flag: str) -> dict[str, int]:
    """Elements of a network's arrays before training, and how many of them differ between CPU and device."""
    pairs = zip(_initial(build, REFERENCE), _initial(build, flag), strict=True)
    elements = different = 0
    for host, device in pairs:
        elements += host.size
        different += int(np.count_nonzero(host.view(np.int32) != device.view(np.int32)))
    return {"elements": elements, "different": different}


def _initial(build: Callable[[str], Any], flag: str) -> list[Any]:
    nnx.seed(0)
    return [nnx.to_numpy(array) for array in build(flag).arrays().values()]


def losses(network: Network, batches: Any, flag: str, capture: bool) -> tuple[list[float], int]:
    """The loss of each step, and how many steps were replayed."""
    nnx.seed(0)
    model, optimizer = network.build(flag), network.optimizer(len(batches))
    differentiate = nnx.value_and_grad(lambda model, x, y: nnx.losses.cross_entropy(model(x), y))

    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        value, grads = differentiate(model, x, y)
        optimizer.update(model, grads)
        return value

    do: Any = nnx.capture(step) if capture else step
    found = [do(model, optimizer, nnx.asarray(x, device=flag), nnx.asarray(y, device=flag)) for x, y in batches]
    return [float(nnx.to_numpy(value)) for value in found], getattr(do, "replays", 0)


def _perceptron(flag: str) -> Any:
    layers = [nnx.Dropout(0.1), nnx.Linear(784, 512), nnx.relu, nnx.BatchNorm(512), nnx.Dropout(0.3)]
    return nnx.Sequential(*layers, nnx.Linear(512, 256), nnx.gelu, nnx.LayerNorm(256), nnx.Linear(256, 10), device=flag)


def _convolutional(flag: str) -> Any:
    first, second = nnx.Conv2d(1, 16, 5), nnx.Conv2d(16, 32, 5)
    pooled = [first, nnx.MaxPool2d(2), nnx.relu, second, nnx.MaxPool2d(2), nnx.relu]
    return nnx.Sequential(*pooled, nnx.Flatten(), nnx.Dropout(0.5), nnx.Linear(512, 10), device=flag)


def _recurrent(flag: str) -> Any:
    layers = [nnx.Embedding(CHARACTERS, 16), nnx.LSTM(16, 48), _outputs, nnx.Dropout(0.2), nnx.Linear(48, CHARACTERS)]
    return nnx.Sequential(*layers, device=flag)


def _outputs(answer: Any) -> Any:
    """Those of a recurrent layer, without its state."""
    return answer[0]


def _digits(shape: tuple[int, ...]) -> Callable[[int, int], list[tuple[Any, Any]]]:
    def draw(batch: int, steps: int) -> list[tuple[Any, Any]]:
        arrays = Task((1,), batch, 1).arrays()
        x, y = arrays.x.reshape(-1, *shape), arrays.y.astype(np.int32)
        chosen = [np.arange(i * batch, (i + 1) * batch) % len(x) for i in range(steps)]
        return [(x[rows], y[rows]) for rows in chosen]

    return draw


def _text(batch: int, steps: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(2)
    rows = [np.cumsum(rng.integers(0, 3, (batch, LENGTH + 1)), axis=1) % CHARACTERS for _ in range(steps)]
    return [(row[:, :-1].astype(np.int32), row[:, 1:].astype(np.int32)) for row in rows]


def _scheduled(steps: int) -> Any:
    rise = steps // 10 + 1
    return nnx.optim.AdamW(warmup(rise, then=cosine(1e-3, max(1, steps - rise))), clip_norm=1.0)


NETWORKS = {
    "dense: dropout, batch and layer norm, AdamW, schedule, clipping": Network(
        _perceptron, _digits((784,)), _scheduled, 128
    ),
    "convolutional: pooling, dropout, Adam": Network(
        _convolutional, _digits((28, 28, 1)), lambda steps: nnx.optim.Adam(1e-3), 64
    ),
    "recurrent: embedding, LSTM, dropout, SGD with momentum": Network(
        _recurrent, _text, lambda steps: nnx.optim.SGD(0.1, momentum=0.9), 32
    ),
}
