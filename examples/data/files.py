"""Data files: found, downloaded and checked. What is wrong with one is a :class:`DataError` of one sentence."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path


class DataError(Exception):
    """A data file is missing or is not what it should be."""


def read(path: Path, remedy: str) -> bytes:
    """The content of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}): {remedy}") from error


def check(path: Path, content: bytes, sha256: str, remedy: str) -> None:
    """Raise unless the content is the published one."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(f"{path} is not the published file (SHA-256 {found}, expected {sha256}): {remedy}")


def locate(name: str, subfolder: str, sha256: str, addresses: Sequence[str]) -> Path:
    """A file in the folder that ``NNX_DATA_DIR`` names or in its subfolder; a downloaded one if that is not set."""
    folder = os.environ.get("NNX_DATA_DIR")
    return find(Path(folder), subfolder, name) if folder else fetch(name, subfolder, sha256, addresses)


def find(folder: Path, subfolder: str, name: str) -> Path:
    """A file in the subfolder, or in the folder itself."""
    candidates = [folder / subfolder / name, folder / name]
    for path in candidates:
        if path.is_file():
            return path
    raise DataError(
        f"NNX_DATA_DIR is {str(folder)!r}, but neither {candidates[0]} nor {candidates[1]} exists: "
        "put the file there, or unset NNX_DATA_DIR to download it"
    )


def fetch(name: str, subfolder: str, sha256: str, addresses: Sequence[str]) -> Path:
    """The cached copy of a file, downloaded from the first address that answers with the right one."""
    try:
        import pooch
    except ImportError as error:
        raise DataError(
            f"downloading {name} needs pooch: `pip install 'nnx-array[examples]'`, or set NNX_DATA_DIR to a "
            "folder that holds it"
        ) from error
    folder = Path(pooch.os_cache("nnx")) / subfolder
    pooch.get_logger().setLevel(logging.WARNING)
    failures = []
    for address in addresses:
        try:
            return Path(pooch.retrieve(address, f"sha256:{sha256}", name, folder, progressbar=True))
        except (OSError, ValueError) as error:  # the network and the disk raise OSError, a checksum ValueError
            failures.append(f"{address}: {error}")
    raise DataError(f"cannot download {name} to {folder}, set NNX_DATA_DIR if you have it; " + "; ".join(failures))
