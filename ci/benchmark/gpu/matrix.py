"""The tests on the device: as many of them as there is time for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmark.gpu import Save, Settings
from benchmark.gpu.recorder import VARIABLE

ROOT = Path(__file__).parents[3]
SPARE = 3.0
"""Seconds before the end of the part in which the results are read."""

KEPT = 40
"""Failures that are named; all are counted."""


def run(settings: Settings, save: Save) -> None:
    """Run pytest, look at its results every few seconds, and end it when the time is up."""
    end = time.monotonic() + settings["seconds"] - SPARE
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        *settings["tests"],
        "--backend",
        settings["device"],
        "-q",
        "--no-header",
    ]
    command += ["-p", "benchmark.gpu.recorder", "-p", "no:cacheprovider", "--tb", "short"]
    if settings["workers"] > 1:
        command += ["-n", str(settings["workers"])]
    with TemporaryDirectory() as folder:
        record = Path(folder) / "record"
        record.touch()
        environment = os.environ | {VARIABLE: str(record), "OMP_NUM_THREADS": "1"}
        if not settings["device"].startswith("jax"):
            environment["JAX_PLATFORMS"] = "cpu"  # tests compare with it; each worker would make a context on the card
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        over = False
        while not over:
            try:
                process.wait(max(0.0, min(5.0, end - time.monotonic())))
                over = True
            except subprocess.TimeoutExpired:
                over = time.monotonic() >= end
            save(summary(record.read_text(encoding="utf-8").splitlines()) | {"exit_status": process.poll()})
        process.kill()  # its workers end with it, and the part with them
        process.wait()


def summary(lines: Iterable[str]) -> dict[str, Any]:
    """What a file of :mod:`benchmark.gpu.recorder` says, also one that ends within a line."""
    events: list[dict[str, Any]] = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    tests = [event for event in events if "outcome" in event]
    outcomes = Counter(event["outcome"] for event in tests)
    collected = max((event["collected"] for event in events if "collected" in event), default=0)
    done = sum(1 for event in tests if "::" in event["id"])
    bad = [event for event in tests if event["outcome"] in ("failed", "error")]
    slowest = sorted(tests, key=lambda event: -event["seconds"])[:5]
    return {
        "collected": collected,
        "not_run": max(0, collected - done),
        **{name: outcomes[name] for name in ("passed", "failed", "error", "skipped", "xfailed")},
        "failures": [{"id": event["id"], "why": event["why"]} for event in bad[:KEPT]],
        "slowest": [{"id": event["id"], "seconds": round(event["seconds"], 2)} for event in slowest],
        "skips": dict(Counter(event["why"] for event in tests if event["outcome"] == "skipped").most_common(8)),
    }
