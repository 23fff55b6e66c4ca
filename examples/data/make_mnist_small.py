"""Make ``mnist_small.npz`` from the full MNIST, the same bytes at every run.

    NNX_DATA_DIR=folder python examples/data/make_mnist_small.py [output.npz]

Of each digit it takes the 1,000 training and the 200 test images with the smallest random keys, and
keeps the order of the full set. The keys are raw bits of PCG64, a stream that NumPy never changes.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from data.mnist import SMALL, DataError, Mnist, load_full

SEED = 0


def choose(labels: np.ndarray[Any, Any], per_class: int, seed: int) -> np.ndarray[Any, Any]:
    """The sorted indices of ``per_class`` random examples of each class."""
    order = np.argsort(np.random.PCG64(seed).random_raw(labels.size), kind="stable")
    return np.sort(np.concatenate([order[labels[order] == digit][:per_class] for digit in range(10)]))


def subset(full: Mnist) -> Mnist:
    """The part of the full set that is shipped."""
    train = choose(full.train_labels, 1000, SEED)
    test = choose(full.test_labels, 200, SEED + 1)
    return Mnist(full.train_images[train], full.train_labels[train], full.test_images[test], full.test_labels[test])


def pack(arrays: Mnist) -> bytes:
    """An ``.npz`` file with bzip2 compression and no dates, so that equal arrays make equal bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays._asdict().items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.create_system, entry.compress_type = 3, zipfile.ZIP_BZIP2
            content = io.BytesIO()
            np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
            archive.writestr(entry, content.getvalue())
    return file.getvalue()


def main() -> None:
    """Write the file and print its size and checksum."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SMALL
    try:
        content = pack(subset(load_full()))
    except DataError as error:
        sys.exit(f"make_mnist_small.py: error: {error}")
    path.write_bytes(content)
    print(f"{path}: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
