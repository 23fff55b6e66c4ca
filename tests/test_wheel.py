"""The built distributions hold what they should, and nothing lies at the wheel's top level that is not ours."""

from __future__ import annotations

import configparser
import email.parser
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import nnx

ROOT = Path(__file__).parent.parent

pytest.importorskip("hatchling", reason="building needs hatchling, which the extra 'test' installs")
if not (ROOT / "nnx").is_dir():
    pytest.skip("building needs a checkout", allow_module_level=True)


def build(target, folder):
    """Build a distribution of the checkout into ``folder`` and answer its path."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The names in the sdist, without its leading folder."""
    with tarfile.open(build("sdist", tmp_path_factory.mktemp("sdist"))) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def packages(names):
    return {name.partition("/")[0] for name in names if not name.partition("/")[0].endswith(".dist-info")}


def metadata(wheel, name):
    (path,) = [path for path in wheel.namelist() if path.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def test_wheel_top_level_holds_the_library_and_its_plug_ins_only(wheel):
    plug_ins = {folder.parent.name for folder in (ROOT / "backends").glob("nnx_*/__init__.py")}

    assert plug_ins
    assert packages(wheel.namelist()) == {"nnx"} | plug_ins


def test_wheel_holds_every_module_and_the_type_marker(wheel):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nnx").rglob("*.py")}

    assert "nnx/__init__.py" in modules
    assert modules <= set(wheel.namelist())
    assert "nnx/py.typed" in wheel.namelist()


def test_wheel_holds_the_sources_of_kernels(wheel):
    sources = {path.relative_to(ROOT / "backends").as_posix() for path in (ROOT / "backends").rglob("*.cu*")}

    assert "nnx_cupy/kernels/common.cuh" in sources
    assert sources <= set(wheel.namelist())


def test_wheel_holds_no_tests_examples_or_notes(wheel):
    strays = [name for name in wheel.namelist() if name.startswith(("tests", "examples", "ci", "docs"))]
    notes = [name for name in wheel.namelist() if name.endswith(".md")]

    assert not strays
    assert not notes


def test_entry_points_lead_into_the_wheel(wheel):
    parser = configparser.ConfigParser()
    parser.read_string(metadata(wheel, "entry_points.txt"))
    targets = dict(parser["nnx.backends"]) | dict(parser["console_scripts"])

    assert {"cpu", "cuda", "cupy", "jax", "numpy", "strict", "torch", "nnx"} == set(targets)
    for target in targets.values():
        module = target.partition(":")[0].replace(".", "/")
        assert {f"{module}.py", f"{module}/__init__.py"} & set(wheel.namelist()), target


def test_metadata_names_licence_extras_and_python(wheel):
    fields = email.parser.Parser().parsestr(metadata(wheel, "METADATA"))

    assert fields["Name"] == "nnx-array"
    assert fields["License-Expression"] == "MIT"
    assert fields["Requires-Python"] == ">=3.11"
    assert {"cuda12", "cuda13", "torch", "jax", "test", "dev"} <= set(fields.get_all("Provides-Extra"))


def test_no_requirement_has_an_upper_bound(wheel):
    fields = email.parser.Parser().parsestr(metadata(wheel, "METADATA"))
    requirements = [requirement.partition(";")[0] for requirement in fields.get_all("Requires-Dist")]

    assert [requirement for requirement in requirements if "<" in requirement or "==" in requirement] == []


def test_sdist_can_be_tested_and_rebuilt(sdist):
    needed = {"pyproject.toml", "README.md", "LICENSE", "nnx/py.typed", "tests/test_wheel.py", "backends/README.md"}

    assert needed <= sdist
    assert any(name.startswith("examples/") for name in sdist)


def test_wheel_has_the_version_of_the_library(wheel):
    fields = email.parser.Parser().parsestr(metadata(wheel, "METADATA"))

    assert fields["Version"] == nnx.__version__
