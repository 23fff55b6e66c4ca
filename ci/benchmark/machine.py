"""What the machine is, and whether anybody else is using it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
"""Read by OpenMP, OpenBLAS, MKL and XLA when they are loaded."""

RELEVANT = ("OPENBLAS_CORETYPE", "OMP_WAIT_POLICY", "MKL_ENABLE_INSTRUCTIONS", "XLA_FLAGS")
"""Variables that change the speed of a library; the report shows those that are set."""


def limit_threads(threads: int) -> None:
    """Let this process and its children use that many threads, and as many CPUs where the system can bind them.

    The binding is what holds for every pool: most libraries size theirs by the CPUs that a process may use.
    """
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def busy_seconds() -> float | None:
    """CPU seconds that all processes have used so far on the CPUs of this process; ``None`` if unknown."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    mine = {f"cpu{i}" for i in os.sched_getaffinity(0)}
    try:
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    except OSError:
        return None
    ticks = 0
    for name, user, nice, system, _idle, _iowait, irq, softirq, *rest in (x for x in lines if x[0] in mine):
        del name
        ticks += int(user) + int(nice) + int(system) + int(irq) + int(softirq) + sum(map(int, rest[:1]))
    return ticks / os.sysconf("SC_CLK_TCK")


def describe(threads: int) -> dict[str, object]:
    """Processor, system and settings, for the report."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cpus": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "settings": {name: os.environ[name] for name in RELEVANT if name in os.environ},
    }
