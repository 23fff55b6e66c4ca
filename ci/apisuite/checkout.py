"""A copy of the suite: the one that the user names, or a clone of the pinned commit."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from apisuite import COMMIT, REPOSITORY

VARIABLE = "NNX_ARRAY_API_TESTS"
"""The environment variable that names a local copy."""


class CheckoutError(Exception):
    """There is no copy of the suite, and none can be had; the message says what to do."""


def checkout(repository: str = REPOSITORY, commit: str = COMMIT) -> Path:
    """The folder of the suite: the local copy, the clone of an earlier run, or a new clone.

    Raises:
        CheckoutError: the local copy is incomplete, or cloning failed.
    """
    named = os.environ.get(VARIABLE)
    if named:
        folder = Path(named).expanduser().resolve()
        _check(folder)
        return folder
    folder = cache() / f"array-api-tests-{commit}"
    if not folder.exists():
        _clone(repository, commit, folder)
    _check(folder)
    return folder


def cache() -> Path:
    """Where clones are kept: ``$XDG_CACHE_HOME/nnx``, or ``~/.cache/nnx``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nnx"


def commit_of(folder: Path) -> str:
    """The commit of a copy; ``"an unknown commit"`` where git does not say."""
    if not (folder / ".git").exists() or shutil.which("git") is None:
        return "an unknown commit"
    done = subprocess.run(
        ["git", "-C", str(folder), "-c", "safe.directory=*", "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "an unknown commit"


def _check(folder: Path) -> None:
    """Raise if the suite or its submodule is not in ``folder``."""
    if not (folder / "array_api_tests" / "__init__.py").is_file():
        raise CheckoutError(
            f"{folder} is no copy of array-api-tests: expected the folder array_api_tests in it.\n"
            f"Let {VARIABLE} name a copy, or unset it to have one cloned; if it is unset, delete that folder."
        )
    if not (folder / "array-api" / "src" / "array_api_stubs").is_dir():
        raise CheckoutError(
            f"{folder} lacks the specification, its submodule array-api. Fill it in:\n"
            f"    git -C {folder} submodule update --init --depth 1"
        )


def _clone(repository: str, commit: str, folder: Path) -> None:
    """Fetch one commit and its submodule; ``folder`` is there whole, or not at all."""
    commands = (
        ("init", "--quiet"),
        ("fetch", "--quiet", "--depth", "1", repository, commit),
        ("checkout", "--quiet", "--detach", "FETCH_HEAD"),
        ("submodule", "--quiet", "update", "--init", "--depth", "1"),
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as room:
            for command in commands:
                subprocess.run(
                    ["git", "-C", room, *command],
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=600,
                    env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},
                )
            Path(room).rename(folder)
            Path(room).mkdir()  # for the end of the block to remove
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise CheckoutError(
            f"array-api-tests cannot be cloned from {repository}:\n    {said.strip()}\n"
            f"Where there is no network, bring a copy of commit {commit}:\n"
            f"    git clone {repository} && cd array-api-tests\n"
            f"    git checkout {commit} && git submodule update --init\n"
            f"and let the environment variable {VARIABLE} name its folder."
        ) from error
