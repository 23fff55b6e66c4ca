"""What the machine is, what it lacks, and nnx from a checkout that is not installed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmark.card import ordinal

ROOT = Path(__file__).parents[3]
CI = ROOT / "ci"
NEEDED = {
    "numpy": "numpy",
    "array_api_compat": "array-api-compat",
    "array_api_extra": "array-api-extra",
    "safetensors": "safetensors",
    "tqdm": "tqdm",
}
"""Module -> distribution: nothing runs without these."""

CHANGED = " with changes"
"""Follows the commit where the checkout differs from it."""

FORCING = ("CUPY_TF32", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")
"""Variables that make float32 products less precise for one library or another."""

FOR_TESTS = {"pytest": "pytest", "hypothesis": "hypothesis", "xdist": "pytest-xdist"}
DISTRIBUTIONS = (
    *"numpy cupy-cuda13x cupy-cuda12x ml-dtypes array-api-compat array-api-extra torch triton jax jaxlib optax".split(),
    *"nvidia-cublas nvidia-cudnn-cu13 nvidia-cudnn-cu12".split(),
)
"""Their versions are recorded."""


def absent(wanted: dict[str, str]) -> list[str]:
    """The distributions whose modules cannot be found. Nothing is imported."""
    return [name for module, name in wanted.items() if find_spec(module) is None]


def needed(device: str) -> list[str]:
    """The distributions that are missing without which nothing runs on that device."""
    cupy = device.partition(":")[0] in ("cuda", "cupy")
    return absent(NEEDED | ({"cupy": "cupy-cuda13x[ctk]", "ml_dtypes": "ml-dtypes"} if cupy else {}))


def remedy(names: Iterable[str]) -> str:
    """How to install them, with and without a network."""
    listed = " ".join(f"'{name}'" if "[" in name else name for name in names)
    return (
        f"missing: {listed}\n"
        f"  pip install {listed}\n"
        "without a network, on another machine with the same Python, and then here:\n"
        f"  pip download --dest wheels {listed}\n"
        f"  pip install --no-index --find-links wheels {listed}"
    )


def settle(folder: Path) -> str:
    """Let child processes find the modules of the benchmark, and nnx; answer how nnx is found.

    Where nnx is not installed, ``folder`` gets what an editable installation writes: the distribution's name, version
    and entry points, from pyproject.toml. No build tool is needed for that.
    """
    paths = [str(CI)]
    how = "installed"
    if not list(entry_points(group="nnx.backends")):
        _write_metadata(folder)
        paths += [str(folder), str(ROOT), str(ROOT / "backends")]
        how = "from the checkout, which is not installed"
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *([before] if before else [])])
    for variable in FORCING:
        os.environ.pop(variable, None)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # else JAX takes most of the memory, and others have none
    return how


def _write_metadata(folder: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = re.search(r'^__version__ = "(.+)"', (ROOT / "nnx" / "__init__.py").read_text(encoding="utf-8"), re.M)
    number = found[1] if found else "0"
    made = folder / f"nnx_array-{number}.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {number}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in p.items()) for group, p in project["entry-points"].items()
    ]
    (made / "entry_points.txt").write_text("\n".join(lines))


def refusal(device: str) -> str:
    """What nnx says of that device, in a process of its own; empty if it can be used."""
    code = (
        "import sys, nnx\n"
        "try: nnx.asarray([1.0], device=nnx.device(sys.argv[1]))\n"
        "except nnx.NnxError as error: sys.exit(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", code, device], capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ["it does not work"])[-1] if done.returncode else ""


def describe(device: str) -> dict[str, Any]:
    """The device, the machine and the versions, for the report."""
    found: dict[str, Any] = {"flag": device, "name": "CPU", "driver": None, "memory": None}
    if (number := ordinal(device)) is not None:
        found |= _card(number)
    return {
        "device": found,
        "host": {
            "processor": _processor(),
            "cpus": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), **dict(filter(None, map(_version, DISTRIBUTIONS)))},
    }


def _card(number: int) -> dict[str, Any]:
    query = "--query-gpu=name,driver_version,memory.total,power.limit"
    command = ["nvidia-smi", query, "--format=csv,noheader", f"--id={number}"]
    try:
        line = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return {"name": "GPU", "driver": "unknown: nvidia-smi does not answer"}
    name, driver, memory, power = (field.strip() for field in line.strip().splitlines()[0].split(","))
    return {"name": name, "driver": driver, "memory": memory, "power": power}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", info.read_text(), re.M) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> tuple[str, str] | None:
    try:
        return name, version(name)
    except PackageNotFoundError:
        return None


def commit() -> str:
    """The commit of the checkout, and whether it has changes; ``"unknown"`` where git does not tell."""
    try:
        hash_ = _git("rev-parse", "--short=12", "HEAD")
        return hash_ + (CHANGED if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def python() -> str:
    """The interpreter, for the command in the report."""
    return Path(sys.executable).name
