"""The command ``nnx``, also ``python -m nnx``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nnx import __version__
from nnx._errors import ArgumentError, NnxError
from nnx._typing import Backend
from nnx.backend import Device, choice, device, entry_points, kernels, kernels_told, load_backend, load_namespace
from nnx.warmup import warm_up

EPILOG = """\
device flags:
  cpu, cuda, cuda:1          NumPy on the CPU, CuPy on the first or second GPU
  torch, torch:cuda:0, jax   another array library, and one of its devices
  auto                       cuda where a GPU answers, else cpu

  The environment variable NNX_DEVICE sets the flag that is used where none is given.
  NNX_KERNELS=reference uses no kernels, and native only those that the array library itself offers.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and answer its exit status."""
    parser = argparse.ArgumentParser(
        prog="nnx",
        description="Neural networks on any array library.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nnx {__version__}, Python {sys.version.split()[0]}")
    commands = parser.add_subparsers(title="commands", metavar="<command>")
    devices = commands.add_parser(
        "devices",
        help="list the backends and their devices",
        description="List the installed backends and their devices, or why a backend cannot run and what to install.",
    )
    devices.set_defaults(run=lambda options: print_devices())
    warmup = commands.add_parser(
        "warmup",
        help="compile kernels ahead",
        description="Compile the kernels of a device by training small networks, so that later runs find them on disk.",
    )
    warmup.add_argument("--device", metavar="FLAG", help="a device flag (default: the default device)")
    warmup.add_argument("--dtype", default="float32", help="the dtype of the networks (default: %(default)s)")
    warmup.set_defaults(run=lambda options: compile_ahead(options.device, options.dtype))
    options = parser.parse_args(arguments)
    if "run" not in options:
        parser.print_help()
        return 0
    try:
        options.run(options)
    except NnxError as error:
        print(f"nnx: {error}", file=sys.stderr)
        return 1
    return 0


class Row(NamedTuple):
    """A backend in the table of devices."""

    backend: str
    flags: str
    version: str
    lines: list[str]
    """One line a device, or the reason why there is none."""


def print_devices() -> None:
    """Print a table of backends, flags, versions and devices; the default device is marked."""
    default, note = _default()
    rows = [_row(flags, default) for flags in _plugins()]
    print(*_table(rows), "", *textwrap.wrap(note, _width()), sep="\n")
    try:
        choice()
    except NnxError as error:
        print(*textwrap.wrap(f"no kernels: {error}", _width()), sep="\n")


def compile_ahead(flag: str | None, dtype: str) -> None:
    """Compile the kernels of a device, and say what takes how long."""
    start = time.perf_counter()
    here = device(flag)
    told = kernels_told(here.backend)
    print(f"kernels of {here}: {told or 'there are none, and nothing to do'}")
    if not told:
        return
    kernels.compiling_ahead = True
    for done in warm_up(here, dtype=dtype):
        print(f"{time.perf_counter() - start:6.1f} s  {done}", flush=True)


def _default() -> tuple[Device | None, str]:
    """The default device, and a line on where it comes from or why there is none."""
    try:
        default = device()
    except NnxError as error:
        return None, f"no default device: {error}"
    flag = os.environ.get("NNX_DEVICE")
    return default, f"* the default device ({f'NNX_DEVICE={flag}' if flag else 'set NNX_DEVICE to change it'})"


def _plugins() -> list[list[str]]:
    """The flags of each plug-in."""
    plugins: dict[str, list[str]] = {}
    for flag, point in sorted(entry_points().items()):
        plugins.setdefault(point.value, []).append(flag)
    return list(plugins.values())


def _row(flags: list[str], default: Device | None) -> Row:
    """Ask a plug-in for its devices. It may be anybody's, and fail in any way."""
    names, name, installed = ", ".join(flags), flags[-1], "-"
    try:
        backend = load_backend(flags[0])
        name = backend.name
        load_namespace(backend)
        installed = backend.version()
        lines = [_line(backend, found, default) for found in backend.devices()]
        if told := _kernels(backend):
            lines.append(f"kernels: {told}")
    except Exception as error:
        lines = [str(error) if isinstance(error, NnxError) else f"fails: {error!r}"]
    return Row(name, names, installed, lines or ["no devices"])


def _line(backend: Backend, name: str, default: Device | None) -> str:
    found = Device(backend, backend.device(name))
    memory = backend.memory(found.native)
    told = "" if memory is None else f", {memory.free / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    return f"{found}{' *' if found == default else ''}{told}"


def _kernels(backend: Backend) -> str:
    """What the kernels of a backend are made with; nothing where the user's choice makes no sense."""
    try:
        return kernels_told(backend)
    except ArgumentError:
        return ""


def _table(rows: Iterable[Row]) -> list[str]:
    """Align the columns; the last one is wrapped to the terminal."""
    head = Row("backend", "flags", "version", ["devices"])
    rows = [head, *rows]
    widths = [max(len(cell) for cell in column) for column in list(zip(*rows, strict=True))[:3]]
    indent = sum(widths) + 2 * len(widths)
    lines = []
    for row in rows:
        left = "  ".join(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True))
        for text in row.lines:
            for part in textwrap.wrap(text, max(_width() - indent, 30), break_on_hyphens=False) or [""]:
                lines.append(f"{left}  {part}")
                left = " " * (indent - 2)
        if row is head:
            lines.append("  ".join("-" * width for width in (*widths, 24)))
    return lines


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 110)


if __name__ == "__main__":
    sys.exit(main())
