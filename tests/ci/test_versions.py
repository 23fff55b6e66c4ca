"""The versions that CI installs are the ones that pyproject.toml speaks of."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def split(requirements, sign):
    """Names and versions of those requirements that have ``sign``."""
    pairs = [line.partition(sign) for line in requirements if sign in line]
    return {name.partition("[")[0]: version for name, _, version in pairs}


def pins(name):
    return split((ROOT / "ci" / name).read_text(encoding="utf-8").splitlines(), "==")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_lowest_versions_are_the_lower_bounds(project):
    extras = project["optional-dependencies"]
    bounds = split([*project["dependencies"], *extras["fast"], *extras["strict"], *extras["test"]], ">=")
    lowest = pins("lowest.txt")

    assert set(lowest) == set(bounds)
    assert [name for name in bounds if not f"{lowest[name]}.".startswith(f"{bounds[name]}.")] == []


def test_the_constraints_fit_the_bounds(project):
    requirements = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    bounds, constraints = split(requirements, ">="), pins("constraints.txt")

    def number(version):
        return [int(part) for part in version.split(".")]

    assert set(constraints) - {"jaxlib", "llvmlite", "types-tqdm"} <= set(bounds)
    assert [name for name in set(bounds) & set(constraints) if number(constraints[name]) < number(bounds[name])] == []
