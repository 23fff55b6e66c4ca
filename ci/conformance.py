"""Run the test suite of the Array API standard over nnx, and over the libraries beneath it.

The suite is data-apis/array-api-tests at a pinned commit. It runs three times over a library, with the
same examples: over its own arrays (raw), over `nnx.differentiable(xp)`, whose creation functions answer
tracked arrays (constant), and with tracked arrays that carry a gradient (recorded), where each operation
is walked back too. Exit status: 0: nnx fails no test that the library beneath passes, beyond those in
skips.toml; 1: it does; 2: the suite could not be run, and the message says what to do.

The suite is cloned into `~/.cache/nnx`; the environment variable NNX_ARRAY_API_TESTS names a local copy
in its place. What it needs: `pip install -e '.[conformance]'`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from apisuite import COMMIT, PACKAGES, STANDARD
from apisuite.checkout import CheckoutError, checkout, commit_of
from apisuite.report import HEAD, compare, details, row, skips
from apisuite.runs import RunError, Settings, run

LIBRARIES = ("numpy", "strict", "strict:device1")
ARRAYS = ("constant", "recorded")
NOT_RUN = 2
VERSIONS = ("numpy", "array-api-compat", "array-api-strict", "hypothesis", "pytest")


def main(arguments: Sequence[str]) -> int:
    """Run the suite; answer the exit status."""
    options = _options(arguments)
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}. Install what the suite needs: pip install -e '.[conformance]'")
        return NOT_RUN
    try:
        suite = checkout()
    except CheckoutError as error:
        print(error)
        return NOT_RUN
    commit = commit_of(suite)
    print(f"array-api-tests {commit[:12]}, standard {STANDARD}, {options.max_examples} examples a test; {_versions()}")
    if commit != COMMIT:
        print(f"NOTE: {suite} is at {commit}; the pinned commit is {COMMIT}")
    settings = Settings(suite, options.max_examples, options.processes, tuple(options.tests))
    found, allowed = [], skips()
    print(HEAD)
    try:
        for library in options.libraries:
            beneath = run(library, "raw", settings)
            print(row(library, beneath), flush=True)
            for arrays in options.arrays:
                through = run(library, arrays, settings)
                found.append(compare(library, arrays, beneath, through, allowed))
                print(row(f"  nnx, {arrays}", through, found[-1]), flush=True)
    except RunError as error:
        print(error)
        return NOT_RUN
    print(*details(found), sep="\n")
    return int(any(comparison.worse for comparison in found))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="conformance.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES, metavar="NAME", help="default: %(default)s")
    add("--arrays", nargs="+", choices=ARRAYS, default=ARRAYS, metavar="KIND", help="default: %(default)s")
    add("--max-examples", type=int, help="examples a test (100; with --quick 10)")
    add("-n", "--processes", type=int, default=_cpus(), help="processes of pytest-xdist (%(default)s)")
    add("--tests", nargs="+", default=(), metavar="TEST", help="only these: test_linalg.py::test_inv")
    add("--quick", action="store_true", help="few examples")
    options = parser.parse_args(arguments)
    if options.max_examples is None:
        options.max_examples = 10 if options.quick else 100
    if min(options.max_examples, options.processes) < 1:
        parser.error("--max-examples and --processes must be at least 1")
    return options


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for name in VERSIONS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # array-api-strict may be left out with --libraries
            continue
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
