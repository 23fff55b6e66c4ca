"""MNIST as NumPy arrays: the shipped twelve thousand images, or all seventy thousand.

Every file is checked before use. What is wrong with one is a :class:`DataError` of one sentence.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.files import DataError, check, locate, read

__all__ = ["DataError", "Mnist", "load_full", "load_small", "read_idx"]

SMALL = Path(__file__).with_name("mnist_small.npz")
SMALL_SHA256 = "a59e9dd91730b935bb25e9dc2f0b2271428f1fa4879ef4a1b347a2d0874a4512"

FULL_SHA256 = {
    "train-images-idx3-ubyte.gz": "db8f937d487057fb14a9f0fbe97f0bc8d311ab41b750d41e1ff37c43b9e55e19",
    "train-labels-idx1-ubyte.gz": "51fc562b6747b666fbf6e84ce29d43c3cb5f9c388c664d43b33f02095313405a",
    "t10k-images-idx3-ubyte.gz": "cfeddb84311ecf044fc6a5b0f6ee8a24d265d4e83e388400186eb114082f4209",
    "t10k-labels-idx1-ubyte.gz": "e41c74e484045d39b462a7790a4af51301bd9b0b24f0154798d713ec68c45920",
}
"""The four files of the full set, in the order of the fields of :class:`Mnist`."""

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

IDX_UBYTE = 0x08
"""The type code of unsigned bytes, the third byte of an IDX file."""


class Mnist(NamedTuple):
    """Images ``(n, 28, 28)``, 0 for paper to 255 for ink, and their digits ``(n,)``; all uint8."""

    train_images: np.ndarray[Any, Any]
    train_labels: np.ndarray[Any, Any]
    test_images: np.ndarray[Any, Any]
    test_labels: np.ndarray[Any, Any]


def load_small(path: Path = SMALL) -> Mnist:
    """Read the shipped subset: 10,000 training and 2,000 test images, as many of each digit."""
    remedy = "restore it with `git checkout -- examples/data`"
    content = read(path, remedy)
    check(path, content, SMALL_SHA256, remedy)
    try:
        with np.load(io.BytesIO(content)) as arrays:
            return Mnist(*(arrays[field] for field in Mnist._fields))
    except RuntimeError as error:  # zipfile's answer to a Python that was built without bzip2
        raise DataError(f"cannot unpack {path} ({error}): install a Python that has the module bz2") from error


def load_full() -> Mnist:
    """Read all 60,000 training and 10,000 test images.

    They come from the folder that ``NNX_DATA_DIR`` names, from its subfolder ``mnist``, or, where
    the variable is not set, from a cache folder which the first call fills from the network.
    """
    paths = [locate(name, "mnist", sha256, [url + name for url in MIRRORS]) for name, sha256 in FULL_SHA256.items()]
    return Mnist(*(read_idx(path, sha256) for path, sha256 in zip(paths, FULL_SHA256.values(), strict=True)))


def read_idx(path: Path, sha256: str | None = None) -> np.ndarray[Any, Any]:
    """Read a gzip-compressed IDX file of unsigned bytes.

    The format is two zero bytes, a type code, the number of axes, the length of each axis as a
    big-endian 32-bit integer, then the elements in C order.
    """
    remedy = "delete it and fetch it again"
    packed = read(path, remedy)
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or is no gzip file ({error}): {remedy}") from error
    magic, rank = content[:3], content[3] if len(content) > 3 else 0
    if magic != bytes([0, 0, IDX_UBYTE]) or len(content) < 4 + 4 * rank:
        raise DataError(f"{path} is not an IDX file of unsigned bytes (it starts with {content[:4]!r}): {remedy}")
    shape = [int(n) for n in np.frombuffer(content, ">u4", count=rank, offset=4)]
    start = 4 + 4 * rank
    if len(content) != start + math.prod(shape):
        raise DataError(
            f"{path} announces {math.prod(shape):,} bytes of shape {tuple(shape)} and holds "
            f"{len(content) - start:,}: {remedy}"
        )
    if sha256 is not None:
        check(path, packed, sha256, remedy)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
