"""A plug-in for pytest: tests of the device come first, and each result is written down as soon as it is there.

A run that is ended before it is over has then told all that it knows. Under pytest-xdist the process that hands out
the tests does the writing.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

VARIABLE = "NNX_GPU_RECORD"
"""Names the file: a line of JSON for each event."""

FIRST = "test_fft.py"
"""cuFFT reads the imaginary ends of half spectra, where the standard says nothing of them."""


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder(os.environ[VARIABLE], hasattr(config, "workerinput")), "nnx-gpu-recorder")


class Recorder:
    """Writes events to a file; in a worker it only puts the tests into their order."""

    def __init__(self, path: str, silent: bool) -> None:
        self._path, self._silent, self._counted = path, silent, False
        self._found: dict[str, dict[str, Any]] = {}

    def _write(self, **event: Any) -> None:
        if not self._silent:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")

    def _count(self, ids: list[str]) -> None:
        if not self._counted:
            self._counted = True
            self._write(collected=len(ids))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=_rank)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:  # with xdist, those who hand out the tests have none
            self._count([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._count(ids)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(id=report.nodeid, outcome="error", seconds=0.0, why=_last_line(report.longreprtext))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = self._found.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0, "why": ""})
        found["seconds"] += report.duration
        if report.failed:
            found |= {"outcome": "failed" if report.when == "call" else "error", "why": _last_line(report.longreprtext)}
        elif report.skipped and found["outcome"] == "passed":
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            found |= {"outcome": "xfailed" if hasattr(report, "wasxfail") else "skipped", "why": reason}
        if report.when == "teardown":
            self._write(id=report.nodeid, **self._found.pop(report.nodeid))


def _rank(item: pytest.Item) -> int:
    """0 for Fourier transforms on the device, 1 for what else the device computes, 2 for the rest."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or "each_flag" not in callspec.params:
        return 2 if "cupy" not in item.path.parts else 1
    return 0 if item.path.name == FIRST else 1


def _last_line(text: str) -> str:
    """The error of a traceback: pytest begins its lines with an E."""
    errors = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return (errors or text.splitlines() or [""])[0][:300]
