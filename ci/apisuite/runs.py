"""One run of the suite: in a process of its own, over one namespace."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from apisuite import STANDARD

CI = Path(__file__).parent.parent
FINISHED = (0, 1)
"""The exit statuses of pytest after a run to the end: all passed, or some failed."""


class RunError(Exception):
    """The suite did not run to its end; the message has what pytest said last."""


@dataclass
class Run:
    """What came of a run.

    Attributes:
        outcomes: for each test, as ``test_file.py::test_name``: ``passed``, ``failed`` or ``skipped``.
        reasons: for each that failed, the first line of the error.
        seconds: how long it took.
    """

    outcomes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self) -> Counter[str]:
        """How many passed, failed and were skipped."""
        return Counter(self.outcomes.values())


@dataclass(frozen=True)
class Settings:
    """How the suite is run.

    Attributes:
        suite: the folder of the copy.
        examples: how many hypothesis draws a test.
        processes: how many share the tests.
        tests: those that are run, as ``test_file.py::test_name``; all where there are none.
        plugins: modules that pytest loads besides.
    """

    suite: Path
    examples: int = 100
    processes: int = 1
    tests: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()


def run(library: str, arrays: str, settings: Settings) -> Run:
    """Run the suite over ``arrays`` of a library, as ``subjects`` names both.

    Draws do not depend on the run: with the same tests and examples, nnx and the library beneath it
    are given the same arrays.

    Raises:
        RunError: pytest stopped before the end.
    """
    tests = [f"array_api_tests/{test}" for test in settings.tests] or ["array_api_tests"]
    start = time.perf_counter()
    with TemporaryDirectory() as room:
        found = Path(room, "junit.xml")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", *tests, "-q", "--tb=short", "--rootdir", str(settings.suite)),
                *("-p", "no:cacheprovider", "-n", str(settings.processes)),
                *(word for plugin in ("apisuite.plugin", *settings.plugins) for word in ("-p", plugin)),
                *("--derandomize", "--disable-deadline", "--max-examples", str(settings.examples)),
                *("--skips-file", os.devnull, "--xfails-file", os.devnull, "--junitxml", str(found)),
            ],
            cwd=settings.suite,
            env=_environment(library, arrays, room),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode not in FINISHED or not found.exists():
            raise RunError(
                f"pytest stopped with status {done.returncode} before the end of the suite:\n{done.stdout[-4000:]}"
            )
        answer = read(found)
    answer.seconds = time.perf_counter() - start
    return answer


def _environment(library: str, arrays: str, room: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ARRAY_API_TESTS_"))}
    path = os.environ.get("PYTHONPATH")
    return kept | {
        "ARRAY_API_TESTS_MODULE": (
            f'exec(\'from apisuite.subjects import namespace; xp = namespace("{library}", "{arrays}")\')'
        ),
        "ARRAY_API_TESTS_VERSION": STANDARD,
        "HYPOTHESIS_STORAGE_DIRECTORY": room,  # the folder of the suite is left as it is
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(CI) if not path else f"{CI}{os.pathsep}{path}",
    }


def read(path: Path) -> Run:
    """The outcomes in a file of JUnit's XML, as pytest writes it.

    Raises:
        RunError: a file of tests could not be imported.
    """
    found = Run()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        bad = next((part for part in case if part.tag in {"failure", "error"}), None)
        if not case.attrib["classname"]:
            raise RunError(f"{case.attrib['name']} was not collected:\n{bad.text if bad is not None else ''}")
        _, module, *groups = case.attrib["classname"].split(".")
        name = "::".join([f"{module}.py", *groups, case.attrib["name"]])
        if bad is not None:
            found.outcomes[name] = "failed"
            found.reasons[name] = (bad.get("message") or "no message").strip().partition("\n")[0]
        else:
            found.outcomes[name] = "passed" if case.find("skipped") is None else "skipped"
    return found
