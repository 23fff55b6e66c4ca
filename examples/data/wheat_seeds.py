"""Kernels of three varieties of wheat: seven measures of each of 210."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data.files import check, read

FILE = Path(__file__).with_name("wheat-seeds.csv")
SHA256 = "7b6ee5fe43c42eeb2f4ba458ce7eeb3960763c5d25a66c40142fb88456740211"
VARIETIES = ("Kama", "Rosa", "Canadian")


def load(path: Path = FILE) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Read the shipped table.

    Returns:
        The measures (210, 7), float32: area, perimeter, compactness, length, width, asymmetry, length of the groove;
        and the number of the variety (210,), int32, from 0 to 2.
    """
    remedy = "restore it with `git checkout -- examples/data`"
    content = read(path, remedy).replace(b"\r\n", b"\n")  # as a checkout on Windows has it
    check(path, content, SHA256, remedy)
    table = np.asarray([line.split(",") for line in content.decode("ascii").splitlines()], np.float64)
    return table[:, :7].astype(np.float32), table[:, 7].astype(np.int32) - 1
