"""``cupy.cuda.stream``."""

from __future__ import annotations

from cupy._stream import Event, ExternalStream, Stream, get_current_stream, get_elapsed_time

__all__ = ["Event", "ExternalStream", "Stream", "get_current_stream", "get_elapsed_time"]
