"""SciPy's distributions, the oracle of random numbers."""

from __future__ import annotations

import pytest


@pytest.fixture
def stats():
    return pytest.importorskip("scipy.stats")
