"""What the tests of CUDA kernels share."""

from __future__ import annotations

import pytest

import nnx


@pytest.fixture(scope="session")
def gpu(flags):
    """The first CUDA device of the run: a GPU, or its twin on the CPU."""
    device = next((d for d in map(nnx.device, flags) if d.backend.name == "cupy"), None)
    if device is None:
        pytest.skip("no CUDA device is among the backends of this run")
    return device
