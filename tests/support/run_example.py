"""Running examples as a user would, and reading what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nnx

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads of tests that run side by side would wait


def run(script, *arguments, folder, **environment):
    """Run a script in a folder of its own."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"COLUMNS": "120", "MPLBACKEND": "Agg"} | ONE_THREAD | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def figure(pattern, text):
    """The number that a pattern has in its first group."""
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in\n{text}"
    return float(found[1].replace(",", ""))


def available(flag, *others):
    """A device flag as a parameter of a test, before others, which is skipped where the device is missing."""
    try:
        nnx.device(flag)
    except nnx.NnxError as error:
        return pytest.param(flag, *others, marks=pytest.mark.skip(reason=str(error)))
    return pytest.param(flag, *others)
