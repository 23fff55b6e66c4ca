"""The examples in docstrings, in the README and in the documentation run."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnx

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if ">>> " in page.read_text(encoding="utf-8")]
MODULES = ["nnx", *(module.name for module in pkgutil.walk_packages(nnx.__path__, "nnx."))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(name):
    module = importlib.import_module(name)
    return [test for test in doctest.DocTestFinder().find(module, name) if test.examples]


CASES = [test for name in MODULES if not name.endswith("__main__") for test in examples(name)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_docstring(case):
    report = []
    results = doctest.DocTestRunner(optionflags=FLAGS).run(case, out=report.append)

    assert results.attempted > 0
    assert results.failed == 0, "".join(report)


def test_readme(tmp_path, monkeypatch):
    """Its programs run one after another, on data that they take as given."""
    programs = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    rng = np.random.default_rng(0)
    x, y = rng.random((256, 784), dtype=np.float32), rng.integers(0, 10, 256)
    given = {"x": x, "y": y, "x_valid": x, "y_valid": y, "x_test": x, "optimizer": nnx.optim.Adam(1e-3)}
    monkeypatch.chdir(tmp_path)

    assert programs
    for program in programs:
        exec(compile(program, str(README), "exec"), given)

    assert given["logits"].shape == (256, 10)


def test_some_pages_have_examples():
    assert ROOT / "docs" / "derivatives.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page):
    """In a process of its own: SciPy reads its switch when it is imported."""
    for name in set(re.findall(r"^>>> (?:import|from) (\w+)", page.read_text(encoding="utf-8"), re.MULTILINE)):
        pytest.importorskip(name)
    command = [sys.executable, "-m", "doctest", "-o", "ELLIPSIS", "-o", "NORMALIZE_WHITESPACE", str(page)]
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
