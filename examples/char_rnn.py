"""A recurrent network learns to write like Shakespeare, one character after the other.

It is measured against a table of bigrams, which tells the next character from the last one alone, and prints what it
writes as it learns. Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from data.shakespeare import load_full, load_small
from options import parser, positive, run
from tqdm.auto import tqdm

import nnx
from nnx.optim.schedules import cosine, warmup

STREAMS = 32
CELLS = {"rnn": nnx.RNN, "lstm": nnx.LSTM, "gru": nnx.GRU}


class CharacterModel(nnx.Module):
    """From characters (batch, time), as numbers, to the logits of the ones that follow, and the state after them."""

    def __init__(self, characters: int, hidden: int, cell: str, device: nnx.Device) -> None:
        self.embedding = nnx.Embedding(characters, 64, device=device)
        self.cell = CELLS[cell](64, hidden, device=device)
        self.head = nnx.Linear(hidden, characters, device=device)

    def __call__(self, ids: Any, state: Any = None) -> tuple[Any, Any]:
        outputs, state = self.cell(self.embedding(ids), state)
        return self.head(outputs), state


def loss(model: CharacterModel, x: Any, y: Any, state: Any) -> tuple[Any, Any]:
    """Nats a character, and the state to go on with."""
    logits, state = model(x, state)
    return nnx.losses.cross_entropy(logits, y), state


def pieces(ids: Any, length: int, device: nnx.Device) -> Iterator[tuple[Any, Any]]:
    """Cut a text into parallel streams, and these into pieces in order: characters, and those that follow each.

    The state of the model goes from one piece to the next, and gradients do not: backpropagation through time,
    truncated to ``length`` steps.
    """
    steps = (len(ids) - 1) // STREAMS
    x, y = (ids[k : k + STREAMS * steps].reshape(STREAMS, steps) for k in (0, 1))
    for t in range(0, steps, length):
        yield tuple(nnx.asarray(part[:, t : t + length], device=device) for part in (x, y))


def evaluate(model: CharacterModel, ids: Any, length: int, device: nnx.Device) -> float:
    """Nats a character on a text that it has not seen."""
    total, count, state = 0.0, 0, None
    for x, y in pieces(ids, length, device):
        value, state = loss(model, x, y, state)
        total, count = total + float(value) * x.shape[1], count + x.shape[1]
    return total / count


def bigrams(ids: Any, unseen: Any, characters: int) -> float:
    """Nats a character of the table of how often each pair of characters stands in ``ids``, plus one, on ``unseen``."""
    counts = np.ones((characters, characters))
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    table = np.log(counts / counts.sum(axis=1, keepdims=True))
    return float(-table[unseen[:-1], unseen[1:]].mean())


def write(model: CharacterModel, alphabet: str, count: int, rng: nnx.Generator, device: nnx.Device) -> str:
    """Draw characters one after the other from the distribution that the model gives, beginning with a new line."""
    written, state = "\n", None
    for draw in rng.uniform((count,)):
        ids = nnx.asarray(np.asarray([[alphabet.index(written[-1])]], np.int32), device=device)
        logits, state = model(ids, state)
        chances = np.cumsum(nnx.to_numpy(nnx.softmax(logits))[0, 0])
        written += alphabet[min(int(np.searchsorted(chances, draw * chances[-1])), len(alphabet) - 1)]
    return written.strip()


def train(device: nnx.Device, options: argparse.Namespace) -> None:
    """Learn, and write now and then."""
    text = load_full() if options.full else load_small()
    text = text[:12_000] if options.quick else text
    alphabet = "".join(sorted(set(text)))
    ids = np.searchsorted(list(alphabet), list(text)).astype(np.int32)
    seen, unseen = ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :]
    length = 32 if options.quick else 64
    hidden = options.hidden or (64 if options.quick else 256)
    epochs = options.epochs or (8 if options.quick else 10 if options.full else 20)
    steps = -(-((len(seen) - 1) // STREAMS) // length) * epochs
    rise = steps // 10 + 1

    nnx.seed(options.seed)
    model = CharacterModel(len(alphabet), hidden, options.cell, device)
    optimizer = nnx.optim.AdamW(warmup(rise, then=cosine(options.rate, steps - rise)), clip_norm=1.0)
    gradient = nnx.value_and_grad(loss, has_aux=True)
    table = bigrams(seen, unseen, len(alphabet))
    print(f"Training on {device} with {device.backend.name} {device.backend.version()}")
    print(f"{len(seen):,} characters to learn from and {len(unseen):,} to test on, of {len(alphabet)} kinds")
    print(f"{sum(array.size for array in map(nnx.to_numpy, model.parameters().values())):,} parameters")
    print(f"a table of bigrams: {table:.3f} nats a character\n")

    curves: dict[str, list[float]] = {"training": [], "test": []}
    samples = []
    start = time.perf_counter()
    with tqdm(total=steps, disable=None, unit=" steps") as bar:
        for epoch in range(1, epochs + 1):
            state, losses = None, []
            for x, y in pieces(seen, length, device):
                (value, state), gradients = gradient(model, x, y, state)
                optimizer.update(model, gradients)
                losses.append(value)
                bar.update()
            curves["training"].append(float(np.mean([nnx.to_numpy(value) for value in losses])))
            curves["test"].append(evaluate(model, unseen, length, device))
            figures = ", ".join(f"{name} {losses[-1]:.3f}" for name, losses in curves.items())
            tqdm.write(f"epoch {epoch}/{epochs}: {figures} nats a character")
            if epoch in {1, epochs // 4, epochs}:
                written = write(model, alphabet, 100 if options.quick else 300, nnx.Generator(1), device)
                samples.append((f"after epoch {epoch}, test loss {curves['test'][-1]:.2f}", written))
                tqdm.write("    " + written.replace("\n", "\n    ") + "\n")

    margin = table - curves["test"][-1]
    side = "below" if margin > 0 else "above"
    print(f"test loss {curves['test'][-1]:.3f} nats a character after {time.perf_counter() - start:.1f} s")
    print(f"{abs(margin):.3f} nats {side} the table of bigrams")
    if options.plot:
        from plots import language_report

        title = f"Shakespeare by the character: {abs(margin):.2f} nats {side} a table of bigrams"
        language_report(options.plot, curves, table, samples, title)
        print(f"picture in {options.plot}")


def main() -> None:
    """The command."""
    made = parser("A recurrent network learns to write like Shakespeare.", quick="eight epochs on 12,000 characters")
    add = made.add_argument
    add("--full", action="store_true", help="1.1 million characters, from NNX_DATA_DIR or the network, not just 0.1")
    add("--cell", choices=CELLS, default="rnn", help="what remembers (default: %(default)s)")
    add("--hidden", type=positive, metavar="N", help="numbers in its state (default: 256)")
    add("--epochs", type=positive, metavar="N", help="passes over the text (default: 20; with --full 10)")
    add("--rate", type=float, default=5e-3, metavar="R", help="highest learning rate (default: %(default)s)")
    run(made, train)


if __name__ == "__main__":
    main()
