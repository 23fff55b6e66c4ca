"""Batches of arrays."""

from nnx.data.batches import Batches, batches

__all__ = ["Batches", "batches"]
