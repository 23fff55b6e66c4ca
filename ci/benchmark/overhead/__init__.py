"""The peers of ``ci/bench.py overhead``: the same small programs, differentiated by each library in its own words.

A peer is a file with a class derived from :class:`benchmark.overhead.peer.Differentiator`, and a line in ``PEERS``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from benchmark import Entry
from benchmark.overhead.peer import Differentiator

PEERS = {
    "nnx": Entry("benchmark.overhead.nnx_peer:Nnx", ("nnx",)),
    "torch": Entry("benchmark.overhead.torch_peer:Torch", ("torch",)),
    "autograd": Entry("benchmark.overhead.autograd_peer:Autograd", ("autograd",)),
    "mygrad": Entry("benchmark.overhead.mygrad_peer:MyGrad", ("mygrad",)),
    "mygrad-unguarded": Entry("benchmark.overhead.mygrad_peer:Unguarded", ("mygrad",)),
    "jax": Entry("benchmark.overhead.jax_peer:Jax", ("jax",)),
}


def missing(name: str) -> list[str]:
    """The packages that a peer needs and that are not installed. Nothing is imported."""
    return [package for package in PEERS[name].needs if find_spec(package) is None]


def make(name: str) -> Differentiator:
    """Import a peer's library."""
    module, _, kind = PEERS[name].where.partition(":")
    peer: Differentiator = getattr(import_module(module), kind)()
    return peer
