"""The parts of ``ci/conformance.py``: the test suite of the Array API standard, run over nnx.

``checkout`` finds the suite or clones it, ``subjects`` are the namespaces under test, ``runs`` runs
one and reads what came of it, ``report`` sets nnx beside the library beneath it. ``plugin`` is
loaded by pytest inside a run. ``skips.toml`` names the failures that are allowed.
"""

from __future__ import annotations

REPOSITORY = "https://github.com/data-apis/array-api-tests"
COMMIT = "55fcc60179efa2680ddd6cd926ddf17b83530e2b"
"""The suite that is run; it names the commit of the specification in its submodule ``array-api``."""

STANDARD = "2025.12"
"""The newest version of the standard that the suite, array-api-compat and array-api-strict share."""

PACKAGES = ("hypothesis", "ndindex", "pytest", "pytest_jsonreport", "xdist")
"""What the suite and ``runs`` import."""
