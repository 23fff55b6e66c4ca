"""Loaded by pytest inside a run, so that every run of a test draws alike."""

from __future__ import annotations

import random
from typing import Any


def pytest_runtest_setup(item: Any) -> None:
    """Seed Python's generator, by which ``strategy.example()`` chooses; ``--derandomize`` covers the other draws."""
    random.seed(item.nodeid)
