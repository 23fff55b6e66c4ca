"""The peers of ``ci/bench.py``: one network, one optimiser, the same batches, in each library's own words.

A peer is a file with a class derived from :class:`benchmark.problem.Peer`, and a line in ``PEERS``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from benchmark.problem import Peer, Problem


class Entry(NamedTuple):
    """What is known of a peer before its library is imported."""

    where: str
    """``module:class``."""

    needs: tuple[str, ...]
    """The packages that it imports."""

    rtol: float = 1e-4
    """How far its losses may be from those of nnx, relative to them."""


OTHER_EPSILON = 1e-3
"""For an Adam that adds epsilon to the second moment before its bias is corrected, not after that."""

PEERS = {
    "nnx": Entry("benchmark.nnx_peer:ByHand", ("nnx",)),
    "nnx-capture": Entry("benchmark.nnx_peer:Captured", ("nnx",)),
    "nnx-trainer": Entry("benchmark.nnx_peer:Fit", ("nnx",)),
    "torch": Entry("benchmark.torch_peer:Eager", ("torch",)),
    "torch-compile": Entry("benchmark.torch_peer:Compiled", ("torch",)),
    "jax": Entry("benchmark.jax_peer:Jit", ("jax", "optax")),
    "thinc": Entry("benchmark.thinc_peer:Chain", ("thinc",), OTHER_EPSILON),
    "scikit-learn": Entry("benchmark.sklearn_peer:PartialFit", ("sklearn",), OTHER_EPSILON),
}


def missing(name: str) -> list[str]:
    """The packages that a peer needs and that are not installed. Nothing is imported."""
    return [package for package in PEERS[name].needs if find_spec(package) is None]


def load(name: str) -> type[Peer]:
    """Import a peer's library."""
    module, _, kind = PEERS[name].where.partition(":")
    found: type[Peer] = getattr(import_module(module), kind)
    return found


def make(name: str, problem: Problem, device: str) -> Peer:
    """Import a peer's library and build its network."""
    return load(name)(problem, device)  # type: ignore[call-arg]  # Peer has no constructor of its own
