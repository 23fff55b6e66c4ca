"""The option ``--backend`` of the test suite: what is asked for and cannot run is an error, never a skip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import nnx

HERE = Path(__file__).parent


def collect(*options):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(
        [*command, str(HERE / "test_init.py")], cwd=HERE.parent, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_backends_that_are_asked_for_are_those_of_the_matrix():
    code, text = collect("--backend", "numpy", "--backend", "cpu")
    assert code == 0
    assert "test_the_default_device_is_where_arrays_are_made[cpu]" in text
    assert text.count("test_the_default_device_is_where_arrays_are_made") == 1


def test_an_unknown_one_is_an_error():
    code, text = collect("--backend", "nope")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "--backend: unknown device flag 'nope'" in text


def test_one_that_cannot_run_is_an_error():
    with pytest.raises(nnx.NnxError) as expected:  # no machine has so many
        nnx.device("cuda:99")
    code, text = collect("--backend", "cuda:99")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert str(expected.value)[:40] in text
