"""The options that examples share, and how they tell of mistakes."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path

from data.files import DataError

import nnx


def parser(description: str, *, quick: str, plots: bool = True) -> argparse.ArgumentParser:
    """A command line with ``--device``, ``--quick``, ``--seed`` and ``--plot``.

    Args:
        description: what the example does.
        quick: what its short form does.
        plots: whether it draws.
    """
    made = argparse.ArgumentParser(
        description=description,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28, width=100),
    )
    add = made.add_argument
    add("--device", metavar="FLAG", help="cpu, cuda, cuda:1, auto, torch, jax, ... (default: NNX_DEVICE, or cpu)")
    add("--quick", action="store_true", help=f"{quick}, to see that everything works")
    add("--seed", type=int, default=0, metavar="N", help="of all that is random (default: %(default)s)")
    if plots:
        add("--plot", type=picture, metavar="FILE", help="draw a picture: a .png, .svg or .pdf")
    return made


def precision(made: argparse.ArgumentParser) -> None:
    """Add ``--precision``, for examples that train in it."""
    made.add_argument(
        "--precision",
        choices=("tf32", "bfloat16", "float16"),
        help="of the products, where the device has it (default: that of float32)",
    )


def run(made: argparse.ArgumentParser, example: Callable[[nnx.Device, argparse.Namespace], None]) -> None:
    """Read the command line, and run the example on its device. A mistake is a line, not a traceback."""
    options = made.parse_args()
    try:
        example(nnx.device(options.device), options)
    except (DataError, nnx.NnxError) as error:
        made.exit(1, f"{made.prog}: error: {error}\n")
    except KeyboardInterrupt:
        made.exit(130, f"\n{made.prog}: interrupted\n")


def positive(text: str) -> int:
    """An integer above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def writable(text: str) -> Path:
    """The path of a file in a folder that exists: better now than after the training."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder of {text} does not exist: make it first")
    return path


def picture(text: str) -> Path:
    """The path of a picture that can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError("pictures need matplotlib: `pip install 'nnx-array[plot]'`")
    if Path(text).suffix not in {".png", ".svg", ".pdf"}:
        raise argparse.ArgumentTypeError(f"a .png, .svg or .pdf is written, not {text!r}")
    return writable(text)
