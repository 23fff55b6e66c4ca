"""The errors of the CUDA runtime that the twin raises, with the texts of the real ones."""

from __future__ import annotations

_KNOWN = {
    1: "cudaErrorInvalidValue: invalid argument",
    2: "cudaErrorMemoryAllocation: out of memory",
    101: "cudaErrorInvalidDevice: invalid device ordinal",
    600: "cudaErrorNotReady: device not ready",
    700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
    900: "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing",
    901: "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture",
    902: "cudaErrorStreamCaptureMerge: operation would result in a merge of separate capture sequences",
    903: "cudaErrorStreamCaptureUnmatched: capture was not ended in the same stream as it began",
    904: "cudaErrorStreamCaptureUnjoined: capturing stream has unjoined work",
    905: "cudaErrorStreamCaptureIsolation: dependency created on uncaptured work in another stream",
    906: "cudaErrorStreamCaptureImplicit: operation would make the legacy stream depend on a capturing blocking stream",
    907: "cudaErrorCapturedEvent: operation not permitted on an event last recorded in a capturing stream",
    908: "cudaErrorStreamCaptureWrongThread: attempt to terminate a thread-local capture sequence from another thread",
}


class CUDARuntimeError(RuntimeError):
    """``cupy.cuda.runtime.CUDARuntimeError``: ``detail`` is the twin's own addition."""

    def __init__(self, status: int, detail: str = ""):
        self.status = status
        super().__init__(_KNOWN[status] + (f" ({detail})" if detail else ""))

    def __reduce__(self):
        return type(self), (self.status,)


class OutOfMemoryError(MemoryError):
    """``cupy.cuda.memory.OutOfMemoryError``."""

    def __init__(self, size: int, total: int, limit: int = 0):
        self._size, self._total, self._limit = size, total, limit
        text = f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
        super().__init__(text + (f", limit set to: {limit:,} bytes)." if limit else ")."))

    def __reduce__(self):
        return type(self), (self._size, self._total, self._limit)
