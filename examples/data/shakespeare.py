"""Plays of Shakespeare as text: the shipped beginning, or all of "tiny Shakespeare"."""

from __future__ import annotations

from pathlib import Path

from data.files import check, locate, read

SMALL = Path(__file__).with_name("shakespeare_small.txt")
SMALL_SHA256 = "b4a657aedf64a7c4dbb5201c11d9c2443df0145061c8df8c386b30266dc1f389"
FULL = "tinyshakespeare.txt"
FULL_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
ADDRESSES = ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",)


def load_small(path: Path = SMALL) -> str:
    """Read the shipped beginning: 99,843 characters of 61 kinds."""
    remedy = "restore it with `git checkout -- examples/data`"
    content = read(path, remedy).replace(b"\r\n", b"\n")  # as a checkout on Windows has it
    check(path, content, SMALL_SHA256, remedy)
    return content.decode("ascii")


def load_full() -> str:
    """Read all of it: 1,115,394 characters of 65 kinds.

    It comes from the folder that ``NNX_DATA_DIR`` names, from its subfolder ``shakespeare``, or, where the
    variable is not set, from a cache folder which the first call fills from the network.
    """
    path = locate(FULL, "shakespeare", FULL_SHA256, ADDRESSES)
    remedy = "delete it and fetch it again"
    content = read(path, remedy)
    check(path, content, FULL_SHA256, remedy)
    return content.decode("ascii")
