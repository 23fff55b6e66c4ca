"""The plug-in of backends/README.md, installed and run as a third party's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "backends" / "README.md"

MYLIB = '''
"""A library in eight lines: NumPy arrays in a box."""
import sys
import numpy as np
__version__ = "1.2"
class Array:
    def __init__(self, box, device): self.box, self.device, self.dtype, self.shape = box, device, box.dtype, box.shape
    def __array_namespace__(self, *, api_version=None): return sys.modules[__name__]
def asarray(x, device): return Array(x.copy(), device)
def to_numpy(x): return x.box.copy()
def chips(): return 2
def wait(device): pass
'''


@pytest.fixture
def run(tmp_path):
    """Run Python code where the plug-in of the README is installed."""
    text = README.read_text(encoding="utf-8")
    (plugin,) = re.findall(r"```python\n# nnx_mylib/__init__.py\n(.*?)```", text, re.DOTALL)
    (group, entry) = re.search(r'\[project\.entry-points\."(.*?)"\]\n(mylib = ".*?")\n', text).groups()
    info = tmp_path / "nnx_mylib-1.0.dist-info"
    for file, content in {
        tmp_path / "mylib.py": MYLIB,
        tmp_path / "nnx_mylib" / "__init__.py": plugin,
        info / "METADATA": "Metadata-Version: 2.1\nName: nnx-mylib\nVersion: 1.0\n",
        info / "entry_points.txt": f"[{group}]\n{entry.replace(chr(34), '')}\n",
    }.items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)

    def run(code, *arguments, **environment):
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, *(arguments or ("-c", "import sys, numpy as np\nimport nnx.backend as nnx\n" + code))],
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "100", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def answer(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_it_is_found_and_used(run):
    code = """if True:
        x = nnx.asarray(np.asarray([[1.5, 2.5]]).T, device="mylib:chip1")
        print(nnx.device_of(x), x.dtype, *x.shape, nnx.namespace_of(x).__name__, *nnx.to_numpy(x)[:, 0])
    """
    assert answer(run(code)) == ["mylib:chip1", "float64", "2", "1", "mylib", "1.5", "2.5"]


def test_the_environment_can_choose_it(run):
    assert answer(run("print(nnx.device())", NNX_DEVICE="mylib")) == ["mylib:chip0"]


def test_it_is_not_loaded_before_it_is_asked_for(run):
    code = "nnx.namespace_of(nnx.asarray([1.0])); 'mylib' in nnx.entry_points() and print('mylib' in sys.modules)"
    assert answer(run(code + "\nprint('nnx_mylib' in sys.modules)")) == ["False", "False"]


def test_its_arrays_do_not_mix(run):
    code = "nnx.namespace_of(nnx.asarray([1.0], device='mylib'), np.zeros(1))"
    assert "two libraries, mylib and numpy" in run(code).stderr.splitlines()[-1]


def test_its_devices_are_listed(run):
    lines = run("", "-m", "nnx", "devices").stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("mylib"))
    assert lines[at].split() == ["mylib", "mylib", "1.2", "mylib:chip0"]
    assert lines[at + 1].split() == ["mylib:chip1"]


def test_its_failure_is_listed(run, tmp_path):
    (tmp_path / "mylib.py").write_text(MYLIB.replace("return 2", "return 0"))
    assert re.search(r"^mylib .* mylib finds no chip: connect one$", run("", "-m", "nnx", "devices").stdout, re.M)
    (tmp_path / "mylib.py").write_text("1 / 0")
    (line,) = re.findall(r"^mylib .*$", (done := run("", "-m", "nnx", "devices")).stdout, re.M)
    assert "the backend 'mylib' cannot load: division by zero" in line
    assert (done.returncode, done.stderr) == (0, "")
