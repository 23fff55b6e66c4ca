"""Time `import nnx` beyond `import numpy`, each in fresh processes that take turns.

With --modules it also lists what nnx loads after NumPy, slowest first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from statistics import median


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; answer the exit status."""
    parser = argparse.ArgumentParser(prog="bench.py import", description=__doc__)
    parser.add_argument("--runs", type=int, default=25, help="processes of each kind (%(default)s)")
    parser.add_argument("--modules", action="store_true", help="list the modules that take longest")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    _seconds("import nnx")  # writes the bytecode
    numpy, both = [], []
    for _ in range(options.runs):
        numpy.append(_seconds("import numpy"))
        both.append(_seconds("import numpy, nnx"))
    pairs = list(zip(numpy, both, strict=True))
    found = {
        "numpy": median(wall for wall, _ in numpy),
        "numpy, nnx": median(wall for wall, _ in both),
        "beyond": median(b[0] - a[0] for a, b in pairs),
        "beyond, processor": median(b[1] - a[1] for a, b in pairs),
        "runs": options.runs,
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    wall, processor = found["beyond"] * 1e3, found["beyond, processor"] * 1e3
    print(f"import numpy        {found['numpy'] * 1e3:7.1f} ms")
    print(f"import numpy, nnx   {found['numpy, nnx'] * 1e3:7.1f} ms")
    print(f"nnx beyond numpy    {wall:7.1f} ms, of which {processor:.1f} ms on the processor")
    print(f"(medians of {options.runs} pairs of processes)")
    if options.modules:
        print(_modules())
    return 0


def _seconds(statement: str) -> tuple[float, float]:
    """How long a statement takes in a new process: by the clock, and on the processor (its main thread)."""
    code = (
        "from time import perf_counter, thread_time; wall, cpu = perf_counter(), thread_time(); "
        f"{statement}; print(perf_counter() - wall, thread_time() - cpu)"
    )
    wall, processor = map(float, _python("-c", code).stdout.split())
    return wall, processor


def _modules(count: int = 15, runs: int = 5) -> str:
    """The modules that are loaded by `import nnx` after `import numpy`, by the least of their own times."""
    own: dict[str, float] = {}
    for _ in range(runs):
        lines = _python("-X", "importtime", "-c", "import numpy; import nnx").stderr.splitlines()
        rows = [line.removeprefix("import time:").split("|") for line in lines if line.count("|") == 2]
        names = [name.strip() for _, _, name in rows]
        for microseconds, _, name in rows[names.index("numpy") + 1 :]:
            if microseconds.strip().isdigit():
                own[name.strip()] = min(own.get(name.strip(), float("inf")), int(microseconds) / 1e3)
    slowest = sorted(own, key=lambda name: -own[name])[:count]
    return "\n".join(f"  {own[name]:6.1f} ms  {name}" for name in slowest)


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"`python {' '.join(arguments)}` failed:\n{done.stderr}")
    return done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
