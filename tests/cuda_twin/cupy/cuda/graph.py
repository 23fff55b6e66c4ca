"""``cupy.cuda.graph``."""

from __future__ import annotations

from cupy._stream import Graph

__all__ = ["Graph"]
