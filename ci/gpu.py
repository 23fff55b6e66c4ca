"""Everything that needs a GPU, in one run: tests, parity with the CPU, and benchmarks against torch and JAX.

It writes docs/gpu/<date>-<device>.json, anew after each part, and a page beside it with the aims and what was measured.
Each part has a process of its own and a share of the minutes: one that fails or takes too long spoils no other.
docs/gpu/README.md says what is measured and how.

No network is needed. Where nnx is not installed, its processes have it from the checkout, entry points included; an
editable installation would do the same and need hatchling. What nnx needs (array-api-compat, array-api-extra,
safetensors, tqdm, ml-dtypes) is named where it is missing. Bring it as wheels:

    pip download --dest wheels array-api-compat array-api-extra        # elsewhere, with a network
    pip install --no-index --find-links wheels array-api-compat array-api-extra

The exit status is 0 where all was done, 1 where a part failed or found a fault, 2 where the run could not start. A
missed aim is no fault.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.card import ordinal
from benchmark.gpu import PARTS, PEERS, environment, process
from benchmark.gpu.aims import AIMS
from benchmark.gpu.page import page
from benchmark.problem import SIZES

FULL: dict[str, Any] = {
    "size": 8192,
    "threads": 8,
    "parity_steps": 100,
    "sizes": SIZES,
    "wide": (8, 4096, 8192),
    "images": 128,
    "steps": 20,
    "wide_steps": 5,
    "rounds": 5,
    "wide_rounds": 3,
    "turn": 0.25,
    "rest": 0.02,
    "tests": ["tests"],
}
QUICK: dict[str, Any] = {
    "size": 64,
    "threads": 1,
    "parity_steps": 6,
    "sizes": SIZES[:1],
    "wide": (3, 16, 32),
    "images": 8,
    "steps": 4,
    "wide_steps": 4,
    "rounds": 1,
    "wide_rounds": 1,
    "turn": 0.02,
    "rest": 0.0,
    "tests": ["tests/ops/test_embedding.py"],
}
GRACE = 5.0
"""Seconds under which a part is not begun."""


def main(arguments: Sequence[str]) -> int:
    """Run the parts; answer the exit status."""
    options = _options(arguments)
    if missing := environment.needed(options.device):
        print(f"gpu.py: error: {environment.remedy(missing)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        found = environment.settle(Path(folder))
        if reason := environment.refusal(options.device):
            print(f"gpu.py: error: {reason}", file=sys.stderr)
            return 2
        run = {
            "date": datetime.date.today().isoformat(),
            "commit": options.commit or environment.commit(),
            "command": shlex.join([environment.python(), "ci/gpu.py", *arguments]),
            "found": found,
            "quick": options.quick,
            **environment.describe(options.device),
        }
        path = options.out / f"{run['date']}-{_slug(run['device'])}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        run["parts"] = _earlier(path, run)
        return _run(run, options, path)


def _run(run: dict[str, Any], options: argparse.Namespace, path: Path) -> int:
    end = time.monotonic() + 60 * options.minutes
    settings = {
        **(QUICK if options.quick else FULL),
        "device": options.device,
        "workers": options.workers,
        "peers": options.peers,
    }
    left = list(options.parts)
    for name in options.parts:
        now = end - time.monotonic()
        seconds = now * PARTS[name].share / sum(PARTS[each].share for each in left)
        left.remove(name)
        print(f"{name}: at most {seconds:.0f} s", flush=True)
        if name == "tests" and (absent := environment.absent(environment.FOR_TESTS)):
            part = _undone(f"left out, as there is no {', '.join(absent)}: pip install {' '.join(absent)}")
        elif seconds < GRACE:
            part = _undone("no time was left")
        else:
            part = process.run(PARTS[name].where, settings, seconds)
        run["parts"][name] = part
        process.write(path, run)
        path.with_suffix(".md").write_text(page(run), encoding="utf-8")
        print(f"  {part['status']} after {part['seconds']:.0f} s", flush=True)
    for aim in AIMS:
        figure, verdict = aim.verdict(run)
        print(f"{verdict:<13}{figure:>10}  ({aim.wanted})  {aim.subject}")
    found = faults(run["parts"])
    for fault in found:
        print(f"FAULT: {fault}")
    print(f"written: {path} and {path.with_suffix('.md').name}")
    return int(bool(found))


def faults(parts: Mapping[str, Any]) -> list[str]:
    """What went wrong: parts that are not done, and errors that they report."""
    said = [f"{name} {part['status']}" for name, part in parts.items() if part["status"] != "done"]
    for name, part in parts.items():
        result = part["result"]
        said += [f"{name}: {error}" for error in result.get("errors", ())]
        said += [f"{name}: {error}" for record in result.get("results", ()) for error in record["errors"]]
        said += [f"{name}: {failure['id']}: {failure['why']}" for failure in result.get("failures", ())]
        if result.get("exit_status") and not result["failures"]:
            said.append(f"{name}: pytest ended with exit status {result['exit_status']}")
    return said


def _undone(why: str) -> dict[str, Any]:
    return {"status": "failed", "seconds": 0.0, "limit": 0.0, "result": {}, "output": [why]}


def _earlier(path: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an earlier run of the same commit, which this one adds to."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    same = all(earlier.get(key) == run[key] for key in ("commit", "quick", "device", "versions"))
    known = run["commit"] != "unknown" and not run["commit"].endswith(environment.CHANGED)
    return dict(earlier["parts"]) if same and known else {}


def _slug(device: Mapping[str, Any]) -> str:
    """``nvidia-h200``; the flag where there is no GPU."""
    name = device["flag"] if ordinal(device["flag"]) is None else device["name"]
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", default="cuda", metavar="FLAG", help="a device flag of nnx (%(default)s)")
    add("--minutes", type=float, default=8.0, metavar="N", help="for all parts together (%(default)s)")
    add("--parts", nargs="+", choices=PARTS, metavar="PART", default=list(PARTS), help=f"{', '.join(PARTS)} (all)")
    add("--peers", nargs="+", choices=PEERS, metavar="PEER", default=list(PEERS), help=f"{', '.join(PEERS)} (all)")
    add("--workers", type=int, default=8, metavar="N", help="processes for the tests (%(default)s)")
    add("--commit", metavar="TEXT", help="where git does not tell what was measured")
    add("--out", type=Path, metavar="FOLDER", help="default: docs/gpu for a GPU, else build/gpu")
    add("--quick", action="store_true", help="tiny sizes and a few tests, to see that the script works")
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.workers < 1:
        parser.error("--minutes must be above 0, and --workers at least 1")
    options.peers = [name for name in PEERS if name in options.peers]
    options.parts = [name for name in PARTS if name in options.parts]
    kept = ordinal(options.device) is not None and not options.quick
    options.out = options.out or environment.ROOT / ("docs/gpu" if kept else "build/gpu")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
