"""One part in a process of its own, with a limit to its time.

``python -m benchmark.gpu.process MODULE:FUNCTION FOLDER`` is that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmark.gpu import Settings

SETTINGS, RESULT, LOG = "settings.json", "result.json", "log"
SHOWN = 15
"""Lines of a failed part's output that are kept."""


def run(where: str, settings: Settings, seconds: float) -> dict[str, Any]:
    """Run a part, and end it with all its processes when its time is up.

    Returns:
        ``status`` (``"done"``, ``"failed"`` or ``"timed out"``), the ``seconds`` that it took and its ``limit``, the
        ``result`` so far, and, of a part that is not done, ``output``: its last lines.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / SETTINGS).write_text(json.dumps({**settings, "seconds": seconds}), encoding="utf-8")
        start = time.perf_counter()
        with (folder / LOG).open("wb") as log:
            command = [sys.executable, "-m", "benchmark.gpu.process", where, str(folder)]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            try:
                status = "done" if process.wait(seconds) == 0 else "failed"
            except subprocess.TimeoutExpired:
                status = "timed out"
            finally:
                end(process)
        result = folder / RESULT
        found: dict[str, Any] = {
            "status": status,
            "seconds": round(time.perf_counter() - start, 1),
            "limit": round(seconds, 1),
            "result": json.loads(result.read_text(encoding="utf-8")) if result.exists() else {},
        }
        if status != "done":
            found["output"] = (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN:]
        return found


def end(process: subprocess.Popen[Any]) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON beside ``path`` and rename it: whoever ends this process meets the old file or the new one."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def _main(where: str, folder: Path) -> None:
    module, _, function = where.partition(":")
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    getattr(import_module(module), function)(settings, lambda found: write(folder / RESULT, found))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
