"""The peers of ``ci/bench.py mnist``: the training of ``examples/mnist.py`` from the first batch to the last score.

A peer is a file with a class derived from :class:`benchmark.mnist.task.Trainee`, and a line in ``PEERS``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from benchmark import Entry
from benchmark.mnist.task import Task, Trainee

PEERS = {
    "nnx": Entry("benchmark.mnist.nnx_peer:Fit", ("nnx",)),
    "nnx-capture": Entry("benchmark.mnist.nnx_peer:Captured", ("nnx",)),
    "torch-loader": Entry("benchmark.mnist.torch_peer:Loader", ("torch",)),
    "torch-default": Entry("benchmark.mnist.torch_peer:Default", ("torch",)),
    "torch-slices": Entry("benchmark.mnist.torch_peer:Slices", ("torch",)),
}


def missing(name: str) -> list[str]:
    """The packages that a peer needs and that are not installed. Nothing is imported."""
    return [package for package in (*PEERS[name].needs, "tqdm") if find_spec(package) is None]


def make(name: str, task: Task) -> Trainee:
    """Import a peer's library and lay out its data."""
    module, _, kind = PEERS[name].where.partition(":")
    peer: Trainee = getattr(import_module(module), kind)(task)
    return peer
